//! The log is full, or its disk nearly so: what cannot be promised is refused with a reason, and nothing that was promised is dropped.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trunkline_bench::ledger::Protocol;
use trunkline_bench::load::{Counts, Target};
use trunkline_bench::reader;
use trunkline_bench::store::Foreigner;
use trunkline_mqtt_wire::{Packet, QoS, ReasonCode, Version};
use trunkline_testkit::http::{Answer, Client as Http};
use trunkline_testkit::mqtt::{Client as Mqtt, publish_packet};
use trunkline_testkit::until;

use crate::platform::Ground;
use crate::trial::{PROBE_NAME, Trial, assert_clean};

/// Bytes that no disk has free.
const ALL_BYTES: &str = "9223372036854775807";
const MIB: &str = "1048576";
/// How long the log may take to accept again once there is room.
const ACCEPT_AGAIN_WITHIN: Duration = Duration::from_secs(5);
/// How long anything else may take that is waited for on a busy machine.
const WAIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_refuses_and_drops_nothing() {
    let mut ground = Ground::new().with("LOG__DOMAIN_BYTES_MAX", MIB);
    let platform = ground.start().await;
    let trial = Trial::start(&ground, &platform, 1).await;
    let [full, other] = &trial.site.targets[..] else {
        panic!("a client in each domain")
    };
    let foreigner = Foreigner::hold(&ground.data("messages.db")).await.unwrap();

    let filling = trial.load(&trial.plan(Protocol::Mqtt5, 1, 64), std::slice::from_ref(full));
    until(WAIT, async || Counts::of(&filling.counts.refused) > 0).await;
    filling.stop();
    let filled = filling.finish().await;
    assert!(filled.acknowledged > 1_000 && filled.failures.is_empty(), "{filled}");

    assert_refused(&trial, full).await;
    assert_eq!(post(full).await.status, 507);
    assert_eq!(
        publish(other).await,
        ReasonCode::Success,
        "another domain has its own room"
    );
    let readable = reader::rows(&trial.site, &full.place).await.unwrap();
    assert!(readable.is_empty(), "the store was held: {}", readable.len());

    let released = Instant::now();
    foreigner.release().await.unwrap();
    until(WAIT, async || publish(full).await == ReasonCode::Success).await;
    assert!(released.elapsed() < ACCEPT_AGAIN_WITHIN, "{:?}", released.elapsed());
    assert_eq!(post(full).await.status, 202);
    assert_clean(&trial.verdicts_beside_probes(&ground, &platform).await, &ground);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_nearly_full_refuses_messages_and_takes_control() {
    let mut ground = Ground::new();
    let platform = ground.start().await;
    let trial = Trial::start(&ground, &platform, 1).await;
    let sending = trial.load(&trial.plan(Protocol::Mqtt5, 2, 8), &trial.site.targets);
    until(WAIT, async || Counts::of(&sending.counts.acknowledged) > 100).await;
    platform.kill().await;

    let mut ground = ground.with("LOG__DISK_FREE_BYTES_MIN", ALL_BYTES);
    let platform = ground.start().await;
    until(WAIT, async || Counts::of(&sending.counts.refused) > 0).await;
    sending.stop();
    let sent = sending.finish().await;
    assert!(sent.failures.is_empty(), "{sent}");
    let trial = trial.moved(&platform).await;
    let target = &trial.site.targets[0];
    assert_refused(&trial, target).await;
    assert_eq!(post(target).await.status, 507);
    trial.site.make_client("made while the disk is low").await.unwrap();
    let readable = reader::rows(&trial.site, &target.place).await.unwrap();
    assert!(!readable.is_empty(), "what was stored can be read");
    platform.kill().await;

    ground.environment.clear();
    let platform = ground.start().await;
    assert_eq!(publish(target).await, ReasonCode::Success);
    assert_clean(&trial.verdicts_beside_probes(&ground, &platform).await, &ground);
}

/// Each protocol is told in its own words.
async fn assert_refused(trial: &Trial, target: &Target) {
    assert_eq!(publish(target).await, ReasonCode::QuotaExceeded, "MQTT 5");

    let mut old = log_in(target, Version::V3).await;
    let mut packet = publish_packet(&target.topic, QoS::AtLeastOnce, probe().to_string());
    packet.packet_id = trunkline_mqtt_wire::PacketId::new(1);
    old.send(&Packet::Publish(packet)).await;
    assert_eq!(old.closed().await, [], "MQTT 3.1.1 is closed without a PUBACK");

    const DROPPED: &str = "trunkline_log_dropped_total";
    let before = trial.site.metric(DROPPED).await.unwrap();
    let mut careless = log_in(target, Version::V5).await;
    careless
        .publish(&target.topic, QoS::AtMostOnce, probe().to_string())
        .await;
    until(WAIT, async || trial.site.metric(DROPPED).await.unwrap() > before).await;

    let answer = post(target).await;
    let retry_after = answer.headers.get("retry-after").and_then(|value| value.to_str().ok());
    let seconds: u64 = retry_after.unwrap_or_default().parse().unwrap_or_default();
    assert!(
        seconds > 0,
        "HTTP says when to try again: {} {}",
        answer.status,
        answer.text()
    );
}

/// What the ledger does not know: one message larger than those of the loads, so that no room that they left is enough for it.
fn probe() -> Value {
    json!([{ "n": PROBE_NAME, "vs": "x".repeat(1_000) }])
}

async fn publish(target: &Target) -> ReasonCode {
    log_in(target, Version::V5)
        .await
        .publish(&target.topic, QoS::AtLeastOnce, probe().to_string())
        .await
}

async fn log_in(target: &Target, version: Version) -> Mqtt {
    Mqtt::log_in(target.mqtt, version, &target.user, &target.password).await
}

async fn post(target: &Target) -> Answer {
    let client = Http::new(target.http).with_authorization(&format!("Client {}", target.password));
    client.post(&format!("/{}", target.topic), &probe()).await
}

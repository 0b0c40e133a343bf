//! The network between processes, or between a process and a server, carries nothing, or late, or breaks.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use trunkline_mqtt_wire::{Packet, PacketId, QoS, ReasonCode, Version};
use trunkline_testkit::http::Client as Http;
use trunkline_testkit::mqtt::{Client as Mqtt, connect_packet, publish_packet};
use trunkline_testkit::until;
use trunkline_tests::{Device, Domain};

use super::ground::{Ground, Part};
use super::{HEAL_WITHIN, Strain, WAIT};

/// How long a client waits for what nobody can say before it is disconnected.
const BUSY_AFTER: Duration = Duration::from_secs(10);
/// What that may take longer on a busy machine.
const SLACK: Duration = Duration::from_secs(4);
/// How long a line is cut where nobody counts.
const CUT: Duration = Duration::from_secs(3);
/// What a slow line takes.
const LATE: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_services_who_is_known_is_served_and_nobody_else_is_told_no() {
    let ground = Ground::start().await;
    let mqtt = ground.access().mqtt;
    let domain = ground.domain("cut").await;
    let (channel, known) = domain.channel_with_device("known").await;
    let (topic, strangers) = (domain.topic(&channel), strangers(&domain, &channel).await);
    let mut warm = Mqtt::log_in(mqtt, Version::V5, &known.id, &known.secret).await;
    assert_eq!(warm.publish(&topic, QoS::AtLeastOnce, "a").await, ReasonCode::Success);
    let [first, second, third] = &strangers;
    let mut cold = Mqtt::log_in(mqtt, Version::V5, &first.id, &first.secret).await;
    let mut old = Mqtt::log_in(mqtt, Version::V3, &second.id, &second.secret).await;

    let parts = [Part::Mqtt, Part::Edge].map(|part| ground.process(part));
    let lines = || parts.iter().flat_map(|process| process.to_deciders());
    lines().for_each(trunkline_testkit::Proxy::hold);
    let asked = Instant::now();
    cold.send(&publish(&topic)).await;
    old.send(&publish(&topic)).await;
    let (told, told_old, answer, admitted) = tokio::join!(
        cold.closed_within(BUSY_AFTER + SLACK),
        old.closed_within(BUSY_AFTER + SLACK),
        post(ground.access().http, &topic, third),
        connect(mqtt, third)
    );
    let after = asked.elapsed();
    assert!(is_busy(&told), "{told:?}");
    assert_eq!(told_old, [], "MQTT 3.1.1 is closed without a PUBACK");
    assert!(after >= BUSY_AFTER && after < BUSY_AFTER + SLACK, "{after:?}");
    assert_eq!(answer, 503);
    assert_eq!(admitted, ReasonCode::ServerUnavailable);
    assert_eq!(
        warm.publish(&topic, QoS::AtLeastOnce, "b").await,
        ReasonCode::Success,
        "its lease lives on"
    );

    lines().for_each(trunkline_testkit::Proxy::heal);
    until(HEAL_WITHIN, async || connect(mqtt, third).await == ReasonCode::Success).await;
    until(HEAL_WITHIN, async || {
        post(ground.access().http, &topic, third).await == 202
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_line_to_a_server_fails_nothing_is_lost_and_it_heals_by_itself() {
    let ground = Ground::start().await;
    let domain = ground.domain("cut").await;
    let (channel, device) = domain.channel_with_device("cut").await;
    let strain = Strain::start(&ground).await;
    let (mqtt, store) = (ground.process(Part::Mqtt), ground.process(Part::Store));
    strain.works(WAIT).await;

    let mut client = Mqtt::log_in(ground.access().mqtt, Version::V5, &device.id, &device.secret).await;
    mqtt.to_nats.hold();
    let asked = Instant::now();
    client.send(&publish(&domain.topic(&channel))).await;
    let count = strain.stands_still(false).await;
    let told = client.closed_within(BUSY_AFTER + SLACK).await;
    assert!(is_busy(&told), "nothing is acknowledged: {told:?}");
    assert!(asked.elapsed() >= BUSY_AFTER, "{:?}", asked.elapsed());
    assert_eq!(
        strain.counts()[..2].iter().sum::<u64>(),
        count,
        "acknowledged, and stored nowhere"
    );
    mqtt.to_nats.heal();
    strain.heals("MQTT cut off from NATS").await;

    mqtt.to_nats.slow(LATE);
    strain.works(WAIT).await;
    mqtt.to_nats.heal();
    mqtt.to_nats.reset();
    strain.heals("MQTT's lines to NATS broken").await;

    for (line, what) in [(&store.to_nats, "NATS"), (&store.to_postgres, "Postgres")] {
        line.hold();
        let cut = Instant::now();
        until(WAIT, async || cut.elapsed() > CUT).await;
        strain.works(WAIT).await;
        line.heal();
        strain.heals(&format!("the writer cut off from {what}")).await;
        line.reset();
        strain.heals(&format!("the writer's lines to {what} broken")).await;
    }
    strain.assert_clean(&ground).await;
}

/// Three clients that may publish, and have not yet.
async fn strangers(domain: &Domain, channel: &str) -> [Device; 3] {
    let mut devices = Vec::new();
    for name in ["first", "second", "third"] {
        let device = domain.device(name).await;
        domain.connect(channel, &device, &["publish"]).await;
        devices.push(device);
    }
    devices.try_into().unwrap()
}

pub(super) fn publish(topic: &str) -> Packet {
    let mut publish = publish_packet(topic, QoS::AtLeastOnce, "a");
    publish.packet_id = Some(PacketId::MIN);
    Packet::Publish(publish)
}

/// Whether a client was told nothing but that the server is busy (0x89).
pub(super) fn is_busy(told: &[Packet]) -> bool {
    matches!(told, [Packet::Disconnect(goodbye)] if goodbye.reason == ReasonCode::ServerBusy)
}

async fn connect(mqtt: SocketAddr, device: &Device) -> ReasonCode {
    let connect = connect_packet(&device.id, &device.id, &device.secret);
    Mqtt::connect(mqtt, Version::V5, connect).await.1.reason
}

async fn post(http: SocketAddr, topic: &str, device: &Device) -> u16 {
    let client = Http::new(http).with_authorization(&format!("Client {}", device.secret));
    client.post(&format!("/{topic}"), &json!([])).await.status
}

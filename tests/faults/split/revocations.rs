//! What is withdrawn by one process is withdrawn on all others, also on one that cannot be told.

use std::time::{Duration, Instant};

use serde_json::json;
use trunkline_mqtt_wire::{Packet, QoS, ReasonCode, Version};
use trunkline_testkit::http::Answer;
use trunkline_testkit::mqtt::Client as Mqtt;
use trunkline_testkit::{Proxy, until};
use trunkline_tests::{Device, Domain};

use super::HEAL_WITHIN;
use super::ground::{Ground, Part};
use super::partitions::{is_busy, publish};

/// A revocation is in force everywhere within this time.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);
/// The same when a process that may still believe otherwise cannot be told.
const REVOKED_UNTOLD_WITHIN: Duration = Duration::from_secs(5);
/// When a client of a process that is cut off has been told so.
const CLOSED_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_stops_a_client_of_another_process_even_one_that_is_cut_off() {
    let ground = Ground::start().await;
    let domain = ground.domain("revoked").await;
    let (channel, device) = domain.channel_with_device("revoked").await;
    let mut client = working(&ground, &domain, &channel, &device).await;
    let asked = Instant::now();
    domain.disconnect(&channel, &device, &["publish"]).await;
    let refused = client.publish(&domain.topic(&channel), QoS::AtLeastOnce, "b").await;
    assert_eq!(refused, ReasonCode::NotAuthorized);
    assert!(asked.elapsed() < REVOKED_WITHIN, "{:?}", asked.elapsed());

    let disabled = Instant::now();
    let path = format!("/{}/clients/{}/disable", domain.id, device.id);
    domain.owner.post(&path, &json!({})).await.expect(200);
    let told = client.closed().await;
    assert!(is_told(&told, ReasonCode::AdministrativeAction), "{told:?}");
    assert!(disabled.elapsed() < REVOKED_WITHIN, "{:?}", disabled.elapsed());

    let other = domain.device("cut off").await;
    let next = domain.device("granted meanwhile").await;
    domain.connect(&channel, &other, &["publish", "subscribe"]).await;
    let mut client = working(&ground, &domain, &channel, &other).await;
    let mqtt = ground.process(Part::Mqtt);
    mqtt.to_nats.hold();
    mqtt.to_deciders().for_each(Proxy::hold);
    let granted = Instant::now();
    domain.connect(&channel, &next, &["publish"]).await;
    assert!(
        granted.elapsed() < REVOKED_WITHIN,
        "a grant waits for nobody: {:?}",
        granted.elapsed()
    );
    let asked = Instant::now();
    until(REVOKED_UNTOLD_WITHIN, async || {
        disconnect(&domain, &channel, &other).await.status == 204
    })
    .await;
    assert!(asked.elapsed() < REVOKED_UNTOLD_WITHIN, "{:?}", asked.elapsed());
    client.send(&publish(&domain.topic(&channel))).await;
    let told = client.closed_within(CLOSED_WITHIN).await;
    assert!(is_busy(&told), "{told:?}");

    mqtt.to_nats.heal();
    mqtt.to_deciders().for_each(Proxy::heal);
    let log_in = async || Mqtt::log_in(ground.access().mqtt, Version::V5, &other.id, &other.secret).await;
    let mut client = log_in().await;
    let refused = client.publish(&domain.topic(&channel), QoS::AtLeastOnce, "c").await;
    assert_eq!(refused, ReasonCode::NotAuthorized);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_that_cannot_be_confirmed_says_so_and_is_repeated_until_it_is() {
    let ground = Ground::start().await;
    let domain = ground.domain("pending").await;
    let (channel, device) = domain.channel_with_device("pending").await;
    let mut client = working(&ground, &domain, &channel, &device).await;
    ground.nats.freeze();
    for _ in 0..2 {
        let pending = disconnect(&domain, &channel, &device).await.expect(503);
        assert_eq!(pending.text_at("/reason"), "REVOCATION_PENDING");
    }
    ground.nats.thaw();
    until(HEAL_WITHIN, async || {
        disconnect(&domain, &channel, &device).await.status == 204
    })
    .await;
    let refused = client.publish(&domain.topic(&channel), QoS::AtLeastOnce, "b").await;
    assert_eq!(refused, ReasonCode::NotAuthorized);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_cannot_be_confirmed_is_repeated_until_it_is() {
    let ground = Ground::start().await;
    let domain = ground.domain("pending").await;
    let gone = domain.device("gone").await;
    let path = format!("/{}/clients/{}", domain.id, gone.id);
    ground.nats.freeze();
    let pending = domain.owner.delete(&path).await.expect(503);
    assert_eq!(pending.text_at("/reason"), "REVOCATION_PENDING");
    ground.nats.thaw();
    until(HEAL_WITHIN, async || domain.owner.delete(&path).await.status == 204).await;
    domain.owner.get(&path).await.expect(404);
}

/// A client that has published, so that its permission is remembered.
async fn working(ground: &Ground, domain: &Domain, channel: &str, device: &Device) -> Mqtt {
    let mut client = Mqtt::log_in(ground.access().mqtt, Version::V5, &device.id, &device.secret).await;
    let taken = client.publish(&domain.topic(channel), QoS::AtLeastOnce, "a").await;
    assert_eq!(taken, ReasonCode::Success);
    client
}

async fn disconnect(domain: &Domain, channel: &str, device: &Device) -> Answer {
    let path = format!("/{}/channels/{channel}/disconnect", domain.id);
    let body = json!({ "client_ids": [device.id], "types": ["publish"] });
    domain.owner.post(&path, &body).await
}

fn is_told(told: &[Packet], reason: ReasonCode) -> bool {
    matches!(told, [Packet::Disconnect(goodbye)] if goodbye.reason == reason)
}

//! What was written for a client that does not take it, when the client may not have it any more: none of it is delivered later.
//!
//! What is with the client's own system by then has been delivered; that is what its receive buffer holds, and these clients have a small one.

use std::num::NonZeroU16;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpSocket;
use trunkline_mqtt_wire::{Connect, Packet, QoS, ReasonCode, Unsubscribe, UnsubscribeProperties, Version};
use trunkline_testkit::mqtt::{Client, connect_packet};
use trunkline_testkit::until;
use trunkline_tests::{Device, Domain, World, scenarios};

use crate::wire::{log_in_as, text};

scenarios!(
    what_a_stalled_subscriber_has_not_taken_is_not_delivered_once_its_channel_is_revoked,
    what_a_stalled_subscriber_has_not_taken_is_not_delivered_once_it_is_disabled,
    what_the_system_has_for_a_subscriber_that_is_behind_is_not_delivered_once_its_channel_is_revoked,
    what_waits_behind_messages_of_another_channel_is_not_delivered_once_it_was_unsubscribed_from_and_revoked,
);

/// Bytes that the subscriber asks its system to receive ahead.
const RECEIVE_BYTES: u32 = 4 * 1024;
/// Bytes of a message: a window of them is far more than the socket buffers of both ends hold.
const BYTES: usize = 60 * 1024;
/// Messages to each channel, together fewer than a client's window.
const COUNT: usize = 100;
/// Bytes of a message where the client is still to be heard while no more is written for it.
const SMALL_BYTES: usize = 15 * 1024;
/// As many of them, to each channel, as no socket buffers and no mailbox hold.
const SMALL_COUNT: usize = 300;
/// How long the end of a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two channels of one domain, and who publishes to both.
struct Stage {
    plant: Domain,
    revoked: String,
    allowed: String,
    publisher: Client,
}

impl Stage {
    /// The stage, with a device that may subscribe to both channels.
    async fn new(world: &World) -> (Self, Device) {
        let plant = world.domain("plant").await;
        let (revoked, device) = plant.channel_with_device("boiler").await;
        let allowed = plant.channel("pump").await;
        let publisher = plant.device("publisher").await;
        for channel in [&revoked, &allowed] {
            plant.connect(channel, &publisher, &["publish", "subscribe"]).await;
        }
        plant.connect(&allowed, &device, &["publish", "subscribe"]).await;
        let publisher = log_in_as(world, Version::V5, &publisher, "publisher").await;
        let stage = Self {
            plant,
            revoked,
            allowed,
            publisher,
        };
        (stage, device)
    }

    /// Publishes to both channels by turns, and returns once all of it can be delivered.
    async fn publish(&mut self, count: usize, bytes: usize) {
        let topics = [&self.revoked, &self.allowed].map(|channel| self.plant.topic(channel));
        self.publish_to(&topics.each_ref(), count, bytes).await;
    }

    /// The same to any topics.
    async fn publish_to(&mut self, topics: &[&String], count: usize, bytes: usize) {
        let filling = "x".repeat(bytes - 4);
        for topic in topics {
            assert!(!self.publisher.subscribe(topic, QoS::AtLeastOnce).await.is_error());
        }
        for number in 0..count {
            for topic in topics {
                let payload = format!("{number:04}{filling}");
                let answer = self.publisher.publish(topic, QoS::ExactlyOnce, payload).await;
                assert_eq!(answer, ReasonCode::Success);
            }
        }
        for _ in 0..topics.len() * count {
            self.publisher.message().await;
        }
    }
}

/// A client with a lasting session that can be sent little ahead, and how many bytes that is.
async fn narrow(world: &World, version: Version, device: &Device) -> (Client, usize) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(RECEIVE_BYTES).unwrap();
    let ahead_bytes = socket.recv_buffer_size().unwrap();
    let mut client = Client::over(socket.connect(world.addresses.mqtt).await.unwrap(), version);
    assert_eq!(client.ask(lasting(version, device)).await.reason, ReasonCode::Success);
    (client, usize::try_from(ahead_bytes).unwrap())
}

fn lasting(version: Version, device: &Device) -> Connect {
    let mut connect = Connect {
        clean_start: false,
        ..connect_packet("narrow", &device.id, &device.secret)
    };
    if version == Version::V5 {
        connect.properties.session_expiry_s = Some(u32::MAX);
    }
    connect
}

/// Waits until the server threw the connection away. The client then reads as much as its own system had already.
async fn is_cut_off(client: Client, ahead_bytes: usize) {
    until(PATIENCE, async || client.was_reset()).await;
    let packets = client.closed().await;
    let bytes: usize = packets.iter().map(message_bytes).sum();
    assert!(
        bytes <= ahead_bytes,
        "{bytes} bytes of messages came after a revocation"
    );
}

fn message_bytes(packet: &Packet) -> usize {
    match packet {
        Packet::Publish(publish) => publish.payload.len(),
        other => panic!("a message was cut off, and {other:?} was said after it"),
    }
}

async fn what_a_stalled_subscriber_has_not_taken_is_not_delivered_once_its_channel_is_revoked(world: World) {
    let (mut stage, device) = Stage::new(&world).await;
    let (mut client, ahead_bytes) = narrow(&world, Version::V5, &device).await;
    for channel in [&stage.revoked, &stage.allowed] {
        let topic = stage.plant.topic(channel);
        assert!(!client.subscribe(&topic, QoS::AtLeastOnce).await.is_error());
    }
    stage.publish(COUNT, BYTES).await;
    stage.plant.disconnect(&stage.revoked, &device, &["subscribe"]).await;
    is_cut_off(client, ahead_bytes).await;

    // What was on its way to it from the other channel comes again, all of it.
    let connect = lasting(Version::V5, &device);
    let (mut client, answer) = Client::connect(world.addresses.mqtt, Version::V5, connect).await;
    assert!(answer.session_present);
    for number in 0..COUNT {
        let message = client.message().await;
        assert_eq!(*message.topic, *stage.plant.topic(&stage.allowed));
        assert_eq!(message.payload[..4], *format!("{number:04}").as_bytes());
    }
    assert!(client.settle().await.is_empty());
    world.stop().await;
}

async fn what_the_system_has_for_a_subscriber_that_is_behind_is_not_delivered_once_its_channel_is_revoked(
    world: World,
) {
    // After the first of them no socket buffer takes more. Then so many are taken that the one in the middle is in those buffers.
    const HALF: usize = COUNT / 2;
    const TAKEN: usize = 20;
    let (mut stage, device) = Stage::new(&world).await;
    let (mut client, ahead_bytes) = narrow(&world, Version::V5, &device).await;
    let [revoked, allowed] = [&stage.revoked, &stage.allowed].map(|channel| stage.plant.topic(channel));
    for topic in [&revoked, &allowed] {
        assert!(!client.subscribe(topic, QoS::AtLeastOnce).await.is_error());
    }
    for (topic, count) in [(&allowed, HALF), (&revoked, 1), (&allowed, HALF)] {
        stage.publish_to(&[topic], count, BYTES).await;
    }
    for _ in 0..TAKEN {
        assert_eq!(*client.message().await.topic, *allowed);
    }
    stage.plant.disconnect(&stage.revoked, &device, &["subscribe"]).await;
    is_cut_off(client, ahead_bytes).await;
    world.stop().await;
}

async fn what_a_stalled_subscriber_has_not_taken_is_not_delivered_once_it_is_disabled(world: World) {
    let (mut stage, device) = Stage::new(&world).await;
    let (mut client, ahead_bytes) = narrow(&world, Version::V3, &device).await;
    let topic = stage.plant.topic(&stage.revoked);
    assert!(!client.subscribe(&topic, QoS::ExactlyOnce).await.is_error());
    stage.publish(COUNT, BYTES).await;
    let path = format!("/{}/clients/{}/disable", stage.plant.id, device.id);
    stage.plant.owner.post(&path, &json!({})).await.expect(200);
    is_cut_off(client, ahead_bytes).await;
    world.stop().await;
}

async fn what_waits_behind_messages_of_another_channel_is_not_delivered_once_it_was_unsubscribed_from_and_revoked(
    world: World,
) {
    let (mut stage, device) = Stage::new(&world).await;
    let (mut client, ahead_bytes) = narrow(&world, Version::V5, &device).await;
    let (revoked, allowed) = (stage.plant.topic(&stage.revoked), stage.plant.topic(&stage.allowed));
    for topic in [&revoked, &allowed] {
        assert!(!client.subscribe(topic, QoS::AtMostOnce).await.is_error());
    }
    stage.publish(SMALL_COUNT, SMALL_BYTES).await;
    let unsubscribe = Unsubscribe {
        packet_id: NonZeroU16::MAX,
        filters: vec![text(&revoked)],
        properties: UnsubscribeProperties::default(),
    };
    client.send(&Packet::Unsubscribe(unsubscribe)).await;
    // Who hears this knows that the packet before was heard.
    client.publish(&allowed, QoS::AtMostOnce, "heard").await;
    assert_eq!(stage.publisher.message().await.payload, "heard");
    stage.plant.disconnect(&stage.revoked, &device, &["subscribe"]).await;
    is_cut_off(client, ahead_bytes).await;
    world.stop().await;
}

//! MQTT sessions on the platform: they outlive connections and processes, and what was revoked is not delivered from them.

use trunkline_mqtt_wire::{Ack, Connect, Packet, QoS, ReasonCode, Version};
use trunkline_testkit::mqtt::{Client, connect_packet};
use trunkline_tests::{Device, World, scenarios};

use crate::wire::{BOTH, log_in_as};

scenarios!(
    a_device_gets_what_was_published_while_it_and_the_platform_were_away,
    what_was_revoked_while_a_device_was_away_is_not_delivered_to_it,
    a_session_belongs_to_one_device,
);

/// A connection that goes on with the session of `device`, and whether there was one.
async fn back(world: &World, version: Version, device: &Device) -> (Client, bool) {
    let mut connect = Connect {
        clean_start: false,
        ..connect_packet("lasting", &device.id, &device.secret)
    };
    if version == Version::V5 {
        connect.properties.session_expiry_s = Some(u32::MAX);
    }
    let (client, answer) = Client::connect(world.addresses.mqtt, version, connect).await;
    assert_eq!(answer.reason, ReasonCode::Success);
    (client, answer.session_present)
}

async fn a_device_gets_what_was_published_while_it_and_the_platform_were_away(mut world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    for version in BOTH {
        let (mut client, is_present) = back(&world, version, &device).await;
        assert!(!is_present);
        client.subscribe(&format!("{topic}/#"), QoS::ExactlyOnce).await;
        client.disconnect().await;
        let mut publisher = log_in_as(&world, Version::V5, &device, "publisher").await;
        for (qos, payload) in [(QoS::AtMostOnce, "0"), (QoS::AtLeastOnce, "1"), (QoS::ExactlyOnce, "2")] {
            publisher.publish(&format!("{topic}/a"), qos, payload).await;
        }
        publisher.disconnect().await;
        world = world.restart().await;
        let (mut client, is_present) = back(&world, version, &device).await;
        assert!(is_present);
        for (qos, payload) in [(QoS::AtLeastOnce, "1"), (QoS::ExactlyOnce, "2")] {
            let message = client.message().await;
            assert_eq!(
                (message.qos, &message.payload[..], message.dup),
                (qos, payload.as_bytes(), false)
            );
        }
        assert!(client.settle().await.is_empty());
        client.disconnect().await;
        // The next version begins anew.
        log_in_as(&world, version, &device, "lasting").await.disconnect().await;
    }
    world.stop().await;
}

async fn what_was_revoked_while_a_device_was_away_is_not_delivered_to_it(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let (other, _) = plant.channel_with_device("pump").await;
    plant.connect(&other, &device, &["publish", "subscribe"]).await;
    let publisher = plant.device("publisher").await;
    plant.connect(&channel, &publisher, &["publish"]).await;
    plant.connect(&other, &publisher, &["publish"]).await;
    let (topic, allowed) = (plant.topic(&channel), plant.topic(&other));
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (mut client, _) = back(&world, Version::V5, &device).await;
        assert!(!client.subscribe(&topic, qos).await.is_error());
        assert!(!client.subscribe(&allowed, qos).await.is_error());
        let mut publisher = log_in_as(&world, Version::V5, &publisher, "publisher").await;
        // One is under way when the connection breaks, one is published after that.
        publisher.publish(&topic, qos, "under way").await;
        let first = client.receive().await;
        assert!(
            matches!(&first, Packet::Publish(message) if message.payload == "under way"),
            "{first:?}"
        );
        drop(client);
        publisher.publish(&topic, qos, "missed").await;
        publisher.publish(&allowed, qos, "allowed").await;
        plant.disconnect(&channel, &device, &["subscribe"]).await;
        let (mut client, is_present) = back(&world, Version::V5, &device).await;
        assert!(is_present);
        if qos == QoS::ExactlyOnce {
            // The client is told to forget the message that was under way.
            let Packet::PubRel(ack) = client.receive().await else {
                panic!("expected PUBREL");
            };
            client.send(&Packet::PubComp(Ack::success(ack.packet_id))).await;
        }
        assert_eq!(client.message().await.payload, "allowed");
        assert!(client.settle().await.is_empty());
        client.disconnect().await;
        plant.connect(&channel, &device, &["subscribe"]).await;
        log_in_as(&world, Version::V5, &device, "lasting")
            .await
            .disconnect()
            .await;
    }
    world.stop().await;
}

async fn a_session_belongs_to_one_device(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    let other = plant.device("other").await;
    plant.connect(&channel, &other, &["subscribe"]).await;
    let (mut client, _) = back(&world, Version::V5, &device).await;
    client.subscribe(&topic, QoS::AtLeastOnce).await;
    let (mut stranger, is_present) = back(&world, Version::V5, &other).await;
    assert!(!is_present);
    assert!(client.settle().await.is_empty(), "it goes on");
    assert!(stranger.settle().await.is_empty());
    world.stop().await;
}

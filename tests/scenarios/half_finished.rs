//! Messages at QoS 2 that were half published when their client lost the permission: nothing of them is published after that.

use std::num::NonZeroU16;

use trunkline_mqtt_wire::{Ack, Connect, Packet, PacketId, Publish, QoS, ReasonCode, Version};
use trunkline_testkit::mqtt::{Client, connect_packet, publish_packet};
use trunkline_tests::{Device, Domain, World, scenarios};

use crate::wire::{BOTH, log_in, log_in_as};

scenarios!(
    a_message_that_had_not_come_before_a_revocation_is_refused_and_not_stored,
    a_message_that_had_come_before_a_revocation_is_stored_once_however_often_it_is_repeated,
    a_release_after_a_revocation_publishes_nothing,
);

const ID: PacketId = NonZeroU16::MIN;

/// A channel, a device that publishes to it with a lasting session, and one that sees what is published.
struct Stage {
    plant: Domain,
    channel: String,
    topic: String,
    device: Device,
    witness: Client,
}

impl Stage {
    async fn new(world: &World) -> Self {
        let plant = world.domain("plant").await;
        let (channel, witness) = plant.channel_with_device("boiler").await;
        let topic = plant.topic(&channel);
        let device = plant.device("publisher").await;
        let mut witness = log_in(world, Version::V5, &witness).await;
        witness.subscribe(&topic, QoS::AtLeastOnce).await;
        Self {
            plant,
            channel,
            topic,
            device,
            witness,
        }
    }

    /// A connection of the publisher that goes on with its session.
    async fn back(&self, world: &World, version: Version) -> Client {
        let mut connect = Connect {
            clean_start: false,
            ..connect_packet("lasting", &self.device.id, &self.device.secret)
        };
        if version == Version::V5 {
            connect.properties.session_expiry_s = Some(u32::MAX);
        }
        let (client, answer) = Client::connect(world.addresses.mqtt, version, connect).await;
        assert_eq!(answer.reason, ReasonCode::Success);
        client
    }

    fn message(&self, payload: &str, dup: bool) -> Packet {
        Packet::Publish(Publish {
            packet_id: Some(ID),
            dup,
            ..publish_packet(&self.topic, QoS::ExactlyOnce, payload.to_owned())
        })
    }

    async fn grant(&self) {
        self.plant.connect(&self.channel, &self.device, &["publish"]).await;
    }

    async fn revoke(&self) {
        self.plant.disconnect(&self.channel, &self.device, &["publish"]).await;
    }

    /// Publishes `mark` by another and asserts that the messages of the channel up to it are these, to the witness and in the store.
    async fn are_published(&mut self, messages: &[&str], mark: &str, stored: usize) {
        self.witness
            .publish(&self.topic, QoS::AtLeastOnce, mark.to_owned())
            .await;
        for message in messages.iter().chain([&mark]) {
            assert_eq!(self.witness.message().await.payload, *message);
        }
        assert_eq!(self.plant.stored(&self.channel, stored).await.len(), stored);
    }
}

async fn a_message_that_had_not_come_before_a_revocation_is_refused_and_not_stored(world: World) {
    let mut stage = Stage::new(&world).await;
    for (version, stored) in BOTH.into_iter().zip([1, 2]) {
        stage.grant().await;
        stage.back(&world, version).await.disconnect().await;
        stage.revoke().await;
        let mut client = stage.back(&world, version).await;
        // It was sent over the connection before, and lost on its way.
        client.send(&stage.message("late", true)).await;
        match version {
            Version::V5 => {
                let answer = client.receive().await;
                assert!(
                    matches!(&answer, Packet::PubRec(ack) if ack.reason == ReasonCode::NotAuthorized),
                    "{answer:?}"
                );
                client.disconnect().await;
            }
            Version::V3 => assert!(client.closed().await.is_empty()),
        }
        stage.are_published(&[], "mark", stored).await;
        log_in_as(&world, version, &stage.device, "lasting")
            .await
            .disconnect()
            .await;
    }
    world.stop().await;
}

async fn a_message_that_had_come_before_a_revocation_is_stored_once_however_often_it_is_repeated(world: World) {
    let mut stage = Stage::new(&world).await;
    for (version, stored) in BOTH.into_iter().zip([2, 4]) {
        stage.grant().await;
        let mut client = stage.back(&world, version).await;
        client.send(&stage.message("once", false)).await;
        assert_eq!(stage.witness.message().await.payload, "once");
        // It is published, and its PUBREC has not been read.
        drop(client);
        stage.revoke().await;
        for _ in 0..2 {
            let mut client = stage.back(&world, version).await;
            client.send(&stage.message("once", true)).await;
            // Nothing is published by that: the answer is that of before.
            assert_eq!(client.receive().await, Packet::PubRec(Ack::success(ID)));
            drop(client);
        }
        let mut client = stage.back(&world, version).await;
        client.send(&Packet::PubRel(Ack::success(ID))).await;
        assert_eq!(client.receive().await, Packet::PubComp(Ack::success(ID)));
        // The id is free, and what it would stand for now is refused.
        client.send(&stage.message("late", false)).await;
        match client.next().await {
            Some(Packet::PubRec(ack)) => assert_eq!(ack.reason, ReasonCode::NotAuthorized),
            None => assert_eq!(version, Version::V3),
            Some(other) => panic!("{other:?}"),
        }
        drop(client);
        stage.are_published(&[], "mark", stored).await;
        log_in_as(&world, version, &stage.device, "lasting")
            .await
            .disconnect()
            .await;
    }
    world.stop().await;
}

async fn a_release_after_a_revocation_publishes_nothing(world: World) {
    let mut stage = Stage::new(&world).await;
    for (version, stored) in BOTH.into_iter().zip([2, 4]) {
        stage.grant().await;
        let mut client = stage.back(&world, version).await;
        client.send(&stage.message("half", false)).await;
        assert_eq!(client.receive().await, Packet::PubRec(Ack::success(ID)));
        stage.revoke().await;
        stage.are_published(&["half"], "before", stored).await;
        client.send(&Packet::PubRel(Ack::success(ID))).await;
        assert_eq!(client.receive().await, Packet::PubComp(Ack::success(ID)));
        client.disconnect().await;
        assert!(stage.witness.settle().await.is_empty());
        assert_eq!(stage.plant.records(&stage.channel, "").await.len(), stored);
        log_in_as(&world, version, &stage.device, "lasting")
            .await
            .disconnect()
            .await;
    }
    world.stop().await;
}

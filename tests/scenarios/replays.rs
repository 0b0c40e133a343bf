//! What a session still had to get when a permission was taken from it: nothing of that is given to the connection that takes it over, as
//! retained, or by its group.

use std::num::NonZeroU16;

use trunkline_mqtt_wire::{Ack, Connect, Packet, Publish, QoS, ReasonCode, Version};
use trunkline_testkit::mqtt::{Client, connect_packet, publish_packet};
use trunkline_tests::{Device, Domain, World, scenarios};

use crate::wire::log_in_as;

scenarios!(
    a_connection_that_takes_a_session_over_after_a_revocation_gets_nothing_of_it,
    retained_messages_that_wait_for_their_turn_are_not_given_after_a_revocation,
    what_a_member_left_undone_is_not_handed_to_one_that_may_not_have_it,
    what_a_group_kept_for_an_absent_member_is_another_members_once_that_is_revoked,
    what_a_member_has_at_qos_2_is_nobodys_once_it_is_revoked,
);

/// Two channels of a domain, a device that may subscribe to both, and who publishes to both.
struct Stage {
    world: World,
    plant: Domain,
    revoked: String,
    allowed: String,
    device: Device,
    publisher: Client,
}

impl Stage {
    async fn new(world: World) -> Self {
        let plant = world.domain("plant").await;
        let (revoked, allowed) = (plant.channel("boiler").await, plant.channel("pump").await);
        let (publisher, device) = (plant.device("publisher").await, plant.device("subscriber").await);
        for channel in [&revoked, &allowed] {
            plant.connect(channel, &publisher, &["publish"]).await;
            plant.connect(channel, &device, &["subscribe"]).await;
        }
        let publisher = log_in_as(&world, Version::V5, &publisher, "publisher").await;
        Self {
            world,
            plant,
            revoked,
            allowed,
            device,
            publisher,
        }
    }

    /// A connection of the device that goes on with its session `name`, takes one message at a time, and is on another node if it is `beside`.
    async fn back(&self, device: &Device, beside: bool) -> Client {
        let mut connect = Connect {
            clean_start: false,
            ..connect_packet("lasting", &device.id, &device.secret)
        };
        connect.properties.session_expiry_s = Some(u32::MAX);
        connect.properties.receive_maximum = Some(NonZeroU16::MIN);
        let addresses = &self.world.addresses;
        let address = if beside { addresses.mqtt_beside } else { addresses.mqtt };
        let (client, answer) = Client::connect(address, Version::V5, connect).await;
        assert_eq!(answer.reason, ReasonCode::Success);
        client
    }

    async fn grant(&self, device: &Device) {
        self.plant.connect(&self.revoked, device, &["subscribe"]).await;
    }

    async fn revoke(&self, device: &Device) {
        self.plant.disconnect(&self.revoked, device, &["subscribe"]).await;
    }

    async fn publish(&mut self, channel: &str, payload: &str) {
        let topic = self.plant.topic(channel);
        let answer = self
            .publisher
            .publish(&topic, QoS::ExactlyOnce, payload.to_owned())
            .await;
        assert_eq!(answer, ReasonCode::Success);
    }
}

/// The next message, which is not acknowledged.
async fn unanswered(client: &mut Client) -> Publish {
    match client.receive().await {
        Packet::Publish(publish) => publish,
        other => panic!("a message was waited for, and {other:?} came"),
    }
}

/// Takes the word to forget what came at QoS 2 and may not be had any more.
async fn forgets(client: &mut Client) {
    match client.receive().await {
        Packet::PubRel(ack) => client.send(&Packet::PubComp(Ack::success(ack.packet_id))).await,
        other => panic!("PUBREL was waited for, and {other:?} came"),
    }
}

async fn a_connection_that_takes_a_session_over_after_a_revocation_gets_nothing_of_it(world: World) {
    let mut stage = Stage::new(world).await;
    let (revoked, allowed) = (stage.revoked.clone(), stage.allowed.clone());
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for beside in [false, true] {
            stage.grant(&stage.device).await;
            let mut client = stage.back(&stage.device, false).await;
            for channel in [&revoked, &allowed] {
                assert!(!client.subscribe(&stage.plant.topic(channel), qos).await.is_error());
            }
            for number in 0..3 {
                stage.publish(&revoked, "revoked").await;
                stage.publish(&allowed, &number.to_string()).await;
            }
            assert_eq!(unanswered(&mut client).await.payload, "revoked");
            stage.revoke(&stage.device).await;
            let mut heir = stage.back(&stage.device, beside).await;
            if qos == QoS::ExactlyOnce {
                forgets(&mut heir).await;
            }
            for number in 0..3 {
                assert_eq!(heir.message().await.payload, number.to_string());
            }
            assert!(heir.settle().await.is_empty());
            heir.disconnect().await;
            // The next round begins anew.
            log_in_as(&stage.world, Version::V5, &stage.device, "lasting")
                .await
                .disconnect()
                .await;
        }
    }
    stage.world.stop().await;
}

async fn retained_messages_that_wait_for_their_turn_are_not_given_after_a_revocation(world: World) {
    let mut stage = Stage::new(world).await;
    let topic = stage.plant.topic(&stage.revoked);
    for number in 0..100 {
        let message = Publish {
            retain: true,
            ..publish_packet(&format!("{topic}/{number}"), QoS::ExactlyOnce, "retained")
        };
        assert_eq!(stage.publisher.publish_packet(message).await, ReasonCode::Success);
    }
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        stage.grant(&stage.device).await;
        let mut client = stage.back(&stage.device, false).await;
        assert!(!client.subscribe(&format!("{topic}/#"), qos).await.is_error());
        assert!(client.message().await.retain);
        let second = unanswered(&mut client).await.packet_id.unwrap();
        stage.revoke(&stage.device).await;
        match qos {
            QoS::ExactlyOnce => {
                client.send(&Packet::PubRec(Ack::success(second))).await;
                forgets(&mut client).await;
            }
            _ => client.send(&Packet::PubAck(Ack::success(second))).await,
        }
        assert!(client.settle().await.is_empty());
        client.disconnect().await;
        for beside in [false, true] {
            let mut client = stage.back(&stage.device, beside).await;
            assert!(client.settle().await.is_empty());
            client.disconnect().await;
        }
        log_in_as(&stage.world, Version::V5, &stage.device, "lasting")
            .await
            .disconnect()
            .await;
    }
    stage.world.stop().await;
}

async fn what_a_member_left_undone_is_not_handed_to_one_that_may_not_have_it(world: World) {
    let mut stage = Stage::new(world).await;
    let revoked = stage.revoked.clone();
    let share = format!("$share/workers/{}", stage.plant.topic(&revoked));
    let other = stage.plant.device("other").await;
    stage.grant(&other).await;
    let mut member = stage.back(&stage.device, false).await;
    assert!(!member.subscribe(&share, QoS::AtLeastOnce).await.is_error());
    stage.publish(&revoked, "undone").await;
    assert_eq!(unanswered(&mut member).await.payload, "undone");
    let mut heir = stage.back(&other, true).await;
    assert!(!heir.subscribe(&share, QoS::AtLeastOnce).await.is_error());
    stage.revoke(&other).await;
    drop(member);
    stage.publish(&revoked, "later").await;
    assert!(heir.settle().await.is_empty());
    assert_eq!(
        heir.subscribe(&share, QoS::AtLeastOnce).await,
        ReasonCode::NotAuthorized
    );
    // Both have waited for the one that may.
    let mut member = stage.back(&stage.device, true).await;
    assert_eq!(member.message().await.payload, "undone");
    assert_eq!(member.message().await.payload, "later");
    assert!(heir.settle().await.is_empty());
    stage.world.stop().await;
}

async fn what_a_group_kept_for_an_absent_member_is_another_members_once_that_is_revoked(world: World) {
    let mut stage = Stage::new(world).await;
    let revoked = stage.revoked.clone();
    let share = format!("$share/workers/{}", stage.plant.topic(&revoked));
    let other = stage.plant.device("other").await;
    stage.grant(&other).await;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        stage.grant(&stage.device).await;
        let mut absent = stage.back(&stage.device, false).await;
        assert!(!absent.subscribe(&share, qos).await.is_error());
        absent.disconnect().await;
        for payload in ["first", "second"] {
            stage.publish(&revoked, payload).await;
        }
        stage.revoke(&stage.device).await;
        let mut member = stage.back(&other, true).await;
        assert!(!member.subscribe(&share, qos).await.is_error());
        for payload in ["first", "second"] {
            assert_eq!(member.message().await.payload, payload);
        }
        let mut absent = stage.back(&stage.device, false).await;
        stage.publish(&revoked, "third").await;
        assert_eq!(member.message().await.payload, "third");
        assert!(absent.settle().await.is_empty());
        absent.disconnect().await;
        member.unsubscribe(&share).await;
        member.disconnect().await;
        for device in [&stage.device, &other] {
            log_in_as(&stage.world, Version::V5, device, "lasting")
                .await
                .disconnect()
                .await;
        }
    }
    stage.world.stop().await;
}

async fn what_a_member_has_at_qos_2_is_nobodys_once_it_is_revoked(world: World) {
    let mut stage = Stage::new(world).await;
    let revoked = stage.revoked.clone();
    let share = format!("$share/workers/{}", stage.plant.topic(&revoked));
    let other = stage.plant.device("other").await;
    stage.grant(&other).await;
    let mut member = stage.back(&stage.device, false).await;
    assert!(!member.subscribe(&share, QoS::ExactlyOnce).await.is_error());
    stage.publish(&revoked, "under way").await;
    assert_eq!(unanswered(&mut member).await.payload, "under way");
    drop(member);
    stage.revoke(&stage.device).await;
    let mut member = stage.back(&stage.device, true).await;
    forgets(&mut member).await;
    // The client may have it, so that nobody else is given it.
    let mut heir = stage.back(&other, false).await;
    assert!(!heir.subscribe(&share, QoS::ExactlyOnce).await.is_error());
    stage.publish(&revoked, "later").await;
    assert_eq!(heir.message().await.payload, "later");
    assert!(heir.settle().await.is_empty());
    assert!(member.settle().await.is_empty());
    stage.world.stop().await;
}

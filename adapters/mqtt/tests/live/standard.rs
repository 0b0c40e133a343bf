//! Statements of the standards that have no place among the others: see CONFORMANCE.md.

use trunkline_mqtt_wire::{Disconnect, PublishProperties, Unsubscribe, Will};

use super::*;

async fn retain(client: &mut Client, payload: &'static str, qos: QoS, retain: bool) {
    let message = Publish {
        qos,
        retain,
        topic: text("a"),
        packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
        payload: payload.into(),
        ..Publish::default()
    };
    client.send(&Packet::Publish(message)).await;
    if qos != QoS::AtMostOnce {
        assert!(matches!(client.receive().await, Packet::PubAck(_)));
    }
}

/// What a client that subscribes to `a` now is given of what is retained: that comes before what is published from now on.
async fn retained(broker: &Broker) -> Vec<(Bytes, QoS)> {
    let mut subscriber = broker.client(Version::V5, "looks").await;
    subscriber.subscribe("a", QoS::ExactlyOnce).await;
    let mut publisher = broker.client(Version::V5, "ends").await;
    publisher.publish("a", "end", QoS::AtLeastOnce).await;
    let mut found = Vec::new();
    loop {
        let message = subscriber.take().await;
        match message.retain {
            true => found.push((message.payload, message.qos)),
            false => return found,
        }
    }
}

async fn unsubscribe(client: &mut Client, filters: &[&str]) -> Vec<ReasonCode> {
    let packet = Packet::Unsubscribe(Unsubscribe {
        packet_id: PacketId::MIN,
        filters: filters.iter().map(|filter| text(filter)).collect(),
        properties: Default::default(),
    });
    client.send(&packet).await;
    match client.receive().await {
        Packet::UnsubAck(unsuback) => unsuback.reasons,
        other => panic!("expected UNSUBACK, got {other:?}"),
    }
}

#[tokio::test]
async fn a_retained_message_at_qos_0_replaces_the_one_before() {
    let broker = Broker::start().await;
    for version in BOTH {
        let mut publisher = broker.client(version, "publisher").await;
        retain(&mut publisher, "old", QoS::AtLeastOnce, true).await;
        retain(&mut publisher, "new", QoS::AtMostOnce, true).await;
        // The one at QoS 0 is before this one, which has its answer.
        publisher.publish("b", "last", QoS::AtLeastOnce).await;
        assert_eq!(retained(&broker).await, [(Bytes::from("new"), QoS::AtMostOnce)]);
    }
    broker.stop().await;
}

#[tokio::test]
async fn what_is_published_without_retain_leaves_what_is_retained() {
    let broker = Broker::start().await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    retain(&mut publisher, "not kept", QoS::AtLeastOnce, false).await;
    assert_eq!(retained(&broker).await, []);
    retain(&mut publisher, "kept", QoS::AtLeastOnce, true).await;
    for payload in ["not kept", ""] {
        retain(&mut publisher, payload, QoS::AtLeastOnce, false).await;
        assert_eq!(retained(&broker).await, [(Bytes::from("kept"), QoS::AtLeastOnce)]);
    }
    broker.stop().await;
}

#[tokio::test]
async fn dup_is_not_passed_on() {
    let broker = Broker::start().await;
    for version in BOTH {
        let mut subscriber = broker.client(version, "subscriber").await;
        subscriber.subscribe("a", QoS::ExactlyOnce).await;
        let mut publisher = broker.client(version, "publisher").await;
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let message = Publish {
                dup: true,
                qos,
                topic: text("a"),
                packet_id: Some(PacketId::MIN),
                ..Publish::default()
            };
            publisher.send(&Packet::Publish(message)).await;
            publisher.receive().await;
            let message = subscriber.take().await;
            assert_eq!((message.qos, message.dup), (qos, false));
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn topics_are_compared_as_they_are() {
    // Composed and decomposed, upper and lower case, with and without a separator more, and a character that nobody assigned.
    let topics = [
        "\u{e9}",
        "e\u{301}",
        "\u{c9}",
        "e",
        "E",
        "e/",
        "/e",
        "e ",
        "\u{feff}e",
        "\u{378}",
    ];
    let broker = Broker::start().await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    for filter in topics {
        let mut subscriber = broker.client(Version::V5, "subscriber").await;
        subscriber.subscribe(filter, QoS::AtLeastOnce).await;
        for topic in topics {
            publisher.publish(topic, topic, QoS::AtLeastOnce).await;
        }
        assert_eq!(subscriber.take().await.topic, filter);
        subscriber.is_quiet().await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn unsubscribing_compares_letter_by_letter() {
    let broker = Broker::start().await;
    let mut client = broker.client(Version::V5, "client").await;
    client.subscribe("a/#", QoS::AtLeastOnce).await;
    let none = ReasonCode::NoSubscriptionExisted;
    let reasons = unsubscribe(&mut client, &["a/b", "a/+", "A/#", "#", "a/"]).await;
    assert_eq!(reasons, [none; 5]);
    client.publish("a/b", "still", QoS::AtMostOnce).await;
    assert_eq!(client.take().await.payload, "still");
    assert_eq!(
        unsubscribe(&mut client, &["a/#", "a/#"]).await,
        [ReasonCode::Success, none]
    );
    client.publish("a/b", "no more", QoS::AtMostOnce).await;
    client.is_quiet().await;
    // 3.1.1 has no reasons, and is answered all the same.
    let mut old = broker.client(Version::V3, "old").await;
    assert_eq!(unsubscribe(&mut old, &["a"]).await, []);
    broker.stop().await;
}

#[tokio::test]
async fn a_delivery_that_began_is_finished_after_an_unsubscribe() {
    let broker = Broker::start().await;
    for version in BOTH {
        let mut client = broker.client(version, "client").await;
        client.subscribe("a", QoS::ExactlyOnce).await;
        let mut publisher = broker.client(version, "publisher").await;
        publisher.publish("a", "begun", QoS::ExactlyOnce).await;
        let id = client.message().await.packet_id.unwrap();
        unsubscribe(&mut client, &["a"]).await;
        client.send(&Packet::PubRec(Ack::success(id))).await;
        assert_eq!(client.receive().await, Packet::PubRel(Ack::success(id)));
        client.send(&Packet::PubComp(Ack::success(id))).await;
        client.is_quiet().await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_topic_alias_ends_with_its_connection() {
    let broker = Broker::start().await;
    let aliased = |topic: &str| {
        Packet::Publish(Publish {
            topic: text(topic),
            properties: Some(Box::new(PublishProperties {
                topic_alias: std::num::NonZeroU16::new(1),
                ..PublishProperties::default()
            })),
            ..Publish::default()
        })
    };
    let (mut client, _) = broker.back(Version::V5, "client").await;
    client.send(&aliased("a")).await;
    client.send(&aliased("")).await;
    client.is_quiet().await;
    client.vanish().await;
    let (mut client, is_present) = broker.back(Version::V5, "client").await;
    assert!(is_present);
    client.send(&aliased("")).await;
    assert_eq!(client.goodbye().await, Some(ReasonCode::ProtocolError));
    broker.stop().await;
}

#[tokio::test]
async fn a_session_that_goes_on_lasts_while_it_is_connected() {
    let broker = Broker::start().await;
    // Its time is over as soon as it is left, and does not run before.
    let (client, _) = broker.back(Version::V5, "client").await;
    client.vanish().await;
    let mut connect = connect("client");
    connect.clean_start = false;
    let (mut client, connack) = super::sessions::open(broker.stream(), Version::V5, connect).await;
    assert!(connack.session_present);
    client.subscribe("a", QoS::AtLeastOnce).await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    publisher.publish("a", "here", QoS::AtLeastOnce).await;
    assert_eq!(client.take().await.payload, "here");
    client.vanish().await;
    assert!(!broker.back(Version::V5, "client").await.1);
    broker.stop().await;
}

#[tokio::test]
async fn a_client_without_a_will_leaves_nothing_behind() {
    let broker = Broker::start().await;
    let mut all = broker.client(Version::V5, "all").await;
    all.subscribe("#", QoS::ExactlyOnce).await;
    for version in BOTH {
        broker.client(version, "client").await.vanish().await;
    }
    let mut publisher = broker.client(Version::V5, "publisher").await;
    publisher.publish("a", "last", QoS::AtLeastOnce).await;
    assert_eq!(all.take().await.payload, "last");
    broker.stop().await;
}

#[tokio::test]
async fn a_will_that_is_not_retained_is_not_kept() {
    let broker = Broker::start().await;
    let mut heir = broker.client(Version::V5, "heir").await;
    heir.subscribe("a", QoS::AtLeastOnce).await;
    let will = Will {
        qos: QoS::AtLeastOnce,
        topic: text("a"),
        payload: Bytes::from_static(b"gone"),
        ..Will::default()
    };
    let mortal = Connect {
        will: Some(will),
        ..connect("mortal")
    };
    broker.client_with(Version::V5, mortal).await.vanish().await;
    let message = heir.take().await;
    assert_eq!((message.payload, message.retain), (Bytes::from("gone"), false));
    assert_eq!(retained(&broker).await, []);
    broker.stop().await;
}

#[tokio::test]
async fn what_a_member_refuses_goes_to_nobody_else() {
    let broker = Broker::start().await;
    let mut members = Vec::new();
    for name in ["one", "two"] {
        let mut member = broker.client(Version::V5, name).await;
        member.subscribe("$share/group/a", QoS::AtLeastOnce).await;
        members.push(member);
    }
    let mut publisher = broker.client(Version::V5, "publisher").await;
    for payload in ["first", "second"] {
        publisher.publish("a", payload, QoS::AtLeastOnce).await;
    }
    let [one, two] = &mut members[..] else {
        panic!("two members");
    };
    for member in [&mut *one, &mut *two] {
        let id = member.message().await.packet_id.unwrap();
        let refused = Ack::with_reason(id, ReasonCode::UnspecifiedError);
        member.send(&Packet::PubAck(refused)).await;
        member.is_quiet().await;
    }
    // Nor when whoever refused it is gone.
    one.send(&Packet::Disconnect(Box::<Disconnect>::default())).await;
    assert_eq!(one.goodbye().await, None);
    two.is_quiet().await;
    broker.stop().await;
}

//! From publisher to subscriber.

use trunkline_mqtt_wire::{PublishProperties, SubscriptionId, Unsubscribe, UserProperty};

use super::*;

#[tokio::test]
async fn a_message_reaches_its_subscriber_at_every_qos_in_every_version() {
    let broker = Broker::start().await;
    for publishing in BOTH {
        for subscribing in BOTH {
            for (qos, granted) in [
                (QoS::AtMostOnce, ReasonCode::GRANTED_QOS0),
                (QoS::AtLeastOnce, ReasonCode::GrantedQos1),
                (QoS::ExactlyOnce, ReasonCode::GrantedQos2),
            ] {
                let mut publisher = broker.client(publishing, "publisher").await;
                let mut subscriber = broker.client(subscribing, "subscriber").await;
                assert_eq!(subscriber.subscribe("a/+/c", qos).await, granted);
                publisher.publish("a/b/c", "21.5", qos).await;
                let message = subscriber.take().await;
                assert_eq!(
                    (message.topic.as_str(), &message.payload[..], message.qos),
                    ("a/b/c", &b"21.5"[..], qos)
                );
                assert!(!message.retain && !message.dup);
            }
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_delivery_has_the_lower_qos_of_message_and_subscription() {
    let broker = Broker::start().await;
    let every = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    let mut publisher = broker.client(Version::V5, "publisher").await;
    for granted in every {
        let mut subscriber = broker.client(Version::V5, "subscriber").await;
        subscriber.subscribe("a", granted).await;
        for published in every {
            publisher.publish("a", "21.5", published).await;
            assert_eq!(subscriber.take().await.qos, granted.min(published));
        }
        subscriber.is_quiet().await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_message_at_qos_2_that_is_repeated_is_published_once() {
    let broker = Broker::start().await;
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    subscriber.subscribe("a", QoS::ExactlyOnce).await;
    for version in BOTH {
        let mut publisher = broker.client(version, "publisher").await;
        let mut message = Publish {
            qos: QoS::ExactlyOnce,
            packet_id: Some(PacketId::MIN),
            topic: text("a"),
            ..Publish::default()
        };
        for dup in [false, true] {
            message.dup = dup;
            publisher.send(&Packet::Publish(message.clone())).await;
            assert_eq!(publisher.receive().await, Packet::PubRec(Ack::success(PacketId::MIN)));
        }
        publisher.send(&Packet::PubRel(Ack::success(PacketId::MIN))).await;
        assert_eq!(publisher.receive().await, Packet::PubComp(Ack::success(PacketId::MIN)));
        assert!(subscriber.take().await.payload.is_empty());
        publisher.publish("a", "the id is free", QoS::ExactlyOnce).await;
        assert_eq!(&subscriber.take().await.payload[..], b"the id is free");
    }
    subscriber.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn messages_of_one_publisher_arrive_once_and_in_their_order() {
    const COUNT: u32 = 3_000;
    let broker = Broker::start().await;
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    subscriber.subscribe("a/#", QoS::AtLeastOnce).await;
    let mut publisher = broker.client(Version::V3, "publisher").await;
    let publishing = tokio::spawn(async move { publisher.publish_numbers(0..COUNT, QoS::AtLeastOnce).await });
    for number in 0..COUNT {
        assert_eq!(number_of(&subscriber.take().await), number);
    }
    publishing.await.unwrap();
    subscriber.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn what_a_publisher_says_of_a_message_reaches_mqtt_5_subscribers_as_it_was() {
    let broker = Broker::start().await;
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    let mut old = broker.client(Version::V3, "old").await;
    subscriber.subscribe("a", QoS::AtLeastOnce).await;
    old.subscribe("a", QoS::AtLeastOnce).await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    let property = |name: &str, value: &str| UserProperty {
        name: text(name),
        value: text(value),
    };
    let properties = PublishProperties {
        payload_is_utf8: Some(true),
        content_type: Some(text("application/senml+json")),
        response_topic: Some(text("answers")),
        correlation_data: Some(Bytes::from_static(b"\x00\x01")),
        user_properties: vec![property("b", "1"), property("a", "2"), property("b", "3")],
        message_expiry_s: Some(60),
        ..PublishProperties::default()
    };
    let message = Publish {
        topic: text("a"),
        properties: Some(Box::new(properties.clone())),
        payload: "[]".into(),
        ..Publish::default()
    };
    publisher.send(&Packet::Publish(message)).await;
    let mut received = subscriber.take().await.properties.unwrap();
    assert!(
        received
            .message_expiry_s
            .take()
            .is_some_and(|left_s| (55..=60).contains(&left_s))
    );
    assert_eq!(
        *received,
        PublishProperties {
            message_expiry_s: None,
            ..properties
        }
    );
    assert_eq!(old.take().await.payload, "[]");
    broker.stop().await;
}

#[tokio::test]
async fn what_was_published_before_a_subscription_is_not_delivered() {
    let broker = Broker::start().await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    publisher.publish("a", "before", QoS::AtLeastOnce).await;
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    subscriber.subscribe("a", QoS::AtLeastOnce).await;
    publisher.publish("a", "after", QoS::AtLeastOnce).await;
    assert_eq!(subscriber.take().await.payload, "after");
    broker.stop().await;
}

#[tokio::test]
async fn overlapping_subscriptions_deliver_once_at_the_highest_qos() {
    let broker = Broker::start().await;
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    subscriber.subscribe("a/#", QoS::AtMostOnce).await;
    subscriber.subscribe("a/b", QoS::AtLeastOnce).await;
    subscriber.subscribe("+/b", QoS::AtMostOnce).await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    publisher.publish("a/b", "1", QoS::AtLeastOnce).await;
    publisher.publish("a/c", "2", QoS::AtLeastOnce).await;
    assert_eq!(subscriber.take().await.qos, QoS::AtLeastOnce);
    let second = subscriber.take().await;
    assert_eq!((second.payload, second.qos), (Bytes::from("2"), QoS::AtMostOnce));
    subscriber.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_wants_no_local_does_not_hear_itself() {
    let broker = Broker::start().await;
    let mut client = broker.client(Version::V5, "client").await;
    let filter = SubscribeFilter {
        filter: text("a"),
        qos: QoS::AtLeastOnce,
        no_local: true,
        ..SubscribeFilter::default()
    };
    client.subscribe_to(vec![filter]).await;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        client.publish("a", "own", qos).await;
    }
    let mut other = broker.client(Version::V5, "other").await;
    other.publish("a", "foreign", QoS::AtLeastOnce).await;
    assert_eq!(client.take().await.payload, "foreign");
    broker.stop().await;
}

#[tokio::test]
async fn subscribing_again_changes_the_options_and_unsubscribing_ends_the_messages() {
    let broker = Broker::start().await;
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    subscriber.subscribe("a", QoS::AtLeastOnce).await;
    subscriber.subscribe("a", QoS::AtMostOnce).await;
    publisher.publish("a", "1", QoS::AtLeastOnce).await;
    assert_eq!(subscriber.take().await.qos, QoS::AtMostOnce);
    subscriber.is_quiet().await;
    let unsubscribe = Unsubscribe {
        packet_id: PacketId::MIN,
        filters: vec![text("a"), text("b")],
        properties: Default::default(),
    };
    subscriber.send(&Packet::Unsubscribe(unsubscribe)).await;
    let Packet::UnsubAck(unsuback) = subscriber.receive().await else {
        panic!("expected UNSUBACK");
    };
    assert_eq!(
        unsuback.reasons,
        [ReasonCode::Success, ReasonCode::NoSubscriptionExisted]
    );
    publisher.publish("a", "2", QoS::AtLeastOnce).await;
    subscriber.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_wildcard_does_not_match_topics_of_the_system() {
    let broker = Broker::start().await;
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    subscriber.subscribe("#", QoS::AtLeastOnce).await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    publisher.publish("$own", "1", QoS::AtLeastOnce).await;
    publisher.publish("/a//b", "2", QoS::AtLeastOnce).await;
    assert_eq!(subscriber.take().await.topic, "/a//b");
    broker.stop().await;
}

#[tokio::test]
async fn a_message_carries_the_identifiers_of_all_subscriptions_that_match() {
    let broker = Broker::start().await;
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    for (filter, id) in [("a/#", Some(7)), ("a/b", Some(268_435_455)), ("+/b", None)] {
        let packet = Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            filters: vec![SubscribeFilter {
                filter: text(filter),
                ..SubscribeFilter::default()
            }],
            properties: SubscribeProperties {
                subscription_id: id.and_then(SubscriptionId::new),
                ..SubscribeProperties::default()
            },
        });
        subscriber.send(&packet).await;
        assert!(matches!(subscriber.receive().await, Packet::SubAck(_)));
    }
    let mut publisher = broker.client(Version::V3, "publisher").await;
    for (topic, expected) in [("a/b", vec![7, 268_435_455]), ("a/c", vec![7]), ("b/b", vec![])] {
        publisher.publish(topic, "21.5", QoS::AtLeastOnce).await;
        let properties = subscriber.take().await.properties.unwrap_or_default();
        let ids: Vec<u32> = properties.subscription_ids.iter().map(|id| id.get()).collect();
        assert_eq!(ids, expected, "{topic}");
    }
    // Subscribing again replaces the identifier with what comes now, here none.
    subscriber.subscribe("a/#", QoS::AtMostOnce).await;
    publisher.publish("a/c", "21.5", QoS::AtLeastOnce).await;
    assert!(
        subscriber
            .take()
            .await
            .properties
            .unwrap_or_default()
            .subscription_ids
            .is_empty()
    );
    broker.stop().await;
}

//! From publisher to subscriber: what arrives, once, in order, with everything that was said of it, and within the limits that the
//! subscriber named.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use trunkline_mqtt_wire::{Ack, Connect, Packet, Publish, PublishProperties, QoS, ReasonCode, UserProperty, Version};
use trunkline_testkit::mqtt::{Client, connect_packet, publish_packet};
use trunkline_tests::{Device, World, scenarios};

use crate::wire::{BOTH, filter, log_in_as, publish_with, said, text};

scenarios!(
    a_message_arrives_at_the_lower_qos_of_its_two_ends,
    what_a_publisher_says_of_a_message_arrives_as_it_was_said,
    a_message_that_expires_arrives_with_less_time_or_not_at_all,
    options_of_a_subscription_are_kept,
    wildcards_match_below_the_channel_and_overlaps_deliver_once,
    a_subscriber_is_sent_no_more_than_it_takes,
    a_publisher_that_keeps_to_the_receive_maximum_is_answered_in_order,
    every_puback_is_in_the_store_and_in_order,
    what_http_publishes_reaches_mqtt_subscribers,
);

struct Boiler<'world> {
    world: &'world World,
    topic: String,
    channel: String,
    device: Device,
    plant: trunkline_tests::Domain,
}

async fn boiler(world: &World) -> Boiler<'_> {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    Boiler {
        world,
        topic: plant.topic(&channel),
        channel,
        device,
        plant,
    }
}

impl Boiler<'_> {
    async fn subscriber(&self, version: Version, name: &str, below: &str, qos: QoS) -> Client {
        let mut client = log_in_as(self.world, version, &self.device, name).await;
        let granted = client.subscribe(&format!("{}{below}", self.topic), qos).await;
        assert!(!granted.is_error(), "{granted}");
        client
    }

    async fn publisher(&self, version: Version) -> Client {
        log_in_as(self.world, version, &self.device, "publisher").await
    }
}

async fn a_message_arrives_at_the_lower_qos_of_its_two_ends(world: World) {
    let boiler = boiler(&world).await;
    for subscribing in BOTH {
        for publishing in BOTH {
            let mut publisher = boiler.publisher(publishing).await;
            for granted in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let mut subscriber = boiler.subscriber(subscribing, "subscriber", "", granted).await;
                for published in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                    let payload = format!("{published:?}");
                    let answer = publisher.publish(&boiler.topic, published, payload.clone()).await;
                    assert_eq!(answer, ReasonCode::Success);
                    let message = subscriber.message().await;
                    assert_eq!(said(&message), (boiler.topic.clone(), payload));
                    assert_eq!(message.qos, published.min(granted));
                    assert!(!message.retain && !message.dup);
                }
                assert!(subscriber.settle().await.is_empty());
            }
        }
    }
    world.stop().await;
}

async fn what_a_publisher_says_of_a_message_arrives_as_it_was_said(world: World) {
    let boiler = boiler(&world).await;
    let mut subscriber = boiler.subscriber(Version::V5, "new", "/#", QoS::AtLeastOnce).await;
    let mut old = boiler.subscriber(Version::V3, "old", "/#", QoS::AtLeastOnce).await;
    let mut publisher = boiler.publisher(Version::V5).await;
    let property = |name: &str, value: &str| UserProperty {
        name: text(name),
        value: text(value),
    };
    let properties = PublishProperties {
        payload_is_utf8: Some(true),
        content_type: Some(text("text/plain")),
        response_topic: Some(text("m/plant/c/boiler/answers")),
        correlation_data: Some(Bytes::from_static(b"\x00\xff")),
        user_properties: vec![
            property("b", "1"),
            property("a", "2"),
            property("b", "1"),
            property("", ""),
        ],
        ..PublishProperties::default()
    };
    let publish = publish_with(&boiler.topic, "21.5", properties.clone());
    assert_eq!(publisher.publish_packet(publish).await, ReasonCode::Success);
    let message = subscriber.message().await;
    assert_eq!(message.properties.as_deref(), Some(&properties));
    assert_eq!(said(&old.message().await), said(&message));
    world.stop().await;
}

async fn a_message_that_expires_arrives_with_less_time_or_not_at_all(world: World) {
    let boiler = boiler(&world).await;
    let expiring = |payload: &str, after_s| {
        let properties = PublishProperties {
            message_expiry_s: Some(after_s),
            ..PublishProperties::default()
        };
        publish_with(&boiler.topic, payload, properties)
    };
    let connect = one_at_a_time(&boiler.device);
    let (mut slow, _) = Client::connect(world.addresses.mqtt, Version::V5, connect).await;
    slow.subscribe(&boiler.topic, QoS::AtLeastOnce).await;
    let mut publisher = boiler.publisher(Version::V5).await;
    for publish in [expiring("first", 60), expiring("lapses", 1), expiring("lasts", 60)] {
        assert_eq!(publisher.publish_packet(publish).await, ReasonCode::Success);
    }
    let Packet::Publish(first) = slow.receive().await else {
        panic!("the first message was waited for");
    };
    let left_s = |publish: &Publish| {
        publish
            .properties
            .as_ref()
            .and_then(|properties| properties.message_expiry_s)
    };
    assert!(
        left_s(&first).is_some_and(|left_s| (50..=60).contains(&left_s)),
        "{first:?}"
    );
    // The window is full until the first is acknowledged; a third client shows when the second has lapsed.
    let mut witness = boiler.subscriber(Version::V5, "witness", "", QoS::AtLeastOnce).await;
    let published = std::time::Instant::now();
    while published.elapsed() < Duration::from_millis(1_100) {
        publisher
            .publish(&format!("{}/tick", boiler.topic), QoS::AtLeastOnce, "")
            .await;
    }
    assert!(witness.settle().await.is_empty());
    slow.send(&Packet::PubAck(Ack::success(first.packet_id.unwrap()))).await;
    let second = slow.message().await;
    assert_eq!(said(&second).1, "lasts");
    assert!(
        left_s(&second).is_some_and(|left_s| (40..60).contains(&left_s)),
        "{second:?}"
    );
    world.stop().await;
}

/// A CONNECT of a client that takes one unacknowledged message at a time.
fn one_at_a_time(device: &Device) -> Connect {
    let mut connect = connect_packet("slow", &device.id, &device.secret);
    connect.properties.receive_maximum = Some(NonZeroU16::MIN);
    connect
}

async fn options_of_a_subscription_are_kept(world: World) {
    let boiler = boiler(&world).await;
    let mut client = boiler.publisher(Version::V5).await;
    let mut other = log_in_as(&world, Version::V3, &boiler.device, "other").await;
    let mut deaf_to_itself = filter(&boiler.topic);
    deaf_to_itself.no_local = true;
    deaf_to_itself.retain_as_published = true;
    assert_eq!(
        client.subscribe_all(vec![deaf_to_itself]).await,
        [ReasonCode::GrantedQos1]
    );
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        client.publish(&boiler.topic, qos, "own").await;
    }
    other.publish(&boiler.topic, QoS::AtLeastOnce, "another's").await;
    let message = client.message().await;
    assert_eq!((said(&message).1.as_str(), message.retain), ("another's", false));
    // The same filter again replaces the options and makes no second subscription.
    assert_eq!(
        client.subscribe(&boiler.topic, QoS::AtMostOnce).await,
        ReasonCode::GRANTED_QOS0
    );
    client.publish(&boiler.topic, QoS::AtLeastOnce, "own again").await;
    let message = client.message().await;
    assert_eq!((said(&message).1.as_str(), message.qos), ("own again", QoS::AtMostOnce));
    assert_eq!(client.unsubscribe(&boiler.topic).await, [ReasonCode::Success]);
    assert_eq!(
        client.unsubscribe(&boiler.topic).await,
        [ReasonCode::NoSubscriptionExisted]
    );
    assert!(other.unsubscribe("m/never/c/subscribed").await.is_empty());
    other.publish(&boiler.topic, QoS::AtLeastOnce, "too late").await;
    assert!(client.settle().await.is_empty());
    world.stop().await;
}

async fn wildcards_match_below_the_channel_and_overlaps_deliver_once(world: World) {
    let boiler = boiler(&world).await;
    let table = [
        ("/#", vec!["", "/a", "/a/b", "/a/c", "/a/b/c"]),
        ("", vec![""]),
        ("/+", vec!["/a"]),
        ("/a/+", vec!["/a/b", "/a/c"]),
        ("/a/#", vec!["/a", "/a/b", "/a/c", "/a/b/c"]),
        ("/+/b", vec!["/a/b"]),
        ("/a/b", vec!["/a/b"]),
    ];
    for version in BOTH {
        let mut subscribers = Vec::new();
        for (below, _) in &table {
            subscribers.push(boiler.subscriber(version, below, below, QoS::AtLeastOnce).await);
        }
        let mut all = log_in_as(&world, version, &boiler.device, "all").await;
        for (below, _) in &table {
            all.subscribe(&format!("{}{below}", boiler.topic), QoS::AtLeastOnce)
                .await;
        }
        let mut publisher = boiler.publisher(version).await;
        for below in ["", "/a", "/a/b", "/a/c", "/a/b/c"] {
            let topic = format!("{}{below}", boiler.topic);
            publisher.publish(&topic, QoS::AtLeastOnce, below.to_owned()).await;
            assert_eq!(said(&all.message().await), (topic, below.to_owned()));
        }
        assert!(all.settle().await.is_empty(), "overlapping filters deliver once");
        for (subscriber, (below, expected)) in subscribers.iter_mut().zip(&table) {
            for matched in expected {
                let own = (format!("{}{matched}", boiler.topic), (*matched).to_owned());
                assert_eq!(said(&subscriber.message().await), own, "{below}");
            }
            assert!(subscriber.settle().await.is_empty(), "{below}");
        }
    }
    world.stop().await;
}

async fn a_subscriber_is_sent_no_more_than_it_takes(world: World) {
    let boiler = boiler(&world).await;
    let mut connect = one_at_a_time(&boiler.device);
    connect.properties.maximum_packet_bytes = NonZeroU32::new(256);
    let (mut subscriber, _) = Client::connect(world.addresses.mqtt, Version::V5, connect).await;
    subscriber.subscribe(&boiler.topic, QoS::AtLeastOnce).await;
    let mut publisher = boiler.publisher(Version::V5).await;
    let large = "x".repeat(256);
    for payload in ["1", &large, "2", "3"] {
        let answer = publisher
            .publish(&boiler.topic, QoS::AtLeastOnce, payload.to_owned())
            .await;
        assert_eq!(answer, ReasonCode::Success);
    }
    for expected in ["1", "2", "3"] {
        let Packet::Publish(publish) = subscriber.receive().await else {
            panic!("{expected} was waited for");
        };
        assert_eq!(said(&publish).1, expected);
        assert!(
            subscriber.settle().await.is_empty(),
            "more than one message without an acknowledgement"
        );
        subscriber
            .send(&Packet::PubAck(Ack::success(publish.packet_id.unwrap())))
            .await;
    }
    world.stop().await;
}

async fn a_publisher_that_keeps_to_the_receive_maximum_is_answered_in_order(world: World) {
    let boiler = boiler(&world).await;
    let connect = connect_packet("publisher", &boiler.device.id, &boiler.device.secret);
    let (mut publisher, connack) = Client::connect(world.addresses.mqtt, Version::V5, connect).await;
    let window = connack.properties.receive_maximum.unwrap();
    let mut stranger = boiler.plant.topic(&boiler.channel);
    stranger.push_str("//");
    // Packet ids are used again and again, and refusals keep their place among the rest.
    for round in 0..3 {
        for number in 1..=window.get() {
            let topic = if number % 5 == 0 { &stranger } else { &boiler.topic };
            let publish = Publish {
                packet_id: NonZeroU16::new(number),
                ..publish_packet(topic, QoS::AtLeastOnce, format!("{round}-{number}"))
            };
            publisher.send(&Packet::Publish(publish)).await;
        }
        for number in 1..=window.get() {
            let Packet::PubAck(ack) = publisher.receive().await else {
                panic!("the PUBACK of {number} was waited for");
            };
            let expected = if number % 5 == 0 {
                ReasonCode::TopicNameInvalid
            } else {
                ReasonCode::Success
            };
            assert_eq!((ack.packet_id.get(), ack.reason), (number, expected));
        }
    }
    world.stop().await;
}

async fn every_puback_is_in_the_store_and_in_order(world: World) {
    const COUNT: usize = 900;
    let boiler = boiler(&world).await;
    let mut subscriber = boiler.subscriber(Version::V5, "subscriber", "", QoS::AtLeastOnce).await;
    let mut publisher = boiler.publisher(Version::V3).await;
    let publishing = async {
        for first in (0..COUNT).step_by(100) {
            for number in first..first + 100 {
                let publish = Publish {
                    packet_id: NonZeroU16::new(u16::try_from(number + 1).unwrap()),
                    ..publish_packet(&boiler.topic, QoS::AtLeastOnce, format!(r#"{{"n":{number}}}"#))
                };
                publisher.send(&Packet::Publish(publish)).await;
            }
            for number in first..first + 100 {
                let Packet::PubAck(ack) = publisher.receive().await else {
                    panic!("the PUBACK of {number} was waited for");
                };
                assert_eq!(usize::from(ack.packet_id.get()), number + 1);
            }
        }
    };
    let receiving = async {
        for number in 0..COUNT {
            assert_eq!(said(&subscriber.message().await).1, format!(r#"{{"n":{number}}}"#));
        }
    };
    tokio::join!(publishing, receiving);
    let stored = boiler.plant.stored(&boiler.channel, COUNT).await;
    assert_eq!(stored.len(), COUNT);
    for (record, number) in stored.iter().rev().zip(0..) {
        assert_eq!(record["payload"]["n"], number);
    }
    world.stop().await;
}

async fn what_http_publishes_reaches_mqtt_subscribers(world: World) {
    let boiler = boiler(&world).await;
    let mut new = boiler.subscriber(Version::V5, "new", "/#", QoS::AtLeastOnce).await;
    let mut old = boiler.subscriber(Version::V3, "old", "/#", QoS::AtMostOnce).await;
    let http = world
        .anonymous()
        .with_authorization(&format!("Client {}", boiler.device.secret));
    let path = "/m/plant/c/boiler/a/b%20c";
    http.send(Method::POST, path, Some("text/plain"), "by http")
        .await
        .expect(202);
    let message = new.message().await;
    let expected = (format!("{}/a/b c", boiler.topic), "by http".to_owned());
    assert_eq!(said(&message), expected);
    assert_eq!(message.qos, QoS::AtLeastOnce);
    assert_eq!(
        message.properties.and_then(|properties| properties.content_type),
        Some(text("text/plain"))
    );
    let message = old.message().await;
    assert_eq!((said(&message), message.qos), (expected, QoS::AtMostOnce));
    world.stop().await;
}

//! Retained messages: who gets them, how they are marked, when they are gone.

use trunkline_bus::NewEntry;
use trunkline_bus::envelope::id_bytes;
use trunkline_core::MessageId;
use trunkline_mqtt_wire::{PublishProperties, RetainHandling};
use trunkline_proto::messages::v1::Envelope;
use trunkline_testkit::until;

use super::sessions::lasting;
use super::*;

/// Publishes with the retain flag at QoS 1.
async fn retain(client: &mut Client, topic: &str, payload: &str) -> ReasonCode {
    retain_with(client, topic, payload, QoS::AtLeastOnce, PublishProperties::default()).await
}

async fn retain_with(
    client: &mut Client,
    topic: &str,
    payload: &str,
    qos: QoS,
    properties: PublishProperties,
) -> ReasonCode {
    let message = Publish {
        qos,
        retain: true,
        topic: text(topic),
        packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
        properties: (client.version == Version::V5).then(|| Box::new(properties)),
        payload: payload.to_owned().into(),
        ..Publish::default()
    };
    client.send(&Packet::Publish(message)).await;
    if qos == QoS::AtMostOnce {
        return ReasonCode::Success;
    }
    match client.receive().await {
        Packet::PubAck(ack) => ack.reason,
        other => panic!("expected PUBACK, got {other:?}"),
    }
}

fn filter(filter: &str, retain_handling: RetainHandling) -> SubscribeFilter {
    SubscribeFilter {
        filter: text(filter),
        qos: QoS::AtLeastOnce,
        retain_handling,
        ..SubscribeFilter::default()
    }
}

/// Topic, payload and retain flag of the next message.
async fn next(client: &mut Client) -> (String, String, bool) {
    let message = client.take().await;
    let payload = String::from_utf8(message.payload.to_vec()).unwrap();
    (message.topic.to_string(), payload, message.retain)
}

fn said(topic: &str, payload: &str, is_retained: bool) -> (String, String, bool) {
    (topic.to_owned(), payload.to_owned(), is_retained)
}

#[tokio::test]
async fn a_new_subscriber_gets_the_last_retained_message_of_each_topic() {
    let broker = Broker::start().await;
    for publishing in BOTH {
        let mut publisher = broker.client(publishing, "publisher").await;
        for (topic, payload) in [("a/1", "old"), ("a/2", "two"), ("b", "elsewhere"), ("a/1", "one")] {
            assert_eq!(retain(&mut publisher, topic, payload).await, ReasonCode::Success);
        }
        publisher.publish("a/3", "not retained", QoS::AtLeastOnce).await;
        for subscribing in BOTH {
            let mut subscriber = broker.client(subscribing, "subscriber").await;
            subscriber.subscribe("a/+", QoS::ExactlyOnce).await;
            assert_eq!(next(&mut subscriber).await, said("a/1", "one", true));
            assert_eq!(next(&mut subscriber).await, said("a/2", "two", true));
            subscriber.is_quiet().await;
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn the_retain_flag_of_a_live_message_is_kept_where_that_was_asked_for() {
    let broker = Broker::start().await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    for (version, is_kept) in [(Version::V3, false), (Version::V5, false), (Version::V5, true)] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let mut subscriber = broker.client(version, "subscriber").await;
            let asked = SubscribeFilter {
                retain_as_published: is_kept,
                ..filter("a", RetainHandling::Send)
            };
            subscriber.subscribe_to(vec![asked]).await;
            retain_with(&mut publisher, "a", "live", qos, PublishProperties::default()).await;
            assert_eq!(next(&mut subscriber).await, said("a", "live", is_kept));
            subscriber.is_quiet().await;
            retain(&mut publisher, "a", "").await;
            assert_eq!(next(&mut subscriber).await, said("a", "", is_kept));
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_subscribes_after_a_retained_message_of_its_own_is_given_it() {
    let broker = Broker::start().await;
    let mut client = broker.client(Version::V5, "client").await;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        for number in 0..20 {
            let (topic, payload) = (format!("{qos:?}/{number}"), number.to_string());
            let message = Publish {
                qos,
                retain: true,
                topic: text(&topic),
                packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
                payload: payload.clone().into(),
                ..Publish::default()
            };
            client.send(&Packet::Publish(message)).await;
            if qos == QoS::AtLeastOnce {
                assert_eq!(client.receive().await, Packet::PubAck(Ack::success(PacketId::MIN)));
            }
            client.subscribe(&topic, QoS::AtMostOnce).await;
            assert_eq!(next(&mut client).await, said(&topic, &payload, true));
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn an_empty_message_removes_what_was_retained() {
    let broker = Broker::start().await;
    let mut publisher = broker.client(Version::V3, "publisher").await;
    for _ in 0..2 {
        retain(&mut publisher, "a", "21.5").await;
        assert_eq!(retain(&mut publisher, "a", "").await, ReasonCode::Success);
        assert_eq!(retain(&mut publisher, "never/there", "").await, ReasonCode::Success);
        let mut subscriber = broker.client(Version::V5, "subscriber").await;
        subscriber.subscribe("#", QoS::AtLeastOnce).await;
        subscriber.is_quiet().await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn retain_handling_says_when_a_subscription_brings_retained_messages() {
    let broker = Broker::start().await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    retain(&mut publisher, "a", "21.5").await;
    for (handling, is_sent_first, is_sent_again) in [
        (RetainHandling::Send, true, true),
        (RetainHandling::SendIfNew, true, false),
        (RetainHandling::DoNotSend, false, false),
    ] {
        let mut subscriber = broker.client(Version::V5, "subscriber").await;
        for is_sent in [is_sent_first, is_sent_again] {
            subscriber.subscribe_to(vec![filter("a", handling)]).await;
            if is_sent {
                assert_eq!(next(&mut subscriber).await, said("a", "21.5", true));
            }
            subscriber.is_quiet().await;
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_retained_message_lapses_and_says_how_long_it_has_left() {
    let broker = Broker::start().await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    for (topic, message_expiry_s) in [("lapsed", 0), ("lives", 1_000)] {
        let properties = PublishProperties {
            message_expiry_s: Some(message_expiry_s),
            ..PublishProperties::default()
        };
        retain_with(&mut publisher, topic, "21.5", QoS::AtLeastOnce, properties).await;
    }
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    subscriber.subscribe("+", QoS::AtLeastOnce).await;
    let message = subscriber.take().await;
    assert_eq!(message.topic, "lives");
    let left_s = message.properties.unwrap().message_expiry_s.unwrap();
    assert!((1..=1_000).contains(&left_s), "{left_s}");
    subscriber.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn many_retained_messages_come_in_the_order_of_their_topics_and_before_live_ones() {
    const COUNT: usize = 150;
    let broker = Broker::start().await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    for number in 0..COUNT {
        retain(&mut publisher, &format!("a/{number:03}"), "kept").await;
    }
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    subscriber.subscribe("a/#", QoS::AtLeastOnce).await;
    publisher.publish("a/000", "live", QoS::AtLeastOnce).await;
    for number in 0..COUNT {
        assert_eq!(
            next(&mut subscriber).await,
            said(&format!("a/{number:03}"), "kept", true)
        );
    }
    assert_eq!(next(&mut subscriber).await, said("a/000", "live", false));
    broker.stop().await;
}

#[tokio::test]
async fn what_is_too_large_to_be_retained_is_refused_and_published_to_nobody() {
    let settings = Settings {
        payload_bytes_max: 1_000_000,
        ..Settings::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::with(settings, open_bus(&folder).await, folder);
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    subscriber.subscribe("a", QoS::AtLeastOnce).await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    let large = "x".repeat(trunkline_mqtt::limits::RETAINED_BYTES_MAX);
    assert_eq!(retain(&mut publisher, "a", &large).await, ReasonCode::QuotaExceeded);
    subscriber.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_node_that_starts_again_has_what_was_retained_and_what_the_log_says_since() {
    let broker = Broker::start().await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    for topic in ["removed later", "replaced later", "stays"] {
        retain(&mut publisher, topic, "before").await;
    }
    let folder = broker.stop().await;

    // What a node has acknowledged and not applied when it is killed.
    let bus = open_bus(&folder).await;
    for (topic, payload) in [("new", "after"), ("removed later", ""), ("replaced later", "after")] {
        let envelope = Envelope {
            id: id_bytes(MessageId::new().as_bytes()),
            domain_id: id_bytes(&[0; 16]),
            channel_id: id_bytes(&[0; 16]),
            subtopic: topic.to_owned(),
            qos: 1,
            retain: true,
            payload: payload.into(),
            ..Envelope::default()
        };
        let entry = NewEntry::seal(envelope, 1_000).unwrap();
        bus.log.append(entry).await.unwrap().await.unwrap();
    }
    let broker = Broker::on(bus, folder);
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    subscriber.subscribe("#", QoS::AtLeastOnce).await;
    for (topic, payload) in [("new", "after"), ("replaced later", "after"), ("stays", "before")] {
        assert_eq!(next(&mut subscriber).await, said(topic, payload, true));
    }
    subscriber.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_wants_no_local_does_not_get_what_it_retained_itself() {
    let broker = Broker::start().await;
    let mut client = broker.client(Version::V5, "client").await;
    retain(&mut client, "a", "own").await;
    let mut other = broker.client(Version::V5, "other").await;
    retain(&mut other, "b", "another's").await;
    let asked = SubscribeFilter {
        no_local: true,
        ..filter("#", RetainHandling::Send)
    };
    client.subscribe_to(vec![asked]).await;
    assert_eq!(next(&mut client).await, said("b", "another's", true));
    client.is_quiet().await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_amid_retained_publishes_misses_and_repeats_nothing() {
    const COUNT: u32 = 300;
    let broker = Broker::start().await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    retain(&mut publisher, "a", "0").await;
    let publishing = tokio::spawn(async move {
        for number in 1..=COUNT {
            retain(&mut publisher, "a", &number.to_string()).await;
        }
    });
    let mut expected = 0;
    while expected < COUNT {
        let mut subscriber = broker.client(Version::V5, "subscriber").await;
        subscriber.subscribe("a", QoS::AtLeastOnce).await;
        // Where a new value came between, the retained one is left out: it comes as a live message.
        let first: u32 = next(&mut subscriber).await.1.parse().unwrap();
        assert!(first >= expected, "{first} after {expected}");
        expected = first;
        for _ in 0..20_u32.min(COUNT - first) {
            expected += 1;
            assert_eq!(next(&mut subscriber).await.1, expected.to_string());
        }
    }
    publishing.await.unwrap();
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_share_a_bus_agree_on_what_is_retained() {
    let broker = Broker::start().await;
    let other = Adapter::open(deps(&broker.bus, &broker.metrics), Settings::default());
    let (stop, routing) = run(&other);
    let nodes = [&broker.adapter, &other];
    for round in 0..20 {
        let (here, there) = (nodes[round % 2], nodes[(round + 1) % 2]);
        let mut publisher = Client::connected(broker.stream_to(here), Version::V5, connect("publisher")).await;
        let payload = round.to_string();
        retain(&mut publisher, "a", &payload).await;
        let mut subscriber = Client::connected(broker.stream_to(there), Version::V5, connect("subscriber")).await;
        subscriber.subscribe("a", QoS::AtMostOnce).await;
        assert_eq!(next(&mut subscriber).await, said("a", &payload, true));
        retain(&mut publisher, "a", "").await;
        assert_eq!(next(&mut subscriber).await, said("a", "", false));
        subscriber.subscribe("a", QoS::AtMostOnce).await;
        subscriber.is_quiet().await;
    }
    stop.cancel();
    routing.await.unwrap();
    broker.stop().await;
}

#[tokio::test]
async fn what_a_node_that_was_killed_had_taken_is_given_by_one_that_looks_later() {
    let broker = Broker::start().await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    retain(&mut publisher, "a", "applied").await;
    // From here on the log takes messages, and nobody is left who would apply them.
    broker.router.abort();
    until(PATIENCE, async || broker.router.is_finished()).await;
    retain(&mut publisher, "a", "taken").await;

    let other = Adapter::open(deps(&broker.bus, &broker.metrics), Settings::default());
    let (stop, routing) = run(&other);
    let mut subscriber = Client::connected(broker.stream_to(&other), Version::V5, connect("subscriber")).await;
    subscriber.subscribe("#", QoS::AtLeastOnce).await;
    assert_eq!(next(&mut subscriber).await, said("a", "taken", true));
    stop.cancel();
    routing.await.unwrap();
}

#[tokio::test]
async fn retained_messages_that_a_session_was_not_given_are_owed_to_it() {
    const COUNT: u32 = 300;
    for version in BOTH {
        let mut broker = Broker::start().await;
        let mut publisher = broker.client(Version::V5, "publisher").await;
        for number in 0..COUNT {
            let message = Publish {
                qos: QoS::AtLeastOnce,
                retain: true,
                topic: text(&format!("kept/{number:03}")),
                packet_id: Some(PacketId::MIN),
                payload: format!("{number};").into(),
                ..Publish::default()
            };
            publisher.send(&Packet::Publish(message)).await;
            publisher.receive().await;
        }
        let mut asked = lasting(version, "subscriber");
        if version == Version::V5 {
            asked.properties.receive_maximum = std::num::NonZeroU16::new(20);
        }
        let mut client = broker.client_with(version, asked).await;
        client.subscribe("kept/#", QoS::ExactlyOnce).await;
        let mut numbers: Vec<u32> = Vec::new();
        for is_restart in [false, true, false] {
            for _ in 0..50 {
                numbers.push(number_of(&client.take().await));
            }
            client.vanish().await;
            if is_restart {
                broker = Broker::again(broker.stop().await).await;
            }
            (client, _) = broker.back(version, "subscriber").await;
        }
        while numbers.len() < COUNT as usize {
            numbers.push(number_of(&client.take().await));
        }
        client.is_quiet().await;
        assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_domain_that_retains_as_much_as_it_may_refuses_more_until_some_is_removed() {
    use trunkline_mqtt::limits::{RETAINED_BYTES_MAX, RETAINED_DOMAIN_BYTES_MAX};
    /// What a record holds beside the payload, at most.
    const OVERHEAD_BYTES: usize = 1_024;
    const ATTEMPTS_MAX: usize = 1_000;
    let settings = Settings {
        payload_bytes_max: RETAINED_BYTES_MAX,
        ..Settings::default()
    };
    let config = trunkline_bus::embedded::Config {
        payload_bytes_max: RETAINED_BYTES_MAX,
        ..Default::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let bus = EmbeddedBus::open(folder.path(), config, Arc::new(SystemClock)).await;
    let broker = Broker::with(settings, bus.unwrap(), folder);
    let mut publisher = broker.client(Version::V5, "publisher").await;
    let large = "x".repeat(RETAINED_BYTES_MAX - OVERHEAD_BYTES);
    // So many of them fit; with what belongs to each there is room for little more.
    let fitting = RETAINED_DOMAIN_BYTES_MAX / RETAINED_BYTES_MAX;
    for number in 0..fitting {
        assert_eq!(
            retain(&mut publisher, &format!("a/{number}"), &large).await,
            ReasonCode::Success
        );
    }
    let more = retain(&mut publisher, "a/more", &large).await;
    assert_eq!(more, ReasonCode::QuotaExceeded);
    // 3.1.1 has no word for it.
    let mut old = broker.client(Version::V3, "old").await;
    let message = Publish {
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: text("a/more"),
        packet_id: Some(PacketId::MIN),
        payload: large.clone().into(),
        ..Publish::default()
    };
    old.send(&Packet::Publish(message)).await;
    assert_eq!(old.goodbye().await, None);
    assert_eq!(retain(&mut publisher, "a/0", "").await, ReasonCode::Success);
    // It is removed soon after it was acknowledged.
    let mut answer = ReasonCode::QuotaExceeded;
    for _ in 0..ATTEMPTS_MAX {
        answer = retain(&mut publisher, "a/more", &large).await;
        if answer == ReasonCode::Success {
            break;
        }
    }
    assert_eq!(answer, ReasonCode::Success);
    broker.stop().await;
}

//! Sessions that outlive their connections, on one node.

use trunkline_bus::state::Key;
use trunkline_mqtt_wire::{ConnAck, Disconnect, Unsubscribe};

use super::*;

/// A CONNECT that goes on with a session of `name`, which lasts.
pub(super) fn lasting(version: Version, name: &str) -> Connect {
    let mut connect = Connect {
        clean_start: false,
        ..connect(name)
    };
    if version == Version::V5 {
        connect.properties.session_expiry_s = Some(3_600);
    }
    connect
}

/// A client on a stream, with the answer to its CONNECT.
pub(super) async fn open(stream: DuplexStream, version: Version, connect: Connect) -> (Client, ConnAck) {
    let mut client = Client::new(stream, version);
    client.send(&Packet::Connect(Box::new(connect))).await;
    match client.receive().await {
        Packet::ConnAck(connack) => (client, *connack),
        other => panic!("expected CONNACK, got {other:?}"),
    }
}

impl Broker {
    /// A client that goes on with a session of `name`, and whether there was one.
    pub(super) async fn back(&self, version: Version, name: &str) -> (Client, bool) {
        let (client, connack) = open(self.stream(), version, lasting(version, name)).await;
        assert_eq!(connack.reason, ReasonCode::Success);
        (client, connack.session_present)
    }

    /// The sessions that `State` keeps.
    pub(super) async fn kept(&self) -> usize {
        let prefix = Key::durable("mqtt.session");
        self.bus.state.list(&prefix).await.unwrap().len()
    }

    pub(super) async fn publisher(&self) -> Client {
        self.client(Version::V5, "publisher").await
    }
}

impl Client {
    /// Ends the connection without a goodbye, and waits until the node has noticed.
    pub(super) async fn vanish(mut self) {
        self.stream.shutdown().await.unwrap();
        while self.next().await.is_some() {}
    }

    pub(super) async fn leave_with(mut self, expiry_s: Option<u32>) {
        let mut goodbye = Disconnect::default();
        goodbye.properties.session_expiry_s = expiry_s;
        self.send(&Packet::Disconnect(Box::new(goodbye))).await;
        while self.next().await.is_some() {}
    }
}

#[tokio::test]
async fn what_is_published_while_a_client_is_away_waits_for_it() {
    for version in BOTH {
        let broker = Broker::start().await;
        let (mut client, is_present) = broker.back(version, "away").await;
        assert!(!is_present);
        client.subscribe("a/#", QoS::AtLeastOnce).await;
        client.vanish().await;
        let mut publisher = broker.publisher().await;
        publisher.publish("a/b", "0;", QoS::AtLeastOnce).await;
        publisher.publish("a/b", "lost", QoS::AtMostOnce).await;
        publisher.publish("c", "not asked for", QoS::AtLeastOnce).await;
        publisher.publish("a/c", "1;", QoS::ExactlyOnce).await;
        let (mut client, is_present) = broker.back(version, "away").await;
        assert!(is_present);
        for number in 0..2 {
            let message = client.take().await;
            assert_eq!(
                (number_of(&message), message.dup, message.qos),
                (number, false, QoS::AtLeastOnce)
            );
        }
        publisher.publish("a/d", "2;", QoS::AtMostOnce).await;
        assert_eq!(number_of(&client.take().await), 2);
        client.is_quiet().await;
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_long_absence_is_caught_up_with_while_others_publish_without_loss_or_repetition() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.back(Version::V5, "away").await;
    client.subscribe("a/#", QoS::AtLeastOnce).await;
    client.vanish().await;
    let mut publisher = broker.publisher().await;
    publisher.publish_numbers(0..1_500, QoS::AtLeastOnce).await;
    let publishing = tokio::spawn(async move {
        publisher.publish_numbers(1_500..3_000, QoS::AtLeastOnce).await;
    });
    let (mut client, _) = broker.back(Version::V5, "away").await;
    for number in 0..3_000 {
        assert_eq!(number_of(&client.take().await), number);
    }
    publishing.await.unwrap();
    client.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_session_that_ends_with_its_connection_writes_nothing() {
    let broker = Broker::start().await;
    let mut short = connect("short");
    short.clean_start = false;
    for (version, connect) in [
        (Version::V3, connect("old")),
        (Version::V5, connect("new")),
        (Version::V5, short),
    ] {
        let mut client = broker.client_with(version, connect).await;
        client.subscribe("a", QoS::ExactlyOnce).await;
        client.publish("b", "1", QoS::ExactlyOnce).await;
        assert_eq!(broker.kept().await, 0);
        client.vanish().await;
    }
    assert_eq!(broker.kept().await, 0);
    broker.stop().await;
}

#[tokio::test]
async fn a_clean_start_throws_away_what_was_there() {
    for version in BOTH {
        let broker = Broker::start().await;
        let (mut client, _) = broker.back(version, "same").await;
        client.subscribe("a", QoS::AtLeastOnce).await;
        client.vanish().await;
        broker.publisher().await.publish("a", "1", QoS::AtLeastOnce).await;
        assert_eq!(broker.kept().await, 1);
        broker.client(version, "same").await.vanish().await;
        assert_eq!(broker.kept().await, 0);
        let (mut client, is_present) = broker.back(version, "same").await;
        assert!(!is_present);
        client.is_quiet().await;
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_client_may_say_when_it_leaves_how_long_its_session_lasts() {
    let broker = Broker::start().await;
    let (client, _) = broker.back(Version::V5, "ends").await;
    client.leave_with(Some(0)).await;
    assert_eq!(broker.kept().await, 0);
    let (client, _) = broker.back(Version::V5, "lasts").await;
    client.leave_with(None).await;
    assert!(broker.back(Version::V5, "lasts").await.1);
    broker.stop().await;
}

#[tokio::test]
async fn a_session_that_is_gone_on_with_may_end_with_that_connection() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.back(Version::V5, "same").await;
    client.subscribe("a", QoS::AtLeastOnce).await;
    client.vanish().await;
    broker.publisher().await.publish("a", "1;", QoS::AtLeastOnce).await;
    let last = Connect {
        clean_start: false,
        ..connect("same")
    };
    let (mut client, connack) = open(broker.stream(), Version::V5, last).await;
    assert!(connack.session_present);
    assert_eq!(number_of(&client.take().await), 1);
    client.vanish().await;
    assert_eq!(broker.kept().await, 0);
    broker.stop().await;
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_once_more_by_the_same_ids_and_in_the_same_order() {
    for version in BOTH {
        let broker = Broker::start().await;
        let (mut client, _) = broker.back(version, "client").await;
        client.subscribe("a", QoS::AtLeastOnce).await;
        let mut publisher = broker.publisher().await;
        for number in 0..4 {
            publisher.publish("a", format!("{number};"), QoS::AtLeastOnce).await;
        }
        let ids: Vec<_> = {
            let mut ids = Vec::new();
            for _ in 0..4 {
                ids.push(client.message().await.packet_id.unwrap());
            }
            ids
        };
        client.send(&Packet::PubAck(Ack::success(ids[1]))).await;
        client.is_quiet().await;
        client.vanish().await;
        publisher.publish("a", "4;", QoS::AtLeastOnce).await;
        let (mut client, _) = broker.back(version, "client").await;
        for place in [0, 2, 3] {
            let message = client.take().await;
            assert_eq!((message.packet_id, message.dup), (Some(ids[place]), true));
            assert_eq!(number_of(&message), u32::try_from(place).unwrap());
        }
        let message = client.take().await;
        assert_eq!((number_of(&message), message.dup), (4, false));
        client.is_quiet().await;
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_connection_that_takes_a_session_over_goes_on_with_it() {
    for version in BOTH {
        let broker = Broker::start().await;
        let (mut first, _) = broker.back(version, "same").await;
        first.subscribe("a", QoS::AtLeastOnce).await;
        let mut publisher = broker.publisher().await;
        publisher.publish("a", "0;", QoS::AtLeastOnce).await;
        assert_eq!(number_of(&first.take().await), 0);
        publisher.publish("a", "1;", QoS::AtLeastOnce).await;
        assert_eq!(number_of(&first.message().await), 1);
        first.is_quiet().await;
        let (mut second, is_present) = broker.back(version, "same").await;
        assert!(is_present);
        let reason = (version == Version::V5).then_some(ReasonCode::SessionTakenOver);
        assert_eq!(first.goodbye().await, reason);
        let message = second.take().await;
        assert_eq!((number_of(&message), message.dup), (1, true));
        publisher.publish("a", "2;", QoS::AtLeastOnce).await;
        assert_eq!(number_of(&second.take().await), 2);
        second.is_quiet().await;
        broker.stop().await;
    }
}

#[tokio::test]
async fn what_was_unsubscribed_or_published_by_itself_stays_so() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.back(Version::V5, "client").await;
    let own = SubscribeFilter {
        filter: text("own"),
        qos: QoS::AtLeastOnce,
        no_local: true,
        ..SubscribeFilter::default()
    };
    client.subscribe_to(vec![own]).await;
    client.subscribe("gone", QoS::AtLeastOnce).await;
    client.subscribe("stays", QoS::AtLeastOnce).await;
    let unsubscribe = Unsubscribe {
        packet_id: PacketId::MIN,
        filters: vec![text("gone")],
        properties: Default::default(),
    };
    client.send(&Packet::Unsubscribe(unsubscribe)).await;
    assert!(matches!(client.receive().await, Packet::UnsubAck(_)));
    client.publish("own", "its own", QoS::AtLeastOnce).await;
    client.vanish().await;
    let mut publisher = broker.publisher().await;
    for (topic, payload) in [("gone", "0;"), ("stays", "1;"), ("own", "2;")] {
        publisher.publish(topic, payload, QoS::AtLeastOnce).await;
    }
    let (mut client, _) = broker.back(Version::V5, "client").await;
    for number in 1..3 {
        assert_eq!(number_of(&client.take().await), number);
    }
    client.publish("own", "its own", QoS::AtLeastOnce).await;
    client.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn what_was_published_before_a_subscription_is_not_replayed_for_it() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.back(Version::V5, "client").await;
    client.subscribe("a", QoS::AtLeastOnce).await;
    let mut publisher = broker.publisher().await;
    publisher.publish("b", "0;", QoS::AtLeastOnce).await;
    client.subscribe("b", QoS::AtLeastOnce).await;
    client.vanish().await;
    publisher.publish("b", "1;", QoS::AtLeastOnce).await;
    let (mut client, _) = broker.back(Version::V5, "client").await;
    assert_eq!(number_of(&client.take().await), 1);
    client.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_message_that_lapses_while_its_subscriber_is_away_is_not_delivered() {
    let broker = Broker::start().await;
    let (mut client, _) = broker.back(Version::V5, "client").await;
    client.subscribe("a", QoS::AtLeastOnce).await;
    client.vanish().await;
    let mut publisher = broker.publisher().await;
    for (payload, expiry_s) in [("0;", 0), ("1;", 1_000)] {
        let properties = trunkline_mqtt_wire::PublishProperties {
            message_expiry_s: Some(expiry_s),
            ..Default::default()
        };
        let publish = Publish {
            qos: QoS::AtLeastOnce,
            topic: text("a"),
            packet_id: Some(PacketId::MIN),
            payload: payload.into(),
            properties: Some(Box::new(properties)),
            ..Publish::default()
        };
        publisher.send(&Packet::Publish(publish)).await;
        publisher.receive().await;
    }
    let (mut client, _) = broker.back(Version::V5, "client").await;
    assert_eq!(number_of(&client.take().await), 1);
    client.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn sessions_of_one_client_are_limited() {
    let broker = Broker::start().await;
    for number in 0..trunkline_mqtt::limits::SESSIONS_PER_CLIENT_MAX {
        let (client, _) = broker.back(Version::V5, &number.to_string()).await;
        client.leave_with(None).await;
    }
    let (_, connack) = open(broker.stream(), Version::V5, lasting(Version::V5, "one more")).await;
    assert_eq!(connack.reason, ReasonCode::QuotaExceeded);
    let mut other = lasting(Version::V5, "one more");
    other.user_name = Some(text("another client"));
    let (_client, connack) = open(broker.stream(), Version::V5, other).await;
    assert_eq!(connack.reason, ReasonCode::Success);
    broker.stop().await;
}

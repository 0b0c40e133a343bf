//! Publishers that are told that nobody subscribes, where that is certain.

use super::late::Hang;
use super::*;

/// What a message at QoS 1 to `a/b` is answered with, published by a client of MQTT 5.
async fn told(publisher: &mut Client) -> ReasonCode {
    publisher.publish("a/b", "news", QoS::AtLeastOnce).await.unwrap()
}

async fn broker(tells_unheard: bool) -> Broker {
    let folder = tempfile::tempdir().unwrap();
    Broker::with(settings(tells_unheard), open_bus(&folder).await, folder)
}

fn settings(tells_unheard: bool) -> Settings {
    Settings {
        tells_unheard,
        ..Settings::default()
    }
}

#[tokio::test]
async fn a_publisher_is_told_that_nobody_subscribes_while_that_is_so() {
    let broker = broker(true).await;
    let mut publisher = broker.client(Version::V5, "publisher").await;
    assert_eq!(told(&mut publisher).await, ReasonCode::NoMatchingSubscribers);
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    for (filter, expected) in [
        ("a/c", ReasonCode::NoMatchingSubscribers),
        ("+/c", ReasonCode::NoMatchingSubscribers),
        ("a/b", ReasonCode::Success),
        ("a/+", ReasonCode::Success),
        ("$share/group/a/b", ReasonCode::Success),
    ] {
        assert!(!subscriber.subscribe(filter, QoS::AtMostOnce).await.is_error());
        assert_eq!(told(&mut publisher).await, expected, "{filter}");
        if expected == ReasonCode::Success {
            assert_eq!(subscriber.message().await.payload, "news");
        }
        assert_eq!(subscriber.unsubscribe(filter).await, ReasonCode::Success);
    }
    broker.stop().await;
}

#[tokio::test]
async fn nobody_is_told_so_of_a_message_that_is_heard_by_who_subscribed_before_the_log_had_it() {
    let folder = tempfile::tempdir().unwrap();
    let (hang, bus, runtime) = Hang::open_bus(&folder).await;
    let broker = Broker::with(settings(true), bus, folder);
    let mut publisher = broker.client(Version::V5, "publisher").await;
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    hang.begin();
    let message = Publish {
        qos: QoS::AtLeastOnce,
        topic: text("a/b"),
        packet_id: Some(PacketId::MIN),
        ..Publish::default()
    };
    publisher.send(&Packet::Publish(message)).await;
    publisher.is_quiet().await;
    assert!(!subscriber.subscribe("a/b", QoS::AtMostOnce).await.is_error());
    drop(hang);
    assert_eq!(publisher.receive().await, Packet::PubAck(Ack::success(PacketId::MIN)));
    assert_eq!(*subscriber.message().await.topic, *"a/b");
    broker.stop().await;
    runtime.shutdown_background();
}

#[tokio::test]
async fn a_session_that_may_be_away_and_subscribe_is_not_denied() {
    let broker = broker(true).await;
    let mut kept = connect("kept");
    kept.properties.session_expiry_s = Some(60);
    let mut subscriber = broker.client_with(Version::V5, kept).await;
    assert!(!subscriber.subscribe("a/b", QoS::AtLeastOnce).await.is_error());
    drop(subscriber);
    let mut publisher = broker.client(Version::V5, "publisher").await;
    assert_eq!(told(&mut publisher).await, ReasonCode::Success);
    broker.stop().await;
}

#[tokio::test]
async fn only_who_was_asked_to_tells_and_only_mqtt_5_has_a_word_for_it() {
    for (tells_unheard, version) in [(false, Version::V5), (true, Version::V3)] {
        let broker = broker(tells_unheard).await;
        let mut publisher = broker.client(version, "publisher").await;
        assert_eq!(told(&mut publisher).await, ReasonCode::Success);
        // At QoS 2 the standard allows it as well; there nobody is told.
        let at_qos_2 = publisher.publish("a/b", "news", QoS::ExactlyOnce).await;
        assert_eq!(at_qos_2, Some(ReasonCode::Success));
        broker.stop().await;
    }
}

//! Every denial and every expiry is counted, by its cause.

use trunkline_mqtt::limits::{RETAINED_BYTES_MAX, SESSIONS_PER_CLIENT_MAX, SUBSCRIPTIONS_MAX};
use trunkline_mqtt_wire::{PublishProperties, Will};
use trunkline_testkit::until;

use super::*;

impl Broker {
    /// What the counter `name`, with its labels, says now.
    fn count(&self, name: &str) -> u64 {
        let metrics = self.metrics.render();
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("there is no {name}")).parse().unwrap()
    }

    /// What is refused with `cause`: a `connect`, a `publish` or a `subscribe`.
    fn refused(&self, what: &str, cause: &str) -> u64 {
        self.count(&format!("trunkline_mqtt_{what}_refused_total{{cause=\"{cause}\"}}"))
    }

    /// The answer to a CONNECT that is not admitted.
    async fn refusal(&self, connect: Connect) -> ReasonCode {
        let mut client = Client::new(self.stream(), Version::V5);
        client.send(&Packet::Connect(Box::new(connect))).await;
        match client.receive().await {
            Packet::ConnAck(connack) => connack.reason,
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }
}

/// A broker whose clients may neither publish nor subscribe to `denied`.
async fn broker() -> Broker {
    let settings = Settings {
        payload_bytes_max: 2 * RETAINED_BYTES_MAX,
        ..Settings::default()
    };
    let gate = OpenGate::new(vec!["denied".to_owned()]).denying_publish(|topic| topic == "denied");
    let folder = tempfile::tempdir().unwrap();
    let open = |deps| {
        Adapter::open(
            Deps {
                gate: Arc::new(gate),
                ..deps
            },
            settings,
        )
    };
    Broker::of(open, open_bus(&folder).await, folder)
}

/// The CONNECT of a session that lasts for `expiry_s` seconds.
fn lasting(name: &str, expiry_s: u32) -> Connect {
    let mut connect = connect(name);
    connect.properties.session_expiry_s = Some(expiry_s);
    connect
}

#[tokio::test]
async fn a_message_that_is_refused_is_counted_by_its_cause() {
    let broker = broker().await;
    let mut client = broker.client(Version::V5, "client").await;
    let denied = client.publish("denied", "", QoS::AtLeastOnce).await;
    assert_eq!(denied, Some(ReasonCode::NotAuthorized));
    client.publish("denied", "", QoS::AtMostOnce).await;
    let no_text = Publish {
        qos: QoS::AtLeastOnce,
        topic: text("a"),
        packet_id: Some(PacketId::MIN),
        payload: vec![0xFF].into(),
        properties: Some(Box::new(PublishProperties {
            payload_is_utf8: Some(true),
            ..PublishProperties::default()
        })),
        ..Publish::default()
    };
    let too_much = Publish {
        retain: true,
        payload: vec![0; RETAINED_BYTES_MAX + 1].into(),
        properties: None,
        ..no_text.clone()
    };
    for (message, expected) in [
        (no_text, ReasonCode::PayloadFormatInvalid),
        (too_much, ReasonCode::QuotaExceeded),
    ] {
        client.send(&Packet::Publish(message)).await;
        assert!(matches!(client.receive().await, Packet::PubAck(ack) if ack.reason == expected));
    }
    for (cause, count) in [
        ("not_authorized", 2),
        ("invalid_payload", 1),
        ("domain_full", 1),
        ("log_full", 0),
    ] {
        assert_eq!(broker.refused("publish", cause), count, "{cause}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_filter_that_is_refused_is_counted_by_its_cause() {
    let broker = broker().await;
    let mut client = broker.client(Version::V5, "client").await;
    for filter in ["denied", "denied"] {
        assert_eq!(
            client.subscribe(filter, QoS::AtMostOnce).await,
            ReasonCode::NotAuthorized
        );
    }
    for number in 0..=SUBSCRIPTIONS_MAX {
        let answer = client.subscribe(&format!("a/{number}"), QoS::AtMostOnce).await;
        assert_eq!(answer.is_error(), number == SUBSCRIPTIONS_MAX);
    }
    for (cause, count) in [("not_authorized", 2), ("too_many", 1), ("unavailable", 0)] {
        assert_eq!(broker.refused("subscribe", cause), count, "{cause}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_connect_that_is_refused_is_counted_by_its_cause() {
    let broker = broker().await;
    let mut with_will = connect("mortal");
    with_will.will = Some(Will {
        topic: text("denied"),
        ..Will::default()
    });
    assert_eq!(broker.refusal(with_will).await, ReasonCode::NotAuthorized);
    for number in 0..SESSIONS_PER_CLIENT_MAX {
        broker
            .client_with(Version::V5, lasting(&format!("{number}"), 100))
            .await;
    }
    assert_eq!(
        broker.refusal(lasting("one more", 100)).await,
        ReasonCode::QuotaExceeded
    );
    for (cause, count) in [("will", 1), ("too_many", 1), ("bad_credentials", 0)] {
        assert_eq!(broker.refused("connect", cause), count, "{cause}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn sessions_and_retained_messages_whose_time_is_over_are_counted() {
    let broker = broker().await;
    drop(broker.client_with(Version::V5, lasting("short-lived", 1)).await);
    let mut client = broker.client(Version::V5, "client").await;
    let message = Publish {
        qos: QoS::AtLeastOnce,
        retain: true,
        topic: text("a"),
        packet_id: Some(PacketId::MIN),
        payload: "news".into(),
        properties: Some(Box::new(PublishProperties {
            message_expiry_s: Some(1),
            ..PublishProperties::default()
        })),
        ..Publish::default()
    };
    client.send(&Packet::Publish(message)).await;
    assert!(matches!(client.receive().await, Packet::PubAck(_)));
    for what in ["sessions", "retained"] {
        let name = format!("trunkline_mqtt_{what}_expired_total");
        until(PATIENCE, async || broker.count(&name) == 1).await;
    }
    broker.stop().await;
}

//! Wills: when they are published, as what, and when not.

use trunkline_mqtt_wire::{Disconnect, PublishProperties, UserProperty, Will, WillProperties};

use super::*;

fn will(topic: &str) -> Will {
    Will {
        qos: QoS::AtLeastOnce,
        topic: text(topic),
        payload: Bytes::from_static(b"gone"),
        ..Will::default()
    }
}

fn with_will(will: Will) -> Connect {
    Connect {
        will: Some(will),
        ..connect("mortal")
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Goodbye,
    GoodbyeWithWill,
    Break,
    Nonsense,
    Takeover,
}

async fn end(broker: &Broker, mut client: Client, end: End) {
    let mut goodbye = Disconnect::default();
    match end {
        End::Break => drop(client),
        End::Goodbye => client.send(&Packet::Disconnect(Box::new(goodbye))).await,
        End::GoodbyeWithWill => {
            goodbye.reason = ReasonCode::DisconnectWithWill;
            client.send(&Packet::Disconnect(Box::new(goodbye))).await;
        }
        End::Nonsense => client.send(&Packet::Connect(Box::new(connect("mortal")))).await,
        End::Takeover => drop(broker.client(Version::V5, "mortal").await),
    }
}

#[tokio::test]
async fn a_will_is_published_by_every_end_but_a_goodbye() {
    let broker = Broker::start().await;
    let mut heir = broker.client(Version::V5, "heir").await;
    heir.subscribe("will", QoS::ExactlyOnce).await;
    for version in BOTH {
        for how in [End::Break, End::Nonsense, End::Takeover, End::GoodbyeWithWill] {
            if version == Version::V3 && how == End::GoodbyeWithWill {
                continue;
            }
            let mortal = broker.client_with(version, with_will(will("will"))).await;
            end(&broker, mortal, how).await;
            let message = heir.take().await;
            assert_eq!(
                (&message.payload[..], message.qos),
                (&b"gone"[..], QoS::AtLeastOnce),
                "{how:?}"
            );
        }
        let mortal = broker.client_with(version, with_will(will("will"))).await;
        end(&broker, mortal, End::Goodbye).await;
    }
    // A will that came after a goodbye would come before this.
    let mut publisher = broker.client(Version::V5, "publisher").await;
    publisher.publish("will", "alive", QoS::AtLeastOnce).await;
    assert_eq!(&heir.take().await.payload[..], b"alive");
    heir.is_quiet().await;
    broker.stop().await;
}

#[tokio::test]
async fn a_will_says_all_that_its_client_said_of_it() {
    let broker = Broker::start().await;
    let mut heir = broker.client(Version::V5, "heir").await;
    heir.subscribe("will", QoS::ExactlyOnce).await;
    let user_properties = vec![UserProperty {
        name: text("n"),
        value: text("v"),
    }];
    let given = Will {
        qos: QoS::ExactlyOnce,
        properties: WillProperties {
            payload_is_utf8: Some(true),
            content_type: Some(text("text/plain")),
            response_topic: Some(text("answers")),
            correlation_data: Some(Bytes::from_static(b"7")),
            user_properties: user_properties.clone(),
            ..WillProperties::default()
        },
        ..will("will")
    };
    drop(broker.client_with(Version::V5, with_will(given)).await);
    let message = heir.take().await;
    let expected = PublishProperties {
        payload_is_utf8: Some(true),
        content_type: Some(text("text/plain")),
        response_topic: Some(text("answers")),
        correlation_data: Some(Bytes::from_static(b"7")),
        user_properties,
        ..PublishProperties::default()
    };
    assert_eq!(message.qos, QoS::ExactlyOnce);
    assert_eq!(message.properties.as_deref(), Some(&expected));
    broker.stop().await;
}

#[tokio::test]
async fn a_will_may_be_retained_and_its_expiry_counts_from_when_it_is_published() {
    let broker = Broker::start().await;
    let mut witness = broker.client(Version::V5, "witness").await;
    witness.subscribe("will", QoS::AtLeastOnce).await;
    let mut given = Will {
        retain: true,
        ..will("will")
    };
    given.properties.message_expiry_s = Some(1_000);
    drop(broker.client_with(Version::V5, with_will(given)).await);
    let message = witness.take().await;
    assert_eq!(message.properties.unwrap().message_expiry_s, Some(1_000));
    let mut heir = broker.client(Version::V5, "heir").await;
    heir.subscribe("will", QoS::AtLeastOnce).await;
    let message = heir.take().await;
    assert!(message.retain);
    broker.stop().await;
}

#[tokio::test]
async fn a_node_that_drains_publishes_the_wills_of_those_it_sends_away() {
    let broker = Broker::start().await;
    let _mortal = broker
        .client_with(
            Version::V5,
            with_will(Will {
                retain: true,
                ..will("will")
            }),
        )
        .await;
    let folder = broker.stop().await;
    let broker = Broker::on(open_bus(&folder).await, folder);
    let mut heir = broker.client(Version::V5, "heir").await;
    heir.subscribe("will", QoS::AtLeastOnce).await;
    assert_eq!(&heir.take().await.payload[..], b"gone");
    broker.stop().await;
}

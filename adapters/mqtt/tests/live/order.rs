//! The order of a message's properties: its publisher's, whatever way the message takes.

use trunkline_bus::NewEntry;
use trunkline_bus::envelope::id_bytes;
use trunkline_core::MessageId;
use trunkline_mqtt_wire::{PropertyOrder, PublishProperties, UserProperty, Will, WillProperties};
use trunkline_proto::messages::v1::Envelope;

use super::*;

/// Correlation data, a user property, payload format, response topic, a user property, content type, a user property.
const UNUSUAL: [u8; 12] = [0x09, 0, 0, 0x01, 0, 1, 0x08, 0, 1, 0x03, 0, 2];

fn order(bytes: &[u8]) -> PropertyOrder {
    PropertyOrder::from_bytes(bytes).unwrap()
}

fn users() -> Vec<UserProperty> {
    let user = |name: &str| UserProperty {
        name: text(name),
        value: text("v"),
    };
    ["b", "a", "b"].map(user).into()
}

fn unusual() -> PublishProperties {
    PublishProperties {
        payload_is_utf8: Some(true),
        content_type: Some(text("text/plain")),
        response_topic: Some(text("answers")),
        correlation_data: Some(Bytes::from_static(b"7")),
        user_properties: users(),
        order: order(&UNUSUAL),
        ..PublishProperties::default()
    }
}

fn message(properties: PublishProperties) -> Publish {
    Publish {
        qos: QoS::AtLeastOnce,
        topic: text("a"),
        packet_id: Some(PacketId::MIN),
        properties: Some(Box::new(properties)),
        payload: "now".into(),
        ..Publish::default()
    }
}

async fn publish(broker: &Broker, message: Publish) {
    let mut publisher = broker.client(Version::V5, "publisher").await;
    publisher.send(&Packet::Publish(message)).await;
    assert!(matches!(publisher.receive().await, Packet::PubAck(ack) if !ack.reason.is_error()));
}

async fn taken(client: &mut Client) -> PublishProperties {
    *client.take().await.properties.unwrap()
}

#[tokio::test]
async fn properties_arrive_in_their_publishers_order_at_once_later_and_by_a_group() {
    let broker = Broker::start().await;
    let (mut lasting, _) = broker.back(Version::V5, "lasting").await;
    lasting.subscribe("a", QoS::AtLeastOnce).await;
    lasting.vanish().await;
    let mut present = broker.client(Version::V5, "present").await;
    present.subscribe("a", QoS::AtLeastOnce).await;
    let mut member = broker.client(Version::V5, "member").await;
    member.subscribe("$share/group/a", QoS::AtLeastOnce).await;

    let retained = Publish {
        retain: true,
        ..message(unusual())
    };
    publish(&broker, retained).await;
    assert_eq!(taken(&mut present).await, unusual());
    assert_eq!(taken(&mut member).await, unusual());
    let (mut lasting, _) = broker.back(Version::V5, "lasting").await;
    assert_eq!(taken(&mut lasting).await, unusual());
    let mut late = broker.client(Version::V5, "late").await;
    late.subscribe("a", QoS::AtLeastOnce).await;
    assert_eq!(taken(&mut late).await, unusual());
    broker.stop().await;
}

#[tokio::test]
async fn a_will_is_published_with_its_properties_in_its_clients_order() {
    let broker = Broker::start().await;
    let mut heir = broker.client(Version::V5, "heir").await;
    heir.subscribe("will", QoS::AtLeastOnce).await;
    let given = unusual();
    let will = Will {
        topic: text("will"),
        properties: WillProperties {
            will_delay_s: Some(0),
            payload_is_utf8: given.payload_is_utf8,
            content_type: given.content_type,
            response_topic: given.response_topic,
            correlation_data: given.correlation_data,
            user_properties: given.user_properties,
            order: given.order,
            ..WillProperties::default()
        },
        ..Will::default()
    };
    let mortal = Connect {
        will: Some(will),
        ..connect("mortal")
    };
    drop(broker.client_with(Version::V5, mortal).await);
    assert_eq!(taken(&mut heir).await, unusual());
    broker.stop().await;
}

#[tokio::test]
async fn what_a_publisher_gave_arrives_even_if_it_is_empty() {
    let broker = Broker::start().await;
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    subscriber.subscribe("a", QoS::AtMostOnce).await;
    let given = PublishProperties {
        payload_is_utf8: Some(false),
        content_type: Some(text("")),
        correlation_data: Some(Bytes::new()),
        user_properties: users(),
        ..PublishProperties::default()
    };
    publish(&broker, message(given.clone())).await;
    assert_eq!(taken(&mut subscriber).await, given);
    broker.stop().await;
}

#[tokio::test]
async fn an_order_that_was_kept_wrongly_costs_no_property() {
    let broker = Broker::start().await;
    let mut subscriber = broker.client(Version::V5, "subscriber").await;
    subscriber.subscribe("a", QoS::AtMostOnce).await;
    let kept: [(&'static [u8], &[u8]); 4] = [
        // No order at all, and one that names something twice: the usual order.
        (b"\x09", b""),
        (&[0x09, 0, 0, 0x09, 0, 1], b""),
        // More user properties than there are, and no place for others: they come last.
        (&[0x03, 0, 9], &[0x03, 0, 3, 0x01, 0, 3, 0x08, 0, 3, 0x09, 0, 3]),
        (&[0x09, 0, 2], &[0x09, 0, 2, 0x01, 0, 3, 0x08, 0, 3, 0x03, 0, 3]),
    ];
    for (property_order, expected) in kept {
        let given = unusual();
        let user = |property: UserProperty| trunkline_proto::messages::v1::UserProperty {
            name: property.name.to_string(),
            value: property.value.to_string(),
        };
        let envelope = Envelope {
            id: id_bytes(MessageId::new().as_bytes()),
            domain_id: id_bytes(&[0; 16]),
            channel_id: id_bytes(&[0; 16]),
            subtopic: "a".to_owned(),
            qos: 1,
            payload_is_text: true,
            content_type: "text/plain".to_owned(),
            response_topic: "answers".to_owned(),
            correlation_data: "7".into(),
            user_properties: users().into_iter().map(user).collect(),
            property_order: Bytes::from_static(property_order),
            ..Envelope::default()
        };
        let entry = NewEntry::seal(envelope, 1_000).unwrap();
        broker.bus.log.append(entry).await.unwrap().await.unwrap();
        let expected = PublishProperties {
            order: order(expected),
            ..given
        };
        assert_eq!(taken(&mut subscriber).await, expected, "{property_order:02x?}");
    }
    broker.stop().await;
}

//! What travels with a message leaves in the order in which its publisher gave it, whatever that was, and nothing is lost over it.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::{BufMut as _, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;
use support::{connect, decoder, encoded, text};
use trunkline_mqtt_wire::*;

/// One property as it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Property(PropertyId, Vec<u8>);

fn binary(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn user_property(name: &str) -> Property {
    Property(
        PropertyId::UserProperty,
        [binary(name.as_bytes()), binary(b"v")].concat(),
    )
}

/// Some of what may travel with a message, in any order; empty values count.
fn any_travelling() -> impl Strategy<Value = Vec<Property>> {
    let single = vec![
        Property(PropertyId::PayloadFormatIndicator, vec![0]),
        Property(PropertyId::ResponseTopic, binary(b"answer")),
        Property(PropertyId::CorrelationData, binary(b"")),
        Property(PropertyId::ContentType, binary(b"text/plain")),
    ];
    let users = vec("[a-c]{1,2}".prop_map(|name| user_property(&name)), 0..6);
    (subsequence(single, 0..=4), users)
        .prop_map(|(single, users)| [single, users].concat())
        .prop_shuffle()
}

fn wire(properties: &[Property]) -> Vec<u8> {
    let one = |Property(id, value): &Property| [&[*id as u8], &value[..]].concat();
    properties.iter().flat_map(one).collect()
}

/// A PUBLISH to `t` at QoS 0 without payload, with this block of properties.
fn publish_of(block: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_slice(&[0x30, u8::try_from(block.len() + 4).unwrap(), 0, 1, b't']);
    bytes.put_u8(u8::try_from(block.len()).unwrap());
    bytes.put_slice(block);
    bytes
}

fn read_publish(bytes: &[u8]) -> Publish {
    match decoder(Role::Client, Version::V5)
        .decode(&mut bytes.into())
        .unwrap()
        .unwrap()
    {
        Packet::Publish(publish) => publish,
        other => panic!("{other:?}"),
    }
}

fn properties_of(block: &[u8]) -> PublishProperties {
    read_publish(&publish_of(block))
        .properties
        .map_or_else(Default::default, |properties| *properties)
}

/// The packet that one of many subscribers gets.
fn outgoing(properties: &PublishProperties) -> BytesMut {
    let shared = SharedProperties::of(properties).unwrap();
    let outgoing = Outgoing {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "t",
        packet_id: None,
        message_expiry_s: properties.message_expiry_s,
        topic_alias: properties.topic_alias,
        subscription_ids: &properties.subscription_ids,
        shared: &shared,
        payload: b"",
    };
    let mut bytes = BytesMut::new();
    outgoing.encode(Version::V5, &mut bytes).unwrap();
    bytes
}

proptest! {
    #[test]
    fn a_publish_leaves_in_the_order_in_which_it_came(given in any_travelling(), expiry_at in any::<prop::sample::Index>()) {
        let expiry = Property(PropertyId::MessageExpiryInterval, vec![0, 0, 0, 9]);
        let mut came = given.clone();
        came.insert(expiry_at.index(given.len() + 1), expiry.clone());
        // What belongs to the delivery comes first.
        let expected = publish_of(&wire(&[vec![expiry], given].concat()));

        let publish = read_publish(&publish_of(&wire(&came)));
        let again = encoded(&Packet::Publish(publish.clone()), Version::V5);
        prop_assert_eq!(&again, &expected);
        prop_assert_eq!(&read_publish(&again), &publish);
        prop_assert_eq!(&outgoing(publish.properties.as_ref().unwrap()), &expected);
    }

    #[test]
    fn a_will_leaves_in_the_order_in_which_it_came(given in any_travelling()) {
        let carried = properties_of(&wire(&given));
        let will = Will {
            topic: text("t"),
            properties: WillProperties {
                will_delay_s: Some(3),
                payload_is_utf8: carried.payload_is_utf8,
                content_type: carried.content_type.clone(),
                response_topic: carried.response_topic.clone(),
                correlation_data: carried.correlation_data.clone(),
                user_properties: carried.user_properties.clone(),
                order: carried.order,
                ..WillProperties::default()
            },
            ..Will::default()
        };
        let packet = Packet::Connect(Box::new(Connect { will: Some(will), ..connect("c") }));
        let mut bytes = encoded(&packet, Version::V5);
        let block = [&[PropertyId::WillDelayInterval as u8, 0, 0, 0, 3], &wire(&given)[..]].concat();
        prop_assert!(bytes.windows(block.len()).any(|window| window == block));
        let read = Decoder::server(Limits::default()).decode(&mut bytes).unwrap();
        prop_assert_eq!(read, Some(packet));
    }

    #[test]
    fn the_order_is_read_as_it_was_kept(given in any_travelling()) {
        let properties = properties_of(&wire(&given));
        let kept = PropertyOrder::of(&properties);
        prop_assert_eq!(PropertyOrder::from_bytes(&kept.to_bytes()), Some(kept));
        prop_assert_eq!(outgoing(&PublishProperties { order: kept, ..properties }), publish_of(&wire(&given)));
    }

    #[test]
    fn an_order_that_does_not_fit_loses_and_doubles_nothing(
        given in any_travelling(),
        places in vec((prop::sample::select(vec![0x01_u8, 0x03, 0x08, 0x09]), 0..9_u16), 0..5),
    ) {
        let mut places = places;
        places.sort_by_key(|(_, behind)| *behind);
        let kept: Vec<u8> = places.iter().flat_map(|(id, behind)| [*id, 0, *behind as u8]).collect();
        let properties = PublishProperties {
            order: PropertyOrder::from_bytes(&kept).unwrap_or_default(),
            ..properties_of(&wire(&given))
        };
        let read = read_publish(&outgoing(&properties)).properties.map_or_else(Default::default, |read| *read);
        prop_assert_eq!(PublishProperties { order: properties.order, ..read }, properties);
    }

    #[test]
    fn any_bytes_are_an_order_or_none(bytes in vec(any::<u8>(), 0..16)) {
        if let Some(order) = PropertyOrder::from_bytes(&bytes) {
            prop_assert_eq!(order.to_bytes(), bytes);
        }
    }
}

#[test]
fn the_usual_order_takes_no_room() {
    let usual = [
        Property(PropertyId::PayloadFormatIndicator, vec![1]),
        Property(PropertyId::ResponseTopic, binary(b"answer")),
        Property(PropertyId::CorrelationData, binary(b"1")),
        user_property("a"),
        user_property("b"),
        Property(PropertyId::ContentType, binary(b"text/plain")),
    ];
    for first in 0..usual.len() {
        for last in first..=usual.len() {
            let order = PropertyOrder::of(&properties_of(&wire(&usual[first..last])));
            assert_eq!(order.to_bytes(), Bytes::new(), "{first}..{last}");
        }
    }
}

#[test]
fn an_order_takes_no_more_room_the_more_user_properties_there_are() {
    let content_type = Property(PropertyId::ContentType, binary(b""));
    let users = [user_property("a"), user_property("b"), user_property("c")];
    let all = [&users[..2], &[content_type], &users[2..]].concat();
    assert_eq!(
        &PropertyOrder::of(&properties_of(&wire(&all))).to_bytes()[..],
        [0x03, 0, 2]
    );
}

#[test]
fn what_is_not_an_order_is_refused() {
    for bytes in [
        &[0x01][..],
        &[0x26, 0, 0],
        &[0x02, 0, 0],
        &[0x01, 0, 0, 0x01, 0, 0],
        &[0x01, 0, 2, 0x03, 0, 1],
        &[0x01, 0, 0, 0x03, 0, 0, 0x08, 0, 0, 0x09, 0, 0, 0x0B, 0, 0],
    ] {
        assert_eq!(PropertyOrder::from_bytes(bytes), None, "{bytes:02x?}");
    }
}

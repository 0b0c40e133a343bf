//! Peers that mean harm, against the default limits.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::{Bytes, BytesMut};
use support::{decoder, encoded, id, text};
use trunkline_mqtt_wire::*;

fn refusal(packet: &Packet) -> DecodeError {
    decoder(Role::Server, Version::V5)
        .decode(&mut encoded(packet, Version::V5))
        .unwrap_err()
}

#[test]
fn a_topic_of_65_535_bytes_is_refused() {
    let publish = Publish {
        topic: text(&"t".repeat(65_535)),
        ..support::publish(QoS::AtMostOnce)
    };
    assert_eq!(
        refusal(&Packet::Publish(publish)).reason(),
        ReasonCode::TopicNameInvalid
    );
}

#[test]
fn a_filter_of_10_000_levels_is_refused() {
    let filter = SubscribeFilter {
        filter: text(&"/".repeat(9_999)),
        ..SubscribeFilter::default()
    };
    let subscribe = Subscribe {
        packet_id: id(1),
        filters: vec![filter],
        properties: SubscribeProperties::default(),
    };
    assert_eq!(
        refusal(&Packet::Subscribe(subscribe)).reason(),
        ReasonCode::TopicFilterInvalid
    );
}

#[test]
fn tens_of_thousands_of_user_properties_are_refused() {
    let user_properties = vec![UserProperty::default(); 50_000];
    let properties = Some(Box::new(PublishProperties {
        user_properties,
        ..PublishProperties::default()
    }));
    let publish = Publish {
        properties,
        ..support::publish(QoS::AtMostOnce)
    };
    assert_eq!(
        refusal(&Packet::Publish(publish)),
        DecodeError::TooManyUserProperties(64)
    );
}

#[test]
fn a_hundred_filters_pass_and_one_more_does_not() {
    let unsubscribe = |count| {
        Packet::Unsubscribe(Unsubscribe {
            packet_id: id(1),
            filters: vec![text("a"); count],
            properties: UnsubscribeProperties::default(),
        })
    };
    let mut allowed = encoded(&unsubscribe(100), Version::V5);
    assert!(
        decoder(Role::Server, Version::V5)
            .decode(&mut allowed)
            .unwrap()
            .is_some()
    );
    assert_eq!(refusal(&unsubscribe(101)).reason(), ReasonCode::QuotaExceeded);
}

#[test]
fn a_256_mib_packet_is_refused_by_its_header_in_every_type() {
    for first in [
        0x10, 0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0, 0xF0,
    ] {
        let mut server = match first {
            0x10 => Decoder::server(Limits::default()),
            _ => decoder(Role::Server, Version::V5),
        };
        let mut bytes = BytesMut::from(&[first, 0xFF, 0xFF, 0xFF, 0x7F][..]);
        let error = server.decode(&mut bytes).unwrap_err();
        assert_eq!(error.reason(), ReasonCode::PacketTooLarge, "{first:#x}: {error}");
    }
}

#[test]
fn a_stranger_cannot_make_the_server_wait_for_more_than_a_connect() {
    let will = Will {
        topic: text("t"),
        payload: Bytes::from(vec![0; 40_000]),
        ..Will::default()
    };
    let connect = Connect {
        will: Some(will),
        ..support::connect("c")
    };
    let mut bytes = encoded(&Packet::Connect(Box::new(connect)), Version::V5);
    let error = Decoder::server(Limits::default())
        .decode(&mut bytes.split_to(8))
        .unwrap_err();
    assert_eq!(error.reason(), ReasonCode::PacketTooLarge);
}

/// Each two bytes that look like a length are made to lie, upwards and downwards.
#[test]
fn a_lying_length_is_refused_or_read_as_another_packet() {
    for (role, version, packet) in support::samples() {
        let honest = encoded(&packet, version);
        let length_bytes = 1 + honest[1..].iter().take_while(|byte| **byte & 0x80 != 0).count();
        for at in 1 + length_bytes..honest.len().saturating_sub(1) {
            for lie in [0_u16, 1, 0x7FFF, 0xFFFF] {
                let mut bytes = honest.clone();
                bytes[at..at + 2].copy_from_slice(&lie.to_be_bytes());
                let decoded = support::decoder_for(&packet, role, version).decode(&mut bytes);
                assert_ne!(decoded, Ok(None), "a complete frame is decided at once");
            }
        }
    }
}

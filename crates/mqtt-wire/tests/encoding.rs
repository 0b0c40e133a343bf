//! What cannot be sent is refused and leaves the buffer alone; what an older peer cannot understand is left out.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::{Bytes, BytesMut};
use support::{encoded, id, publish, text};
use trunkline_mqtt_wire::*;

fn refusal(packet: &Packet, version: Version) -> EncodeError {
    let mut buffer = BytesMut::from("before");
    let error = encode(packet, version, &mut buffer).unwrap_err();
    assert_eq!(buffer, "before");
    assert_eq!(encoded_bytes(packet, version), Err(error));
    error
}

fn refused_publish(change: fn(&mut Publish), version: Version) -> EncodeError {
    let mut publish = publish(QoS::AtLeastOnce);
    change(&mut publish);
    refusal(&Packet::Publish(publish), version)
}

#[test]
fn a_publish_that_breaks_a_rule_is_not_sent() {
    let wildcard = refused_publish(|publish| publish.topic = text("a/#"), Version::V5);
    assert!(matches!(
        wildcard,
        EncodeError::Topic {
            cause: TopicError::Wildcard,
            ..
        }
    ));
    assert_eq!(
        refused_publish(|publish| publish.topic = text(""), Version::V5),
        EncodeError::TopicMissing
    );
    assert_eq!(
        refused_publish(|publish| publish.packet_id = None, Version::V3),
        EncodeError::PacketIdMissing
    );
    let with_alias = |publish: &mut Publish| {
        publish.topic = text("");
        publish.properties = Some(Box::new(PublishProperties {
            topic_alias: Some(id(1)),
            ..PublishProperties::default()
        }));
    };
    assert_eq!(refused_publish(with_alias, Version::V3), EncodeError::TopicMissing);
    let long = |publish: &mut Publish| {
        let correlation_data = Some(Bytes::from(vec![0; 65_536]));
        publish.properties = Some(Box::new(PublishProperties {
            correlation_data,
            ..PublishProperties::default()
        }));
    };
    assert_eq!(
        refused_publish(long, Version::V5),
        EncodeError::BinaryTooLong("Correlation Data")
    );
    let response = |publish: &mut Publish| {
        let response_topic = Some(text("+"));
        publish.properties = Some(Box::new(PublishProperties {
            response_topic,
            ..PublishProperties::default()
        }));
    };
    assert!(matches!(
        refused_publish(response, Version::V5),
        EncodeError::Topic { .. }
    ));
    let huge = |publish: &mut Publish| publish.payload = Bytes::from(vec![0; 268_435_456]);
    assert_eq!(refused_publish(huge, Version::V3), EncodeError::PacketTooLarge);
}

#[test]
fn a_qos_0_publish_has_neither_packet_id_nor_dup() {
    let odd = Publish {
        packet_id: Some(id(1)),
        dup: true,
        ..publish(QoS::AtMostOnce)
    };
    let plain = Packet::Publish(publish(QoS::AtMostOnce));
    assert_eq!(
        encoded(&Packet::Publish(odd), Version::V5),
        encoded(&plain, Version::V5)
    );
}

#[test]
fn a_refusal_is_never_turned_into_an_acknowledgement() {
    let ack = Ack::with_reason(id(1), ReasonCode::NotAuthorized);
    for packet in [Packet::PubAck(ack.clone()), Packet::PubRec(ack)] {
        assert_eq!(
            refusal(&packet, Version::V3),
            EncodeError::RefusalInV3(ReasonCode::NotAuthorized)
        );
        assert_eq!(encoded(&packet, Version::V5)[4], 0x87);
    }
}

#[test]
fn a_reason_must_belong_to_its_packet() {
    let connack = ConnAck {
        reason: ReasonCode::GrantedQos1,
        ..ConnAck::default()
    };
    let disconnect = Disconnect {
        reason: ReasonCode::Banned,
        ..Disconnect::default()
    };
    for packet in [
        Packet::PubAck(Ack::with_reason(id(1), ReasonCode::PacketIdentifierNotFound)),
        Packet::PubRel(Ack::with_reason(id(1), ReasonCode::NotAuthorized)),
        Packet::ConnAck(Box::new(connack)),
        Packet::Disconnect(Box::new(disconnect)),
    ] {
        assert!(
            matches!(refusal(&packet, Version::V5), EncodeError::Reason { .. }),
            "{packet:?}"
        );
    }
}

#[test]
fn lists_must_not_be_empty() {
    let subscribe = Subscribe {
        packet_id: id(1),
        filters: vec![],
        properties: SubscribeProperties::default(),
    };
    let unsubscribe = Unsubscribe {
        packet_id: id(1),
        filters: vec![],
        properties: UnsubscribeProperties::default(),
    };
    let suback = SubAck {
        packet_id: id(1),
        reasons: vec![],
        properties: AckProperties::default(),
    };
    assert_eq!(
        refusal(&Packet::Subscribe(subscribe), Version::V3),
        EncodeError::EmptyList
    );
    assert_eq!(
        refusal(&Packet::Unsubscribe(unsubscribe), Version::V5),
        EncodeError::EmptyList
    );
    assert_eq!(
        refusal(&Packet::SubAck(suback.clone()), Version::V5),
        EncodeError::EmptyList
    );
    assert_eq!(
        refusal(&Packet::UnsubAck(suback.clone()), Version::V5),
        EncodeError::EmptyList
    );
    assert_eq!(encoded(&Packet::UnsubAck(suback), Version::V3)[..], [0xB0, 2, 0, 1]);
}

#[test]
fn filters_are_checked_before_they_are_sent() {
    let subscribe = |filter, no_local| {
        let filter = SubscribeFilter {
            filter: text(filter),
            no_local,
            ..SubscribeFilter::default()
        };
        Packet::Subscribe(Subscribe {
            packet_id: id(1),
            filters: vec![filter],
            properties: SubscribeProperties::default(),
        })
    };
    assert!(matches!(
        refusal(&subscribe("a/#/b", false), Version::V3),
        EncodeError::Topic { .. }
    ));
    assert!(matches!(
        refusal(&subscribe("$share/g", false), Version::V5),
        EncodeError::Topic { .. }
    ));
    assert_eq!(
        refusal(&subscribe("$share/g/a", true), Version::V5),
        EncodeError::NoLocalShared
    );
}

#[test]
fn a_connect_or_auth_must_fit_its_version() {
    let password = Some(Secret::from(Bytes::from_static(b"p")));
    let lone = Packet::Connect(Box::new(Connect {
        password,
        ..support::connect("c")
    }));
    assert_eq!(refusal(&lone, Version::V3), EncodeError::ConnectInV3);
    assert!(!encoded(&lone, Version::V5).is_empty());
    let nameless = Packet::Connect(Box::new(Connect {
        clean_start: false,
        ..support::connect("")
    }));
    assert_eq!(refusal(&nameless, Version::V3), EncodeError::ConnectInV3);
    let mut data_alone = support::connect("c");
    data_alone.properties.authentication_data = Some(Secret::default());
    let data_alone = Packet::Connect(Box::new(data_alone));
    assert_eq!(
        refusal(&data_alone, Version::V5),
        EncodeError::AuthenticationMethodMissing
    );
}

#[test]
fn a_connack_of_3_1_1_has_the_nearest_return_code() {
    for (reason, code) in [
        (ReasonCode::Success, 0),
        (ReasonCode::UnsupportedProtocolVersion, 1),
        (ReasonCode::ClientIdentifierNotValid, 2),
        (ReasonCode::ImplementationSpecificError, 3),
        (ReasonCode::ServerBusy, 3),
        (ReasonCode::BadUserNameOrPassword, 4),
        (ReasonCode::NotAuthorized, 5),
        (ReasonCode::Banned, 5),
    ] {
        let connack = ConnAck {
            session_present: true,
            reason,
            ..ConnAck::default()
        };
        let present = u8::from(!reason.is_error());
        assert_eq!(
            encoded(&Packet::ConnAck(Box::new(connack)), Version::V3)[..],
            [0x20, 2, present, code]
        );
    }
}

#[test]
fn maximum_qos_2_is_said_by_absence() {
    let mut connack = ConnAck::default();
    connack.properties.maximum_qos = Some(QoS::ExactlyOnce);
    assert_eq!(
        encoded(&Packet::ConnAck(Box::new(connack)), Version::V5)[..],
        [0x20, 3, 0, 0, 0]
    );
}

#[test]
fn what_3_1_1_does_not_know_is_not_sent_to_it() {
    let goodbye = Disconnect {
        reason: ReasonCode::ServerShuttingDown,
        ..Disconnect::default()
    };
    for packet in [Packet::Disconnect(Box::new(goodbye)), Packet::Auth(Box::default())] {
        assert!(encoded(&packet, Version::V3).is_empty());
    }
    assert_eq!(encoded(&Packet::Disconnect(Box::default()), Version::V3)[..], [0xE0, 0]);
}

#[test]
fn short_forms_are_used_where_they_say_the_same() {
    let ack = |reason| encoded(&Packet::PubAck(Ack::with_reason(id(1), reason)), Version::V5);
    assert_eq!(ack(ReasonCode::Success)[..], [0x40, 2, 0, 1]);
    assert_eq!(ack(ReasonCode::NoMatchingSubscribers)[..], [0x40, 3, 0, 1, 0x10]);
    assert_eq!(encoded(&Packet::Disconnect(Box::default()), Version::V5)[..], [0xE0, 0]);
    assert_eq!(encoded(&Packet::Auth(Box::default()), Version::V5)[..], [0xF0, 0]);
}

#[test]
fn remaining_lengths_grow_by_a_byte_where_the_standard_says() {
    for (payload_bytes, header_bytes) in [
        (124, 2),
        (125, 3),
        (16_380, 3),
        (16_381, 4),
        (2_097_148, 4),
        (2_097_149, 5),
    ] {
        let publish = Publish {
            topic: text("t"),
            payload: Bytes::from(vec![0; payload_bytes]),
            ..publish(QoS::AtMostOnce)
        };
        let packet = encoded(&Packet::Publish(publish), Version::V3);
        assert_eq!(packet.len(), header_bytes + 3 + payload_bytes);
    }
}

#[test]
fn neither_password_nor_authentication_data_is_shown() {
    let (_, _, packet) = support::samples()
        .into_iter()
        .find(|(_, _, packet)| matches!(packet, Packet::Connect(connect) if connect.password.is_some()))
        .unwrap();
    let shown = format!("{packet:?}");
    assert!(shown.contains("Secret(..)") && shown.contains("device-1"));
    assert!(!shown.contains("secret") && !shown.contains("115, 101"));
}

#[test]
fn text_is_checked_when_it_is_made() {
    assert_eq!(Utf8Bytes::try_from("a\0"), Err(TextError::Nul));
    assert_eq!(
        Utf8Bytes::try_from(Bytes::from_static(&[0xFF])),
        Err(TextError::NotUtf8)
    );
    assert_eq!(Utf8Bytes::try_from("a".repeat(65_536)), Err(TextError::TooLong));
    assert_eq!(Utf8Bytes::try_from("a".repeat(65_535)).unwrap().len(), 65_535);
}

#[test]
fn a_reason_code_is_its_value() {
    for value in 0..=u8::MAX {
        if let Some(reason) = ReasonCode::from_u8(value) {
            assert_eq!(reason as u8, value);
            assert_eq!(reason.is_error(), value >= 0x80);
        }
    }
    assert_eq!(ReasonCode::ALL.len(), 43);
    assert_eq!(ReasonCode::QuotaExceeded.to_string(), "quota exceeded (0x97)");
}

/// Written out from table 2-6 of the standard, code by code.
#[test]
fn each_packet_has_the_reasons_of_the_standard() {
    let lists: &[(PacketType, &[u8])] = &[
        (
            PacketType::ConnAck,
            &[
                0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99,
                0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
            ],
        ),
        (
            PacketType::PubAck,
            &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        ),
        (
            PacketType::PubRec,
            &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        ),
        (PacketType::PubRel, &[0x00, 0x92]),
        (PacketType::PubComp, &[0x00, 0x92]),
        (
            PacketType::SubAck,
            &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2],
        ),
        (PacketType::UnsubAck, &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]),
        (
            PacketType::Disconnect,
            &[
                0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95,
                0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
            ],
        ),
        (PacketType::Auth, &[0x00, 0x18, 0x19]),
        (PacketType::Publish, &[]),
        (PacketType::PingReq, &[]),
    ];
    for (packet, codes) in lists {
        let allowed = ReasonCode::ALL.iter().filter(|reason| reason.is_allowed_in(*packet));
        let allowed: Vec<u8> = allowed.map(|reason| *reason as u8).collect();
        assert_eq!(allowed, *codes, "{packet}");
    }
}

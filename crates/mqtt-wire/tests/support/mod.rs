//! Packets and decoders that the tests share.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

pub mod mutation;

use bytes::{Bytes, BytesMut};
use trunkline_mqtt_wire::*;

/// A decoder that is past the CONNECT of this version where it is a server's.
pub fn decoder(role: Role, version: Version) -> Decoder {
    decoder_with(role, version, Limits::default())
}

pub fn decoder_with(role: Role, version: Version, limits: Limits) -> Decoder {
    match role {
        Role::Client => Decoder::client(version, limits),
        Role::Server => {
            let mut decoder = Decoder::server(limits);
            let mut bytes = encoded(&Packet::Connect(Box::new(connect("c"))), version);
            assert!(decoder.decode(&mut bytes).unwrap().is_some());
            decoder
        }
    }
}

/// The decoder that may meet this packet.
pub fn decoder_for(packet: &Packet, role: Role, version: Version) -> Decoder {
    match packet {
        Packet::Connect(_) => Decoder::server(Limits::default()),
        _ => decoder(role, version),
    }
}

pub fn encoded(packet: &Packet, version: Version) -> BytesMut {
    let mut buffer = BytesMut::new();
    let bytes = encode(packet, version, &mut buffer).unwrap();
    assert_eq!(bytes, buffer.len());
    assert_eq!(bytes, encoded_bytes(packet, version).unwrap());
    buffer
}

pub fn text(text: &str) -> Utf8Bytes {
    Utf8Bytes::try_from(text).unwrap()
}

pub fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

pub fn connect(client_id: &str) -> Connect {
    Connect {
        clean_start: true,
        client_id: text(client_id),
        ..Connect::default()
    }
}

pub fn publish(qos: QoS) -> Publish {
    Publish {
        qos,
        topic: text("m/d/c/ch/temp"),
        packet_id: (qos != QoS::AtMostOnce).then(|| id(7)),
        payload: Bytes::from_static(b"21.5"),
        ..Publish::default()
    }
}

fn user_properties() -> Vec<UserProperty> {
    vec![
        UserProperty {
            name: text("site"),
            value: text("north"),
        },
        UserProperty {
            name: text("site"),
            value: text(""),
        },
        UserProperty {
            name: text(""),
            value: text("größe ≥ 1"),
        },
    ]
}

fn ack(packet_id: u16, reason: ReasonCode) -> Ack {
    Ack {
        packet_id: id(packet_id),
        reason,
        properties: AckProperties {
            reason_string: Some(text("why")),
            user_properties: user_properties(),
        },
    }
}

fn full_connect() -> Connect {
    Connect {
        is_3_1: false,
        is_bridge: false,
        clean_start: false,
        keep_alive_s: 60,
        client_id: text("device-1"),
        will: Some(Will {
            qos: QoS::ExactlyOnce,
            retain: true,
            topic: text("m/d/c/ch/gone"),
            payload: Bytes::from_static(b"\x00\xff"),
            properties: WillProperties {
                will_delay_s: Some(5),
                payload_is_utf8: Some(false),
                message_expiry_s: Some(0),
                content_type: Some(text("text/plain")),
                response_topic: Some(text("m/d/c/ch/answer")),
                correlation_data: Some(Bytes::from_static(&[1, 2])),
                user_properties: user_properties(),
                order: PropertyOrder::default(),
            },
        }),
        user_name: Some(text("user")),
        password: Some(Secret::from(Bytes::from_static(b"secret\x00"))),
        properties: ConnectProperties {
            session_expiry_s: Some(u32::MAX),
            receive_maximum: Some(id(65_535)),
            maximum_packet_bytes: std::num::NonZeroU32::new(1000),
            topic_alias_maximum: Some(0),
            request_response_information: Some(true),
            request_problem_information: Some(false),
            user_properties: user_properties(),
            authentication_method: Some(text("SCRAM")),
            authentication_data: Some(Secret::from(Bytes::from_static(b"x"))),
        },
    }
}

fn full_connack() -> ConnAck {
    ConnAck {
        session_present: true,
        reason: ReasonCode::Success,
        properties: ConnAckProperties {
            session_expiry_s: Some(10),
            receive_maximum: Some(id(64)),
            maximum_qos: Some(QoS::AtLeastOnce),
            retain_available: Some(false),
            maximum_packet_bytes: std::num::NonZeroU32::new(1 << 20),
            assigned_client_id: Some(text("given")),
            topic_alias_maximum: Some(9),
            reason_string: Some(text("welcome")),
            user_properties: user_properties(),
            wildcard_subscription_available: Some(true),
            subscription_id_available: Some(false),
            shared_subscription_available: Some(false),
            server_keep_alive_s: Some(30),
            response_information: Some(text("r/")),
            server_reference: Some(text("other:1883")),
            authentication_method: Some(text("SCRAM")),
            authentication_data: Some(Secret::from(Bytes::from_static(b""))),
        },
    }
}

fn full_publish(role: Role) -> Publish {
    Publish {
        dup: true,
        retain: true,
        properties: Some(Box::new(PublishProperties {
            payload_is_utf8: Some(true),
            message_expiry_s: Some(0),
            topic_alias: Some(id(3)),
            response_topic: Some(text("answer")),
            correlation_data: Some(Bytes::new()),
            user_properties: user_properties(),
            subscription_ids: match role {
                Role::Server => Vec::new(),
                Role::Client => [1, 128, SubscriptionId::MAX]
                    .map(|value| SubscriptionId::new(value).unwrap())
                    .to_vec(),
            },
            content_type: Some(text("application/senml+json")),
            order: PropertyOrder::default(),
        })),
        ..publish(QoS::ExactlyOnce)
    }
}

fn full_subscribe() -> Subscribe {
    let filter = |filter, qos, no_local, retain_handling| SubscribeFilter {
        filter: text(filter),
        qos,
        no_local,
        retain_as_published: !no_local,
        retain_handling,
    };
    Subscribe {
        packet_id: id(1),
        filters: vec![
            filter("#", QoS::AtMostOnce, true, RetainHandling::Send),
            filter("a/+/b/#", QoS::AtLeastOnce, false, RetainHandling::SendIfNew),
            filter("$share/group/a/+", QoS::ExactlyOnce, false, RetainHandling::DoNotSend),
        ],
        properties: SubscribeProperties {
            subscription_id: SubscriptionId::new(16_384),
            user_properties: user_properties(),
        },
    }
}

/// Every packet that this role may decode at MQTT 5, bare and with all that it can hold.
pub fn samples_v5(role: Role) -> Vec<Packet> {
    let disconnect = Disconnect {
        reason: ReasonCode::ServerShuttingDown,
        properties: DisconnectProperties {
            session_expiry_s: (role == Role::Server).then_some(7),
            reason_string: Some(text("maintenance")),
            user_properties: user_properties(),
            server_reference: Some(text("other")),
        },
    };
    let auth = Auth {
        reason: ReasonCode::ContinueAuthentication,
        properties: AuthProperties {
            authentication_method: Some(text("SCRAM")),
            authentication_data: Some(Secret::from(Bytes::from_static(b"more"))),
            reason_string: Some(text("go on")),
            user_properties: user_properties(),
        },
    };
    let mut packets = bare(role);
    packets.extend([
        Packet::Publish(full_publish(role)),
        Packet::PubAck(ack(1, ReasonCode::NoMatchingSubscribers)),
        Packet::PubRec(ack(2, ReasonCode::QuotaExceeded)),
        Packet::PubRel(Ack::with_reason(id(3), ReasonCode::PacketIdentifierNotFound)),
        Packet::PubComp(ack(4, ReasonCode::Success)),
        Packet::Disconnect(Box::new(disconnect)),
        Packet::Disconnect(Box::default()),
        Packet::Auth(Box::new(auth)),
        Packet::Auth(Box::default()),
    ]);
    let answer = |reasons: &[ReasonCode]| SubAck {
        packet_id: id(1),
        reasons: reasons.to_vec(),
        properties: AckProperties {
            reason_string: Some(text("so")),
            user_properties: user_properties(),
        },
    };
    match role {
        Role::Server => packets.extend([
            Packet::Connect(Box::new(full_connect())),
            Packet::Subscribe(full_subscribe()),
            Packet::Unsubscribe(Unsubscribe {
                packet_id: id(9),
                filters: vec![text("a"), text("$share/g/b/#")],
                properties: UnsubscribeProperties {
                    user_properties: user_properties(),
                },
            }),
        ]),
        Role::Client => packets.extend([
            Packet::ConnAck(Box::new(full_connack())),
            Packet::SubAck(answer(&[
                ReasonCode::Success,
                ReasonCode::GrantedQos2,
                ReasonCode::NotAuthorized,
            ])),
            Packet::UnsubAck(answer(&[ReasonCode::NoSubscriptionExisted, ReasonCode::Success])),
        ]),
    }
    packets
}

/// Every packet that this role may decode at 3.1.1.
pub fn samples_v3(role: Role) -> Vec<Packet> {
    let mut packets = bare(role);
    match role {
        Role::Server => {
            let mut connect = full_connect();
            connect.properties = ConnectProperties::default();
            connect.will.as_mut().unwrap().properties = WillProperties::default();
            packets.extend([Packet::Connect(Box::new(connect)), Packet::Disconnect(Box::default())]);
        }
        Role::Client => packets.extend([
            Packet::ConnAck(Box::new(ConnAck {
                reason: ReasonCode::NotAuthorized,
                ..ConnAck::default()
            })),
            Packet::UnsubAck(SubAck {
                packet_id: id(1),
                reasons: vec![],
                properties: AckProperties::default(),
            }),
        ]),
    }
    packets
}

/// Every sample with the side that decodes it.
pub fn samples() -> Vec<(Role, Version, Packet)> {
    let mut all = Vec::new();
    for role in [Role::Server, Role::Client] {
        all.extend(samples_v3(role).into_iter().map(|packet| (role, Version::V3, packet)));
        all.extend(samples_v5(role).into_iter().map(|packet| (role, Version::V5, packet)));
    }
    all
}

/// What both versions have, without properties.
fn bare(role: Role) -> Vec<Packet> {
    let mut packets = vec![
        Packet::Publish(publish(QoS::AtMostOnce)),
        Packet::Publish(Publish {
            retain: true,
            payload: Bytes::new(),
            ..publish(QoS::AtLeastOnce)
        }),
        Packet::Publish(Publish {
            dup: true,
            ..publish(QoS::ExactlyOnce)
        }),
        Packet::PubAck(Ack::success(id(1))),
        Packet::PubRec(Ack::success(id(256))),
        Packet::PubRel(Ack::success(id(65_535))),
        Packet::PubComp(Ack::success(id(2))),
    ];
    match role {
        Role::Server => {
            let filter = SubscribeFilter {
                filter: text("a/+"),
                qos: QoS::AtLeastOnce,
                ..SubscribeFilter::default()
            };
            packets.extend([
                Packet::Connect(Box::new(connect("c"))),
                Packet::Subscribe(Subscribe {
                    packet_id: id(1),
                    filters: vec![filter],
                    properties: SubscribeProperties::default(),
                }),
                Packet::Unsubscribe(Unsubscribe {
                    packet_id: id(2),
                    filters: vec![text("#")],
                    properties: UnsubscribeProperties::default(),
                }),
                Packet::PingReq,
            ]);
        }
        Role::Client => packets.extend([
            Packet::ConnAck(Box::new(ConnAck {
                session_present: true,
                ..ConnAck::default()
            })),
            Packet::SubAck(SubAck {
                packet_id: id(1),
                reasons: vec![ReasonCode::GrantedQos1, ReasonCode::UnspecifiedError],
                properties: AckProperties::default(),
            }),
            Packet::PingResp,
        ]),
    }
    packets
}

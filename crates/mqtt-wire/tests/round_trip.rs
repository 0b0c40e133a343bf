//! Any packet that can be encoded decodes to itself.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use support::{decoder, encoded, text};
use trunkline_mqtt_wire::*;

fn any_text() -> impl Strategy<Value = Utf8Bytes> {
    "[^\0]{0,12}".prop_map(|any| text(&any))
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn any_secret() -> impl Strategy<Value = Secret> {
    any_bytes().prop_map(Secret::from)
}

fn any_name() -> impl Strategy<Value = Utf8Bytes> {
    "[^\0+#]{1,12}".prop_map(|any| text(&any))
}

fn any_filter() -> impl Strategy<Value = Utf8Bytes> {
    ("([^\0+#/$]{1,4}|\\+)(/([^\0+#/]{0,4}|\\+)){0,3}(/#)?").prop_map(|any| text(&any))
}

fn any_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(support::id)
}

fn any_qos() -> impl Strategy<Value = QoS> {
    (0..3_u8).prop_map(|value| QoS::from_u8(value).unwrap())
}

fn any_subscription_id() -> impl Strategy<Value = SubscriptionId> {
    prop_oneof![1..200_u32, 1..=SubscriptionId::MAX].prop_map(|value| SubscriptionId::new(value).unwrap())
}

fn any_reason(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    let listed: Vec<_> = ReasonCode::ALL
        .iter()
        .copied()
        .filter(|reason| reason.is_allowed_in(packet))
        .collect();
    prop::sample::select(listed)
}

fn any_user_properties() -> impl Strategy<Value = Vec<UserProperty>> {
    vec(
        (any_text(), any_text()).prop_map(|(name, value)| UserProperty { name, value }),
        0..4,
    )
}

prop_compose! {
    fn any_ack_properties()(reason_string in option::of(any_text()), user_properties in any_user_properties()) -> AckProperties {
        AckProperties { reason_string, user_properties }
    }
}

/// Method and data of an authentication: never data alone.
fn any_authentication() -> impl Strategy<Value = (Option<Utf8Bytes>, Option<Secret>)> {
    option::of((any_text(), option::of(any_secret()))).prop_map(|both| match both {
        Some((method, data)) => (Some(method), data),
        None => (None, None),
    })
}

prop_compose! {
    fn any_connect_properties()(
        session_expiry_s in any::<Option<u32>>(),
        receive_maximum in option::of(any_id()),
        maximum_packet_bytes in any::<u32>(),
        topic_alias_maximum in any::<Option<u16>>(),
        (request_response_information, request_problem_information) in any::<(Option<bool>, Option<bool>)>(),
        user_properties in any_user_properties(),
        (authentication_method, authentication_data) in any_authentication(),
    ) -> ConnectProperties {
        ConnectProperties {
            session_expiry_s, receive_maximum, topic_alias_maximum, request_response_information,
            request_problem_information, user_properties, authentication_method, authentication_data,
            maximum_packet_bytes: std::num::NonZeroU32::new(maximum_packet_bytes),
        }
    }
}

prop_compose! {
    fn any_will()(
        (qos, retain, topic, payload) in (any_qos(), any::<bool>(), any_name(), any_bytes()),
        (will_delay_s, payload_is_utf8, message_expiry_s) in any::<(Option<u32>, Option<bool>, Option<u32>)>(),
        content_type in option::of(any_text()),
        response_topic in option::of(any_name()),
        correlation_data in option::of(any_bytes()),
        user_properties in any_user_properties(),
    ) -> Will {
        let properties = WillProperties {
            will_delay_s, payload_is_utf8, message_expiry_s, content_type, response_topic, correlation_data,
            user_properties, order: PropertyOrder::default(),
        };
        Will { qos, retain, topic, payload, properties }
    }
}

prop_compose! {
    fn any_connect()(
        clean_start in any::<bool>(),
        keep_alive_s in any::<u16>(),
        client_id in any_name(),
        will in option::of(any_will()),
        user in option::of((any_text(), option::of(any_secret()))),
        properties in any_connect_properties(),
    ) -> Packet {
        let (user_name, password) = user.map_or((None, None), |(name, password)| (Some(name), password));
        let (is_3_1, is_bridge) = (false, false);
        Packet::Connect(Box::new(Connect { is_3_1, is_bridge, clean_start, keep_alive_s, client_id, will, user_name, password, properties }))
    }
}

prop_compose! {
    fn any_connack()(
        session_present in any::<bool>(),
        reason in any_reason(PacketType::ConnAck),
        numbers in any::<(Option<u32>, Option<u16>, Option<u16>)>(),
        switches in any::<(Option<bool>, Option<bool>, Option<bool>, Option<bool>)>(),
        texts in (option::of(any_text()), option::of(any_text()), option::of(any_text()), option::of(any_text())),
        receive_maximum in option::of(any_id()),
        has_qos_0_only in any::<Option<bool>>(),
        user_properties in any_user_properties(),
        (authentication_method, authentication_data) in any_authentication(),
    ) -> Packet {
        let (session_expiry_s, topic_alias_maximum, server_keep_alive_s) = numbers;
        let (retain, wildcard, subscription_id, shared) = switches;
        let (assigned_client_id, reason_string, response_information, server_reference) = texts;
        Packet::ConnAck(Box::new(ConnAck {
            session_present: session_present && !reason.is_error(),
            reason,
            properties: ConnAckProperties {
                session_expiry_s,
                receive_maximum,
                maximum_qos: has_qos_0_only.map(|zero| if zero { QoS::AtMostOnce } else { QoS::AtLeastOnce }),
                retain_available: retain,
                maximum_packet_bytes: session_expiry_s.and_then(std::num::NonZeroU32::new),
                assigned_client_id, topic_alias_maximum, reason_string, user_properties,
                wildcard_subscription_available: wildcard,
                subscription_id_available: subscription_id,
                shared_subscription_available: shared,
                server_keep_alive_s, response_information, server_reference, authentication_method, authentication_data,
            },
        }))
    }
}

prop_compose! {
    fn any_publish_properties()(
        (payload_is_utf8, message_expiry_s) in any::<(Option<bool>, Option<u32>)>(),
        topic_alias in option::of(any_id()),
        response_topic in option::of(any_name()),
        correlation_data in option::of(any_bytes()),
        user_properties in any_user_properties(),
        subscription_ids in vec(any_subscription_id(), 0..3),
        content_type in option::of(any_text()),
    ) -> PublishProperties {
        PublishProperties {
            payload_is_utf8, message_expiry_s, topic_alias, response_topic, correlation_data, user_properties,
            subscription_ids, content_type, order: PropertyOrder::default(),
        }
    }
}

prop_compose! {
    fn any_publish()(
        (dup, qos, retain, topic) in (any::<bool>(), any_qos(), any::<bool>(), any_name()),
        packet_id in any_id(),
        properties in option::of(any_publish_properties().prop_map(Box::new)),
        payload in any_bytes(),
    ) -> Packet {
        let is_confirmed = qos != QoS::AtMostOnce;
        Packet::Publish(Publish {
            dup: dup && is_confirmed,
            qos, retain, topic,
            packet_id: is_confirmed.then_some(packet_id),
            // A block without properties is decoded as none.
            properties: properties.filter(|properties| **properties != PublishProperties::default()),
            payload,
        })
    }
}

fn any_ack(kind: PacketType, wrap: fn(Ack) -> Packet) -> impl Strategy<Value = Packet> {
    (any_id(), any_reason(kind), any_ack_properties()).prop_map(move |(packet_id, reason, properties)| {
        wrap(Ack {
            packet_id,
            reason,
            properties,
        })
    })
}

fn any_suback(kind: PacketType, wrap: fn(SubAck) -> Packet) -> impl Strategy<Value = Packet> {
    (any_id(), vec(any_reason(kind), 1..5), any_ack_properties()).prop_map(move |(packet_id, reasons, properties)| {
        wrap(SubAck {
            packet_id,
            reasons,
            properties,
        })
    })
}

prop_compose! {
    fn any_subscribe_filter()(
        filter in any_filter(),
        qos in any_qos(),
        (no_local, retain_as_published) in any::<(bool, bool)>(),
        retain_handling in prop::sample::select(vec![
            RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend,
        ]),
    ) -> SubscribeFilter {
        SubscribeFilter { filter, qos, no_local, retain_as_published, retain_handling }
    }
}

prop_compose! {
    fn any_subscribe()(
        packet_id in any_id(),
        filters in vec(any_subscribe_filter(), 1..4),
        subscription_id in option::of(any_subscription_id()),
        user_properties in any_user_properties(),
    ) -> Packet {
        Packet::Subscribe(Subscribe { packet_id, filters, properties: SubscribeProperties { subscription_id, user_properties } })
    }
}

prop_compose! {
    fn any_unsubscribe()(
        packet_id in any_id(), filters in vec(any_filter(), 1..4), user_properties in any_user_properties(),
    ) -> Packet {
        Packet::Unsubscribe(Unsubscribe { packet_id, filters, properties: UnsubscribeProperties { user_properties } })
    }
}

prop_compose! {
    fn any_disconnect()(
        reason in any_reason(PacketType::Disconnect),
        reason_string in option::of(any_text()),
        user_properties in any_user_properties(),
        server_reference in option::of(any_text()),
    ) -> Packet {
        let properties = DisconnectProperties { session_expiry_s: None, reason_string, user_properties, server_reference };
        Packet::Disconnect(Box::new(Disconnect { reason, properties }))
    }
}

prop_compose! {
    fn any_auth()(
        reason in any_reason(PacketType::Auth),
        authentication_method in any_text().prop_map(Some),
        authentication_data in option::of(any_secret()),
        reason_string in option::of(any_text()),
        user_properties in any_user_properties(),
    ) -> Packet {
        let properties = AuthProperties { authentication_method, authentication_data, reason_string, user_properties };
        Packet::Auth(Box::new(Auth { reason, properties }))
    }
}

fn any_packet() -> impl Strategy<Value = Packet> {
    prop_oneof![
        any_connect(),
        any_connack(),
        any_publish(),
        any_ack(PacketType::PubAck, Packet::PubAck),
        any_ack(PacketType::PubRec, Packet::PubRec),
        any_ack(PacketType::PubRel, Packet::PubRel),
        any_ack(PacketType::PubComp, Packet::PubComp),
        any_subscribe(),
        any_suback(PacketType::SubAck, Packet::SubAck),
        any_unsubscribe(),
        any_suback(PacketType::UnsubAck, Packet::UnsubAck),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        any_disconnect(),
        any_auth(),
    ]
}

/// What is left of a packet at 3.1.1; `None` where it cannot be said.
fn at_v3(packet: Packet) -> Option<Packet> {
    Some(match packet {
        Packet::Connect(mut connect) => {
            connect.properties = ConnectProperties::default();
            if let Some(will) = &mut connect.will {
                will.properties = WillProperties::default();
            }
            Packet::Connect(connect)
        }
        Packet::ConnAck(connack) => Packet::ConnAck(Box::new(ConnAck {
            session_present: connack.session_present,
            reason: ConnectReturnCode::from(connack.reason).into(),
            properties: ConnAckProperties::default(),
        })),
        Packet::Publish(publish) => Packet::Publish(Publish {
            properties: None,
            ..publish
        }),
        Packet::PubAck(ack) if !ack.reason.is_error() => Packet::PubAck(Ack::success(ack.packet_id)),
        Packet::PubRec(ack) if !ack.reason.is_error() => Packet::PubRec(Ack::success(ack.packet_id)),
        Packet::PubAck(_) | Packet::PubRec(_) | Packet::Auth(_) => return None,
        Packet::PubRel(ack) => Packet::PubRel(Ack::success(ack.packet_id)),
        Packet::PubComp(ack) => Packet::PubComp(Ack::success(ack.packet_id)),
        Packet::Subscribe(mut subscribe) => {
            subscribe.properties = SubscribeProperties::default();
            for filter in &mut subscribe.filters {
                let (name, qos) = (filter.filter.clone(), filter.qos);
                *filter = SubscribeFilter {
                    filter: name,
                    qos,
                    ..SubscribeFilter::default()
                };
            }
            Packet::Subscribe(subscribe)
        }
        Packet::SubAck(mut suback) => {
            suback.properties = AckProperties::default();
            for reason in suback.reasons.iter_mut().filter(|reason| reason.is_error()) {
                *reason = ReasonCode::UnspecifiedError;
            }
            Packet::SubAck(suback)
        }
        Packet::Unsubscribe(mut unsubscribe) => {
            unsubscribe.properties = UnsubscribeProperties::default();
            Packet::Unsubscribe(unsubscribe)
        }
        Packet::UnsubAck(mut unsuback) => {
            unsuback.properties = AckProperties::default();
            unsuback.reasons.clear();
            Packet::UnsubAck(unsuback)
        }
        Packet::Disconnect(disconnect) if disconnect.reason.is_error() => return None,
        Packet::Disconnect(disconnect) if disconnect.reason == ReasonCode::DisconnectWithWill => return None,
        Packet::Disconnect(_) => Packet::Disconnect(Box::default()),
        Packet::PingReq | Packet::PingResp => packet,
    })
}

/// The side that may meet the packet, past its CONNECT.
fn reader_of(packet: &Packet, version: Version) -> Decoder {
    match packet {
        Packet::Connect(_) => Decoder::server(Limits::default()),
        Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => decoder(Role::Server, version),
        Packet::Disconnect(_) if version == Version::V3 => decoder(Role::Server, version),
        _ => decoder(Role::Client, version),
    }
}

proptest! {
    #[test]
    fn a_packet_of_5_decodes_to_itself(packet in any_packet()) {
        let mut bytes = encoded(&packet, Version::V5);
        let decoded = reader_of(&packet, Version::V5).decode(&mut bytes);
        prop_assert_eq!(decoded, Ok(Some(packet)));
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn a_packet_at_3_1_1_decodes_to_what_3_1_1_can_say(packet in any_packet()) {
        let Some(expected) = at_v3(packet.clone()) else {
            return Ok(());
        };
        let mut bytes = encoded(&packet, Version::V3);
        let decoded = reader_of(&packet, Version::V3).decode(&mut bytes);
        prop_assert_eq!(decoded, Ok(Some(expected)));
        prop_assert!(bytes.is_empty());
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in vec(any::<u8>(), 0..64), is_server: bool, is_v5: bool) {
        let role = if is_server { Role::Server } else { Role::Client };
        let version = if is_v5 { Version::V5 } else { Version::V3 };
        let _ = decoder(role, version).decode(&mut bytes.as_slice().into());
    }

    #[test]
    fn an_outgoing_message_is_the_publish_it_stands_for(packet in any_publish(), is_v5: bool) {
        let Packet::Publish(publish) = packet else { unreachable!() };
        let version = if is_v5 { Version::V5 } else { Version::V3 };
        let properties = publish.properties.as_deref().cloned().unwrap_or_default();
        let shared = SharedProperties::of(&properties).unwrap();
        let outgoing = Outgoing {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: &publish.topic,
            packet_id: publish.packet_id,
            message_expiry_s: properties.message_expiry_s,
            topic_alias: properties.topic_alias,
            subscription_ids: &properties.subscription_ids,
            shared: &shared,
            payload: &publish.payload,
        };
        let mut bytes = bytes::BytesMut::new();
        let written = outgoing.encode(version, &mut bytes).unwrap();
        prop_assert_eq!(written, bytes.len());
        prop_assert_eq!(written, outgoing.encoded_bytes(version).unwrap());
        let mut front = bytes::BytesMut::new();
        prop_assert_eq!(outgoing.encode_front(version, &mut front).unwrap(), written);
        prop_assert_eq!(&front[..], &bytes[..written - publish.payload.len()]);
        let expected = Publish { properties: publish.properties.clone().filter(|_| is_v5), ..publish.clone() };
        let decoded = decoder(Role::Client, version).decode(&mut bytes);
        prop_assert_eq!(decoded, Ok(Some(Packet::Publish(expected))));
    }
}

//! Bytes that must be refused, with the reason to give, and odd ones that must not be.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::BytesMut;
use support::{decoder, decoder_with};
use trunkline_mqtt_wire::Role::{Client, Server};
use trunkline_mqtt_wire::Version::{V3, V5};
use trunkline_mqtt_wire::*;

/// A packet of this first byte around this body, which is short.
fn packet(first: u8, body: &[u8]) -> BytesMut {
    assert!(body.len() < 128);
    let mut bytes = BytesMut::from(&[first, body.len() as u8][..]);
    bytes.extend_from_slice(body);
    bytes
}

/// A CONNECT with this level and these flags; `rest` follows the keep alive.
fn connect(level: u8, flags: u8, rest: &[u8]) -> BytesMut {
    let mut body = b"\x00\x04MQTT".to_vec();
    body.extend([level, flags, 0, 60]);
    body.extend(rest);
    packet(0x10, &body)
}

/// A PUBLISH at QoS 0 to "t" with these properties.
fn publish_with(properties: &[u8]) -> BytesMut {
    let mut body = vec![0, 1, b't', properties.len() as u8];
    body.extend(properties);
    packet(0x30, &body)
}

/// A SUBSCRIBE at MQTT 5 of one filter.
fn subscribe(filter: &str, options: u8) -> BytesMut {
    let mut body = vec![0, 1, 0, 0, filter.len() as u8];
    body.extend(filter.bytes());
    body.push(options);
    packet(0x82, &body)
}

fn refusal(mut decoder: Decoder, mut bytes: BytesMut) -> DecodeError {
    match decoder.decode(&mut bytes) {
        Err(error) => error,
        Ok(decoded) => panic!("decoded as {decoded:?}"),
    }
}

macro_rules! refused {
    ($($claim:ident: $decoder:expr, $bytes:expr => $error:pat, $reason:ident;)*) => {$(
        #[test]
        fn $claim() {
            let error = refusal($decoder, $bytes);
            assert!(matches!(error, $error), "{error:?}");
            assert_eq!(error.reason(), ReasonCode::$reason, "{error}");
        }
    )*};
}

macro_rules! accepted {
    ($($claim:ident: $decoder:expr, $bytes:expr;)*) => {$(
        #[test]
        fn $claim() {
            let mut bytes: BytesMut = $bytes;
            let decoded = $decoder.decode(&mut bytes);
            assert!(matches!(decoded, Ok(Some(_))), "{decoded:?}");
        }
    )*};
}

fn fresh() -> Decoder {
    Decoder::server(Limits::default())
}

mod header {
    use super::*;

    refused! {
        a_connack_from_a_client_is_refused: decoder(Server, V5), packet(0x20, &[0, 0, 0]) => DecodeError::Direction(_), ProtocolError;
        a_suback_from_a_client_is_refused: decoder(Server, V5), packet(0x90, &[0, 1, 0, 0]) => DecodeError::Direction(_), ProtocolError;
        an_unsuback_from_a_client_is_refused: decoder(Server, V3), packet(0xB0, &[0, 1]) => DecodeError::Direction(_), ProtocolError;
        a_pingresp_from_a_client_is_refused: decoder(Server, V3), packet(0xD0, &[]) => DecodeError::Direction(_), ProtocolError;
        a_connect_from_a_server_is_refused: decoder(Client, V5), connect(5, 2, &[0, 0, 0]) => DecodeError::Direction(_), ProtocolError;
        a_pingreq_from_a_server_is_refused: decoder(Client, V5), packet(0xC0, &[]) => DecodeError::Direction(_), ProtocolError;
        a_disconnect_from_a_server_is_refused_at_3_1_1: decoder(Client, V3), packet(0xE0, &[]) => DecodeError::Direction(_), ProtocolError;
        the_first_packet_must_be_connect: fresh(), packet(0xC0, &[]) => DecodeError::ConnectExpected(_), ProtocolError;
        a_second_connect_is_refused: decoder(Server, V5), connect(5, 2, &[0, 0, 0]) => DecodeError::SecondConnect, ProtocolError;
        packet_type_0_is_reserved: decoder(Server, V5), packet(0x00, &[]) => DecodeError::ReservedType(0), MalformedPacket;
        auth_is_reserved_at_3_1_1: decoder(Server, V3), packet(0xF0, &[]) => DecodeError::ReservedType(15), MalformedPacket;
        connect_has_no_flags: fresh(), packet(0x11, &[]) => DecodeError::Flags { .. }, MalformedPacket;
        puback_has_no_flags: decoder(Server, V5), packet(0x42, &[0, 1]) => DecodeError::Flags { .. }, MalformedPacket;
        pubrel_needs_its_flags: decoder(Server, V5), packet(0x60, &[0, 1]) => DecodeError::Flags { .. }, MalformedPacket;
        subscribe_needs_its_flags: decoder(Server, V3), packet(0x80, &[0, 1, 0, 1, b'a', 0]) => DecodeError::Flags { .. }, MalformedPacket;
        unsubscribe_needs_its_flags: decoder(Server, V3), packet(0xA3, &[0, 1, 0, 1, b'a']) => DecodeError::Flags { .. }, MalformedPacket;
        pingreq_has_no_flags: decoder(Server, V3), packet(0xC1, &[]) => DecodeError::Flags { .. }, MalformedPacket;
        disconnect_has_no_flags: decoder(Server, V3), packet(0xE8, &[]) => DecodeError::Flags { .. }, MalformedPacket;
        a_wrong_first_byte_is_refused_without_a_second: fresh(), BytesMut::from(&b"G"[..]) => DecodeError::ConnectExpected(_), ProtocolError;
        a_remaining_length_of_five_bytes_is_refused: fresh(), BytesMut::from(&[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01][..]) => DecodeError::VarintTooLong(_), MalformedPacket;
        a_fourth_continuation_bit_is_refused_at_once: fresh(), BytesMut::from(&[0x10, 0x80, 0x80, 0x80, 0x80][..]) => DecodeError::VarintTooLong(_), MalformedPacket;
        a_padded_remaining_length_is_refused: decoder(Server, V3), BytesMut::from(&[0xC0, 0x80, 0x00][..]) => DecodeError::VarintNotMinimal(_), MalformedPacket;
        a_packet_over_the_limit_is_refused_from_its_header: decoder(Server, V5), BytesMut::from(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F][..]) => DecodeError::PacketTooLarge { bytes: 268_435_460, .. }, PacketTooLarge;
        a_connect_has_a_limit_of_its_own: fresh(), BytesMut::from(&[0x10, 0x80, 0x80, 0x02][..]) => DecodeError::PacketTooLarge { bytes_max: 32_768, .. }, PacketTooLarge;
        auth_has_no_flags: decoder(Server, V5), packet(0xF1, &[]) => DecodeError::Flags { .. }, MalformedPacket;
        a_pingreq_with_a_body_is_refused: decoder(Server, V3), packet(0xC0, &[0]) => DecodeError::TrailingBytes { .. }, MalformedPacket;
        a_disconnect_with_a_body_is_refused_at_3_1_1: decoder(Server, V3), packet(0xE0, &[0]) => DecodeError::TrailingBytes { .. }, MalformedPacket;
    }

    #[test]
    fn a_packet_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        let limits = Limits {
            packet_bytes_max: 7,
            ..Limits::default()
        };
        let mut exact = packet(0x30, &[0, 1, b't', 0, b'x']);
        assert!(decoder_with(Server, V5, limits).decode(&mut exact).unwrap().is_some());
        let error = refusal(
            decoder_with(Server, V5, limits),
            packet(0x30, &[0, 1, b't', 0, b'x', b'y']),
        );
        assert_eq!(
            error,
            DecodeError::PacketTooLarge {
                packet: PacketType::Publish,
                bytes: 8,
                bytes_max: 7
            }
        );
    }
}

mod connecting {
    use super::*;

    refused! {
        a_wrong_protocol_name_is_refused: fresh(), packet(0x10, b"\x00\x04MQTX\x05\x02\x00\x3C\x00\x00\x00") => DecodeError::ProtocolName, UnsupportedProtocolVersion;
        a_protocol_name_in_lower_case_is_refused: fresh(), packet(0x10, b"\x00\x04mqtt\x05\x02\x00\x3C\x00\x00\x00") => DecodeError::ProtocolName, UnsupportedProtocolVersion;
        a_lying_protocol_name_length_is_refused: fresh(), packet(0x10, b"\xFF\xFFMQTT") => DecodeError::Truncated(_), MalformedPacket;
        level_6_is_refused: fresh(), connect(6, 2, &[0, 0, 0]) => DecodeError::ProtocolLevel(6), UnsupportedProtocolVersion;
        an_empty_connect_is_refused: fresh(), packet(0x10, &[]) => DecodeError::Truncated(_), MalformedPacket;
        the_reserved_connect_flag_is_refused: fresh(), connect(4, 3, &[0, 0]) => DecodeError::ConnectFlagReserved, MalformedPacket;
        will_qos_without_will_is_refused: fresh(), connect(4, 0b0000_1010, &[0, 0]) => DecodeError::WillFlagsWithoutWill, MalformedPacket;
        will_retain_without_will_is_refused: fresh(), connect(5, 0b0010_0010, &[0, 0, 0]) => DecodeError::WillFlagsWithoutWill, MalformedPacket;
        will_qos_3_is_refused: fresh(), connect(5, 0b0001_1110, &[0, 0, 0, 0, 0, 1, b't', 0, 0]) => DecodeError::WillQos, MalformedPacket;
        a_will_topic_with_wildcard_is_refused: fresh(), connect(4, 0b110, &[0, 0, 0, 1, b'#', 0, 0]) => DecodeError::Topic { cause: TopicError::Wildcard, .. }, MalformedPacket;
        a_will_flag_without_will_is_refused: fresh(), connect(4, 0b110, &[0, 0]) => DecodeError::Truncated(_), MalformedPacket;
        a_lone_password_is_refused_at_3_1_1: fresh(), connect(4, 0b0100_0010, &[0, 0, 0, 1, b'p']) => DecodeError::PasswordWithoutUserName, MalformedPacket;
        no_identifier_and_no_clean_session_is_refused_at_3_1_1: fresh(), connect(4, 0, &[0, 0]) => DecodeError::ClientIdMissing, ClientIdentifierNotValid;
        a_client_id_over_the_limit_is_refused: Decoder::server(Limits { client_id_bytes_max: 2, ..Limits::default() }), connect(4, 2, b"\x00\x03abc") => DecodeError::ClientIdTooLong { bytes: 3, bytes_max: 2 }, ClientIdentifierNotValid;
        a_client_id_that_is_not_utf8_is_refused: fresh(), connect(4, 2, &[0, 2, 0xC0, 0x80]) => DecodeError::Text { cause: TextError::NotUtf8, .. }, MalformedPacket;
        a_client_id_with_nul_is_refused: fresh(), connect(4, 2, &[0, 1, 0]) => DecodeError::Text { cause: TextError::Nul, .. }, MalformedPacket;
        a_surrogate_is_refused: fresh(), connect(4, 2, &[0, 3, 0xED, 0xA0, 0x80]) => DecodeError::Text { cause: TextError::NotUtf8, .. }, MalformedPacket;
        a_will_topic_that_is_not_utf8_is_refused: fresh(), connect(4, 0b110, &[0, 0, 0, 1, 0xFF, 0, 0]) => DecodeError::Text { cause: TextError::NotUtf8, .. }, MalformedPacket;
        a_user_name_that_is_not_utf8_is_refused: fresh(), connect(4, 0b1000_0010, &[0, 0, 0, 1, 0xFF]) => DecodeError::Text { cause: TextError::NotUtf8, .. }, MalformedPacket;
        bytes_after_a_connect_are_refused: fresh(), connect(4, 2, &[0, 0, 9]) => DecodeError::TrailingBytes { bytes: 1, .. }, MalformedPacket;
        receive_maximum_0_is_refused: fresh(), connect(5, 2, &[3, 0x21, 0, 0, 0, 0]) => DecodeError::PropertyValue(PropertyId::ReceiveMaximum), ProtocolError;
        maximum_packet_size_0_is_refused: fresh(), connect(5, 2, &[5, 0x27, 0, 0, 0, 0, 0, 0]) => DecodeError::PropertyValue(_), ProtocolError;
        request_problem_information_2_is_refused: fresh(), connect(5, 2, &[2, 0x17, 2, 0, 0]) => DecodeError::PropertyValue(_), ProtocolError;
        authentication_data_without_method_is_refused: fresh(), connect(5, 2, &[4, 0x16, 0, 1, 7, 0, 0]) => DecodeError::AuthenticationMethodMissing, ProtocolError;
        a_topic_alias_in_connect_is_refused: fresh(), connect(5, 2, &[3, 0x23, 0, 1, 0, 0]) => DecodeError::PropertyNotAllowed(PropertyId::TopicAlias), MalformedPacket;
        a_will_delay_outside_of_the_will_is_refused: fresh(), connect(5, 2, &[5, 0x18, 0, 0, 0, 1, 0, 0]) => DecodeError::PropertyNotAllowed(_), MalformedPacket;
        session_present_with_a_failure_is_refused: decoder(Client, V5), packet(0x20, &[1, 0x87, 0]) => DecodeError::ConnAckFlags(1), ProtocolError;
        acknowledge_flags_of_2_are_refused: decoder(Client, V3), packet(0x20, &[2, 0]) => DecodeError::ConnAckFlags(2), ProtocolError;
        return_code_6_is_refused: decoder(Client, V3), packet(0x20, &[0, 6]) => DecodeError::Reason { code: 6, .. }, MalformedPacket;
        maximum_qos_2_in_connack_is_refused: decoder(Client, V5), packet(0x20, &[0, 0, 2, 0x24, 2]) => DecodeError::PropertyValue(PropertyId::MaximumQos), ProtocolError;
    }

    accepted! {
        a_lone_password_passes_at_5: fresh(), connect(5, 0b0100_0010, &[0, 0, 0, 0, 1, b'p']);
        no_identifier_and_no_clean_start_passes_at_5: fresh(), connect(5, 0, &[0, 0, 0]);
        no_identifier_with_clean_session_passes_at_3_1_1: fresh(), connect(4, 2, &[0, 0]);
        topic_alias_maximum_0_passes: fresh(), connect(5, 2, &[3, 0x22, 0, 0, 0, 0]);
        a_byte_order_mark_passes: fresh(), connect(4, 2, &[0, 3, 0xEF, 0xBB, 0xBF]);
        a_password_is_any_bytes: fresh(), connect(4, 0b1100_0010, &[0, 0, 0, 0, 0, 2, 0, 0xFF]);
    }

    #[test]
    fn a_connect_that_lacks_what_its_flags_announce_is_refused() {
        // A user name; a password, alone at 5.
        for bytes in [
            connect(4, 0b1000_0010, &[0, 0]),
            connect(4, 0b1100_0010, &[0, 0, 0, 1, b'u']),
            connect(5, 0b1000_0010, &[0, 0, 0]),
            connect(5, 0b0100_0010, &[0, 0, 0]),
        ] {
            assert!(matches!(refusal(fresh(), bytes), DecodeError::Truncated(_)));
        }
    }

    #[test]
    fn a_client_id_of_23_letters_and_digits_is_accepted() {
        let letters = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for id in letters.windows(23).chain(letters.windows(1)) {
            for level in [4, 5] {
                let mut rest = vec![0; usize::from(level == 5)];
                rest.extend([0, id.len() as u8]);
                rest.extend(id);
                let decoded = fresh().decode(&mut connect(level, 2, &rest));
                assert!(matches!(decoded, Ok(Some(_))), "{decoded:?}");
            }
        }
    }

    #[test]
    fn a_refused_connect_still_tells_in_which_version_to_answer() {
        for (bytes, version) in [
            (connect(6, 2, &[0, 0, 0]), Some(V5)),
            (connect(3, 2, &[0, 0]), Some(V3)),
            (packet(0x10, b"\x00\x06MQIsdp\x03\x02\x00\x3C\x00\x00"), Some(V3)),
            (packet(0x10, b"\x00\x04HTTP\x05"), None),
            (connect(5, 3, &[0, 0, 0]), Some(V5)),
            (connect(4, 2, &[0, 9]), Some(V3)),
        ] {
            let mut decoder = fresh();
            assert!(decoder.decode(&mut bytes.clone()).is_err());
            assert_eq!(decoder.version(), version, "{bytes:?}");
        }
    }

    #[test]
    fn a_connack_of_3_1_1_answers_only_what_it_has_a_code_for() {
        for (bytes, code) in [
            (
                connect(3, 2, &[0, 0]),
                Some(ConnectReturnCode::UnacceptableProtocolVersion),
            ),
            (connect(4, 0, &[0, 0]), Some(ConnectReturnCode::IdentifierRejected)),
            (connect(4, 0b0100_0010, &[0, 0, 0, 1, b'p']), None),
            (connect(4, 3, &[0, 0]), None),
        ] {
            assert_eq!(refusal(fresh(), bytes).return_code(), code);
        }
    }
}

mod publishing {
    use super::*;

    refused! {
        qos_3_is_refused: decoder(Server, V5), packet(0x36, &[0, 1, b't', 0, 1, 0]) => DecodeError::PublishQos, MalformedPacket;
        dup_at_qos_0_is_refused: decoder(Server, V3), packet(0x38, &[0, 1, b't']) => DecodeError::PublishDup, MalformedPacket;
        packet_id_0_is_refused: decoder(Server, V3), packet(0x32, &[0, 1, b't', 0, 0]) => DecodeError::PacketIdZero(_), ProtocolError;
        a_plus_in_a_topic_is_refused: decoder(Server, V3), packet(0x30, &[0, 1, b'+']) => DecodeError::Topic { .. }, MalformedPacket;
        a_hash_in_a_topic_is_refused: decoder(Server, V5), packet(0x30, b"\x00\x03a#b\x00") => DecodeError::Topic { .. }, MalformedPacket;
        nul_in_a_topic_is_refused: decoder(Server, V5), packet(0x30, b"\x00\x02a\x00\x00") => DecodeError::Text { cause: TextError::Nul, .. }, MalformedPacket;
        a_topic_that_is_not_utf8_is_refused: decoder(Server, V3), packet(0x30, &[0, 2, b'a', 0xFF]) => DecodeError::Text { .. }, MalformedPacket;
        an_empty_topic_is_refused_at_3_1_1: decoder(Server, V3), packet(0x30, &[0, 0]) => DecodeError::Topic { cause: TopicError::Empty, .. }, MalformedPacket;
        an_empty_topic_without_alias_is_refused: decoder(Server, V5), packet(0x30, &[0, 0, 0]) => DecodeError::TopicMissing, ProtocolError;
        a_lying_topic_length_is_refused: decoder(Server, V3), packet(0x30, &[0xFF, 0xFF, b't']) => DecodeError::Truncated(_), MalformedPacket;
        a_missing_packet_id_is_refused: decoder(Server, V3), packet(0x32, &[0, 1, b't', 0]) => DecodeError::Truncated(_), MalformedPacket;
        a_topic_over_the_limit_is_refused: decoder_with(Server, V3, Limits { topic_bytes_max: 1, ..Limits::default() }), packet(0x30, b"\x00\x02ab") => DecodeError::TopicNameTooLong(_), TopicNameInvalid;
        levels_over_the_limit_are_refused: decoder_with(Server, V3, Limits { topic_levels_max: 2, ..Limits::default() }), packet(0x30, b"\x00\x05a/b/c") => DecodeError::TopicNameTooLong(_), TopicNameInvalid;
        topic_alias_0_is_refused: decoder(Server, V5), publish_with(&[0x23, 0, 0]) => DecodeError::PropertyValue(PropertyId::TopicAlias), ProtocolError;
        a_property_twice_is_refused: decoder(Server, V5), publish_with(&[0x01, 0, 0x01, 0]) => DecodeError::PropertyTwice(_), ProtocolError;
        payload_format_2_is_refused: decoder(Server, V5), publish_with(&[0x01, 2]) => DecodeError::PropertyValue(_), ProtocolError;
        an_unknown_property_is_refused: decoder(Server, V5), publish_with(&[0x7F, 0]) => DecodeError::PropertyUnknown(0x7F), MalformedPacket;
        a_padded_property_identifier_is_refused: decoder(Server, V5), publish_with(&[0x81, 0x00, 0]) => DecodeError::VarintNotMinimal(_), MalformedPacket;
        a_session_expiry_in_publish_is_refused: decoder(Server, V5), publish_with(&[0x11, 0, 0, 0, 1]) => DecodeError::PropertyNotAllowed(_), MalformedPacket;
        a_subscription_id_from_a_client_is_refused: decoder(Server, V5), publish_with(&[0x0B, 1]) => DecodeError::PropertyDirection(_), ProtocolError;
        a_subscription_id_of_0_is_refused: decoder(Client, V5), publish_with(&[0x0B, 0]) => DecodeError::PropertyValue(_), ProtocolError;
        a_response_topic_that_is_not_utf8_is_refused: decoder(Server, V5), publish_with(&[0x08, 0, 1, 0xFF]) => DecodeError::Text { cause: TextError::NotUtf8, .. }, MalformedPacket;
        a_content_type_that_is_not_utf8_is_refused: decoder(Server, V5), publish_with(&[0x03, 0, 1, 0xFF]) => DecodeError::Text { cause: TextError::NotUtf8, .. }, MalformedPacket;
        a_response_topic_with_wildcard_is_refused: decoder(Server, V5), publish_with(&[0x08, 0, 1, b'#']) => DecodeError::Topic { .. }, MalformedPacket;
        a_property_cut_by_its_block_is_refused: decoder(Server, V5), publish_with(&[0x02, 0, 0]) => DecodeError::Truncated(_), MalformedPacket;
        a_property_block_over_the_end_is_refused: decoder(Server, V5), packet(0x30, &[0, 1, b't', 9, 0x01, 0]) => DecodeError::Truncated(_), MalformedPacket;
        a_missing_property_length_is_refused: decoder(Server, V5), packet(0x30, &[0, 1, b't']) => DecodeError::Truncated(_), MalformedPacket;
        a_padded_property_length_is_refused: decoder(Server, V5), packet(0x30, &[0, 1, b't', 0x80, 0]) => DecodeError::VarintNotMinimal(_), MalformedPacket;
        a_user_property_with_nul_is_refused: decoder(Server, V5), publish_with(&[0x26, 0, 1, 0, 0, 0]) => DecodeError::Text { .. }, MalformedPacket;
        user_properties_over_the_limit_are_refused: decoder_with(Server, V5, Limits { user_properties_max: 1, ..Limits::default() }), publish_with(&[0x26, 0, 0, 0, 0, 0x26, 0, 0, 0, 0]) => DecodeError::TooManyUserProperties(1), QuotaExceeded;
        a_puback_with_packet_id_0_is_refused: decoder(Server, V3), packet(0x40, &[0, 0]) => DecodeError::PacketIdZero(_), ProtocolError;
        a_puback_cut_in_its_id_is_refused: decoder(Server, V3), packet(0x40, &[1]) => DecodeError::Truncated(_), MalformedPacket;
        a_puback_with_a_reason_is_refused_at_3_1_1: decoder(Server, V3), packet(0x40, &[0, 1, 0]) => DecodeError::TrailingBytes { .. }, MalformedPacket;
        a_reason_of_another_packet_is_refused: decoder(Server, V5), packet(0x40, &[0, 1, 0x92]) => DecodeError::Reason { code: 0x92, .. }, MalformedPacket;
        a_reason_that_nothing_has_is_refused: decoder(Server, V5), packet(0x40, &[0, 1, 0x7F]) => DecodeError::Reason { .. }, MalformedPacket;
        bytes_after_the_properties_of_an_ack_are_refused: decoder(Server, V5), packet(0x40, &[0, 1, 0, 0, 0]) => DecodeError::TrailingBytes { .. }, MalformedPacket;
        a_session_expiry_from_a_server_is_refused: decoder(Client, V5), packet(0xE0, &[0, 5, 0x11, 0, 0, 0, 0]) => DecodeError::PropertyDirection(_), ProtocolError;
        an_auth_without_method_is_refused: decoder(Server, V5), packet(0xF0, &[0x18, 0]) => DecodeError::AuthenticationMethodMissing, ProtocolError;
    }

    accepted! {
        message_expiry_0_passes: decoder(Server, V5), publish_with(&[0x02, 0, 0, 0, 0]);
        an_empty_topic_with_alias_passes: decoder(Server, V5), packet(0x30, &[0, 0, 3, 0x23, 0, 1]);
        an_empty_payload_passes: decoder(Server, V3), packet(0x30, &[0, 1, b't']);
        a_topic_that_begins_with_dollar_passes: decoder(Server, V3), packet(0x30, b"\x00\x04$SYS");
        a_repeated_user_property_passes: decoder(Server, V5), publish_with(&[0x26, 0, 1, b'a', 0, 0, 0x26, 0, 1, b'a', 0, 0]);
        a_repeated_subscription_id_passes_at_a_client: decoder(Client, V5), publish_with(&[0x0B, 1, 0x0B, 1]);
        an_ack_with_a_reason_and_no_property_length_passes: decoder(Server, V5), packet(0x40, &[0, 1, 0x10]);
        an_ack_with_an_empty_property_block_passes: decoder(Server, V5), packet(0x62, &[0, 1, 0x92, 0]);
        a_disconnect_with_a_reason_alone_passes: decoder(Server, V5), packet(0xE0, &[4]);
    }
}

mod subscribing {
    use super::*;

    refused! {
        a_subscribe_of_nothing_is_refused: decoder(Server, V5), packet(0x82, &[0, 1, 0]) => DecodeError::EmptyList(_), ProtocolError;
        an_unsubscribe_of_nothing_is_refused: decoder(Server, V3), packet(0xA2, &[0, 1]) => DecodeError::EmptyList(_), ProtocolError;
        a_filter_that_is_not_utf8_is_refused: decoder(Server, V3), packet(0x82, &[0, 1, 0, 1, 0xFF, 0]) => DecodeError::Text { cause: TextError::NotUtf8, .. }, MalformedPacket;
        a_filter_to_leave_that_is_not_utf8_is_refused: decoder(Server, V3), packet(0xA2, &[0, 1, 0, 1, 0xFF]) => DecodeError::Text { cause: TextError::NotUtf8, .. }, MalformedPacket;
        a_subscribe_with_packet_id_0_is_refused: decoder(Server, V3), packet(0x82, &[0, 0, 0, 1, b'a', 0]) => DecodeError::PacketIdZero(_), ProtocolError;
        reserved_option_bits_are_refused: decoder(Server, V5), subscribe("a", 0x40) => DecodeError::SubscriptionOptionsReserved(_), MalformedPacket;
        options_of_5_are_refused_at_3_1_1: decoder(Server, V3), packet(0x82, &[0, 1, 0, 1, b'a', 0x04]) => DecodeError::SubscriptionOptionsReserved(_), MalformedPacket;
        a_wanted_qos_of_3_is_refused: decoder(Server, V5), subscribe("a", 3) => DecodeError::SubscriptionOptions(_), ProtocolError;
        retain_handling_3_is_refused: decoder(Server, V5), subscribe("a", 0x30) => DecodeError::SubscriptionOptions(_), ProtocolError;
        no_local_on_a_shared_subscription_is_refused: decoder(Server, V5), subscribe("$share/g/a", 4) => DecodeError::NoLocalShared, ProtocolError;
        missing_options_are_refused: decoder(Server, V3), packet(0x82, &[0, 1, 0, 1, b'a']) => DecodeError::Truncated(_), MalformedPacket;
        an_empty_filter_is_refused: decoder(Server, V5), subscribe("", 0) => DecodeError::Topic { cause: TopicError::Empty, .. }, MalformedPacket;
        a_hash_before_the_end_is_refused: decoder(Server, V5), subscribe("a/#/b", 0) => DecodeError::Topic { cause: TopicError::MultiLevelWildcard, .. }, MalformedPacket;
        a_plus_inside_of_a_level_is_refused: decoder(Server, V5), subscribe("a/b+", 0) => DecodeError::Topic { cause: TopicError::SingleLevelWildcard, .. }, MalformedPacket;
        a_shared_subscription_without_filter_is_refused: decoder(Server, V5), subscribe("$share/g", 0) => DecodeError::Topic { cause: TopicError::Shared, .. }, MalformedPacket;
        a_subscription_id_of_0_is_refused: decoder(Server, V5), packet(0x82, &[0, 1, 2, 0x0B, 0, 0, 1, b'a', 0]) => DecodeError::PropertyValue(_), ProtocolError;
        two_subscription_ids_are_refused: decoder(Server, V5), packet(0x82, &[0, 1, 4, 0x0B, 1, 0x0B, 2, 0, 1, b'a', 0]) => DecodeError::PropertyTwice(_), ProtocolError;
        filters_over_the_limit_are_refused: decoder_with(Server, V3, Limits { subscriptions_max: 1, ..Limits::default() }), packet(0xA2, &[0, 1, 0, 1, b'a', 0, 1, b'b']) => DecodeError::TooManyFilters { .. }, QuotaExceeded;
        a_filter_over_the_limit_is_refused: decoder_with(Server, V5, Limits { topic_levels_max: 2, ..Limits::default() }), subscribe("a/b/c", 0) => DecodeError::TopicFilterTooLong, TopicFilterInvalid;
        a_suback_of_nothing_is_refused: decoder(Client, V5), packet(0x90, &[0, 1, 0]) => DecodeError::EmptyList(_), ProtocolError;
        a_reason_of_5_in_a_suback_is_refused_at_3_1_1: decoder(Client, V3), packet(0x90, &[0, 1, 0x87]) => DecodeError::Reason { .. }, MalformedPacket;
        an_unsuback_with_reasons_is_refused_at_3_1_1: decoder(Client, V3), packet(0xB0, &[0, 1, 0]) => DecodeError::TrailingBytes { .. }, MalformedPacket;
    }

    accepted! {
        all_options_pass: decoder(Server, V5), subscribe("a/+/#", 0x2E);
        a_shared_subscription_passes: decoder(Server, V5), subscribe("$share/g/#", 0x2A);
        share_is_an_ordinary_level_at_3_1_1: decoder(Server, V3), packet(0x82, b"\x00\x01\x00\x06$share\x00");
    }
}

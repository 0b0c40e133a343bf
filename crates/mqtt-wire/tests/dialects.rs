//! MQTT 3.1, which is read as 3.1.1 with few differences, and bridges.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::BytesMut;
use support::{encoded, text};
use trunkline_mqtt_wire::*;

fn connect_of_3_1() -> Connect {
    Connect {
        is_3_1: true,
        ..support::connect("device")
    }
}

/// A server that has read this CONNECT.
fn server_after(connect: &Connect) -> Decoder {
    let mut decoder = Decoder::server(Limits::default());
    let packet = Packet::Connect(Box::new(connect.clone()));
    let mut bytes = encoded(&packet, Version::V3);
    assert_eq!(decoder.decode(&mut bytes), Ok(Some(packet)));
    decoder
}

/// PUBREL, SUBSCRIBE and UNSUBSCRIBE, each sent once more: with DUP.
fn repeated() -> [BytesMut; 3] {
    [
        &b"\x6A\x02\x00\x01"[..],
        b"\x8A\x06\x00\x01\x00\x01a\x00",
        b"\xAA\x05\x00\x01\x00\x01a",
    ]
    .map(BytesMut::from)
}

#[test]
fn a_connect_of_3_1_goes_under_its_old_name() {
    let packet = Packet::Connect(Box::new(connect_of_3_1()));
    assert_eq!(encoded(&packet, Version::V3)[2..11], *b"\x00\x06MQIsdp\x03");
    assert_eq!(server_after(&connect_of_3_1()).version(), Some(Version::V3));
}

#[test]
fn the_old_name_goes_with_the_old_level_only() {
    for bytes in [
        &b"\x10\x0F\x00\x06MQIsdp\x04\x02\x00\x3C\x00\x01c"[..],
        b"\x10\x0D\x00\x04MQTT\x03\x02\x00\x3C\x00\x01c",
    ] {
        let error = Decoder::server(Limits::default())
            .decode(&mut bytes.into())
            .unwrap_err();
        assert!(matches!(error, DecodeError::ProtocolLevel(_)), "{error}");
    }
}

#[test]
fn a_client_of_3_1_without_a_name_is_refused() {
    let bytes = &b"\x10\x0E\x00\x06MQIsdp\x03\x02\x00\x3C\x00\x00"[..];
    let error = Decoder::server(Limits::default())
        .decode(&mut bytes.into())
        .unwrap_err();
    assert_eq!(error, DecodeError::ClientIdMissing);
    assert_eq!(error.return_code(), Some(ConnectReturnCode::IdentifierRejected));
    let nameless = Connect {
        client_id: text(""),
        ..connect_of_3_1()
    };
    let written = encode(&Packet::Connect(Box::new(nameless)), Version::V3, &mut BytesMut::new());
    assert_eq!(written, Err(EncodeError::ConnectInV3));
}

#[test]
fn what_is_repeated_may_have_dup_at_3_1_and_nowhere_else() {
    for bytes in repeated() {
        assert!(
            server_after(&connect_of_3_1())
                .decode(&mut bytes.clone())
                .unwrap()
                .is_some()
        );
        let error = server_after(&support::connect("device"))
            .decode(&mut bytes.clone())
            .unwrap_err();
        assert!(matches!(error, DecodeError::Flags { .. }), "{error}");
    }
    // DUP is all that is more: the other bits are as they are later.
    let mut bytes = BytesMut::from(&b"\x68\x02\x00\x01"[..]);
    assert!(server_after(&connect_of_3_1()).decode(&mut bytes).is_err());
}

#[test]
fn a_bridge_says_so_by_the_highest_bit_of_the_level() {
    for (is_3_1, level_at, level) in [(false, 8, 0x84), (true, 10, 0x83)] {
        let bridge = Connect {
            is_3_1,
            is_bridge: true,
            ..support::connect("bridge")
        };
        server_after(&bridge);
        let bytes = encoded(&Packet::Connect(Box::new(bridge)), Version::V3);
        assert_eq!(bytes[level_at], level);
    }
}

#[test]
fn mqtt_5_has_neither() {
    for connect in [
        connect_of_3_1(),
        Connect {
            is_bridge: true,
            ..support::connect("bridge")
        },
    ] {
        let written = encode(&Packet::Connect(Box::new(connect)), Version::V5, &mut BytesMut::new());
        assert_eq!(written, Err(EncodeError::ConnectInV5));
    }
    let bytes = &b"\x10\x0D\x00\x04MQTT\x85\x02\x00\x3C\x00\x00\x00"[..];
    let mut decoder = Decoder::server(Limits::default());
    let error = decoder.decode(&mut bytes.into()).unwrap_err();
    assert_eq!(error, DecodeError::ProtocolLevel(0x85));
    assert_eq!(decoder.version(), Some(Version::V5));
}

//! Our codec beside rumqttd's, as `crates/mqtt-wire/tests/differential.rs` holds it to rmqtt's: what either reads, the other reads as the
//! same packet, or the difference is listed here. It is here since this package has rumqttd as a peer.
#![allow(
    clippy::unwrap_used,
    reason = "a test says that something does not hold by panicking"
)]

#[path = "../../crates/mqtt-wire/tests/support/mod.rs"]
mod support;

use bytes::BytesMut;
use rumqttd::protocol::Protocol as _;
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use support::mutation::{Xorshift, mutate, repair};
use support::{decoder_for, encoded, samples};
use trunkline_mqtt_wire::*;

/// Enough to meet each listed difference, few enough to be done in seconds.
const MUTANTS: u32 = 100_000;

/// What the other codec makes of one packet: the bytes that it would send for it.
fn through_theirs(version: Version, bytes: &[u8]) -> Result<BytesMut, String> {
    let (mut bytes, mut again) = (BytesMut::from(bytes), BytesMut::new());
    let limit = Limits::default().packet_bytes_max as usize;
    match version {
        Version::V3 => {
            let packet = V4.read_mut(&mut bytes, limit).map_err(|error| format!("{error:?}"))?;
            V4.write(packet, &mut again)
        }
        Version::V5 => {
            let packet = V5.read_mut(&mut bytes, limit).map_err(|error| format!("{error:?}"))?;
            V5.write(packet, &mut again)
        }
    }
    .map_err(|error| format!("writing: {error:?}"))?;
    Ok(again)
}

fn ours(original: &Packet, role: Role, version: Version, bytes: &[u8]) -> Result<Packet, DecodeError> {
    let mut decoder = decoder_for(original, role, version);
    let packet = decoder.decode(&mut BytesMut::from(bytes))?;
    packet.ok_or(DecodeError::Truncated("the packet"))
}

/// A packet without what the other codec does not keep: the order in which the properties of a message came.
fn unordered(mut packet: Packet) -> Packet {
    match &mut packet {
        Packet::Connect(connect) => {
            if let Some(will) = &mut connect.will {
                will.properties.order = PropertyOrder::default();
            }
        }
        Packet::Publish(publish) => {
            if let Some(properties) = &mut publish.properties {
                properties.order = PropertyOrder::default();
            }
        }
        _ => {}
    }
    packet
}

/// Of what clients send it does not know AUTH; CONNACK and UNSUBACK end its process, and type 0 is nobody's.
fn is_known_to_them(bytes: &[u8]) -> bool {
    bytes
        .first()
        .is_some_and(|first| !matches!(first >> 4, 0 | 2 | 11 | 15))
}

/// Whether it has what the other codec refuses: a password that is no text, and a DISCONNECT that ends with its reason.
fn is_refused_by_them(packet: &Packet) -> bool {
    match packet {
        Packet::Connect(connect) => {
            let password = connect.password.as_ref();
            password.is_some_and(|password| std::str::from_utf8(password.reveal()).is_err())
        }
        Packet::Disconnect(disconnect) => disconnect.properties == DisconnectProperties::default(),
        _ => false,
    }
}

/// What we refuse and the other codec reads: rules that it leaves to others.
const fn is_read_by_them(error: &DecodeError) -> bool {
    match error {
        // It serves both sides, and does not know what came before.
        DecodeError::Direction(_) | DecodeError::ConnectExpected(_) => true,
        // Flags, but those of PUBLISH [MQTT-2.1.3-1]; a packet id of 0 [MQTT-2.2.1-3]; lists without an entry.
        DecodeError::Flags { .. }
        | DecodeError::PublishDup
        | DecodeError::ConnectFlagReserved
        | DecodeError::SubscriptionOptionsReserved(_)
        | DecodeError::PacketIdZero(_)
        | DecodeError::EmptyList(_)
        | DecodeError::NoLocalShared => true,
        // Topics and strings, which it hands on as bytes [MQTT-1.5.4-1, 4.7.1-1].
        DecodeError::Text { .. } | DecodeError::Topic { .. } => true,
        // Where properties and packets end, how often a property is there, and what it may say.
        DecodeError::TrailingBytes { .. }
        | DecodeError::Truncated(_)
        | DecodeError::VarintNotMinimal(_)
        | DecodeError::PropertyTwice(_)
        | DecodeError::PropertyUnknown(_)
        | DecodeError::PropertyNotAllowed(_)
        | DecodeError::PropertyValue(_) => true,
        _ => false,
    }
}

#[test]
fn what_we_write_they_read_as_the_same() {
    for (role, version, packet) in samples() {
        let bytes = encoded(&packet, version);
        if is_known_to_them(&bytes) {
            let again = through_theirs(version, &bytes).unwrap_or_else(|error| panic!("{packet:?}: {error}"));
            let read = ours(&packet, role, version, &again).map(unordered);
            assert_eq!(read, Ok(unordered(packet)), "{:02x?}", &bytes[..]);
        }
    }
}

#[test]
fn what_both_read_is_the_same_and_what_one_refuses_is_listed() {
    let mut random = Xorshift(0x2545_F491_4F6C_DD1D);
    let originals: Vec<_> = samples()
        .into_iter()
        .map(|(role, version, packet)| (role, version, encoded(&packet, version), packet))
        .collect();
    let (mut alike, mut refused) = (0, 0);
    for round in 0..MUTANTS {
        let (role, version, original, sample) = &originals[random.below(originals.len())];
        let mut bytes = original.to_vec();
        mutate(&mut random, &mut bytes);
        if round % 4 != 0 {
            repair(&mut bytes);
        }
        if !is_known_to_them(&bytes) {
            continue;
        }
        let read = ours(sample, *role, *version, &bytes);
        match (read, through_theirs(*version, &bytes)) {
            (Ok(packet), Ok(again)) => {
                let theirs = ours(sample, *role, *version, &again).map(unordered);
                assert_eq!(theirs, Ok(unordered(packet)), "{bytes:02x?}");
                alike += 1;
            }
            (Ok(packet), Err(error)) => assert!(is_refused_by_them(&packet), "they refuse {bytes:02x?}: {error}"),
            (Err(error), Ok(_)) => assert!(is_read_by_them(&error), "they read {bytes:02x?}: {error}"),
            (Err(_), Err(_)) => refused += 1,
        }
    }
    assert!(
        alike > MUTANTS / 10,
        "only {alike} were read: the test looks at nothing"
    );
    assert!(
        refused > MUTANTS / 4,
        "only {refused} were refused: the test looks at nothing"
    );
}

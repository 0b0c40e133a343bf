//! The codec beside another one, rmqtt's: what either reads, the other reads as the same packet, or the difference is listed here.
//! `bench/tests/codec.rs` does the same with rumqttd's.
//!
//! Packets of different crates are compared by way of bytes: what the other codec has read it writes again, and we read that. Whatever it
//! lost or misread on the way shows as another packet.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::BytesMut;
use rmqtt_codec::{MqttCodec, MqttPacket, v3, v5};
use support::mutation::{Xorshift, mutate, repair};
use support::{decoder_for, encoded, samples};
use tokio_util::codec::{Decoder as _, Encoder as _};
use trunkline_mqtt_wire::*;

/// Enough to meet each listed difference, few enough to be done in seconds.
const MUTANTS: u32 = 100_000;

/// What the other codec makes of one packet: the bytes that it would send for it.
fn through_theirs(version: Version, bytes: &[u8]) -> Result<BytesMut, String> {
    let mut codec = match version {
        Version::V3 => MqttCodec::V3(v3::Codec::default()),
        Version::V5 => MqttCodec::V5(v5::Codec::default()),
    };
    let mut bytes = BytesMut::from(bytes);
    let (packet, _) = codec
        .decode(&mut bytes)
        .map_err(|error| format!("{error:?}"))?
        .ok_or("incomplete")?;
    // It would leave out words that a CONNECT on the same connection did not want.
    let mut codec = match packet {
        MqttPacket::V5(_) => MqttCodec::V5(v5::Codec::default()),
        _ => codec,
    };
    let mut again = BytesMut::new();
    codec
        .encode(packet, &mut again)
        .map_err(|error| format!("writing: {error:?}"))?;
    Ok(again)
}

fn ours(original: &Packet, role: Role, version: Version, bytes: &[u8]) -> Result<Packet, DecodeError> {
    let mut decoder = decoder_for(original, role, version);
    let packet = decoder.decode(&mut BytesMut::from(bytes))?;
    packet.ok_or(DecodeError::Truncated("the packet"))
}

/// A packet without what the other codec does not keep apart: a property that is absent, and one with the value that absence stands for;
/// the orders in which a message's properties can come.
fn canonical(mut packet: Packet) -> Packet {
    match &mut packet {
        Packet::Connect(connect) => {
            let properties = &mut connect.properties;
            properties.session_expiry_s = properties.session_expiry_s.filter(|seconds| *seconds != 0);
            properties.topic_alias_maximum = properties.topic_alias_maximum.filter(|maximum| *maximum != 0);
            properties.request_problem_information = properties.request_problem_information.filter(|wanted| !wanted);
            properties.request_response_information = properties.request_response_information.filter(|wanted| *wanted);
            if let Some(will) = &mut connect.will {
                will.properties.order = PropertyOrder::default();
            }
        }
        Packet::ConnAck(connack) => {
            let properties = &mut connack.properties;
            properties.receive_maximum = properties.receive_maximum.filter(|maximum| maximum.get() != u16::MAX);
            properties.topic_alias_maximum = properties.topic_alias_maximum.filter(|maximum| *maximum != 0);
            for available in [
                &mut properties.retain_available,
                &mut properties.wildcard_subscription_available,
                &mut properties.subscription_id_available,
                &mut properties.shared_subscription_available,
            ] {
                *available = available.filter(|is_available| !is_available);
            }
        }
        Packet::Publish(publish) => {
            if let Some(properties) = &mut publish.properties {
                properties.order = PropertyOrder::default();
            }
            publish.properties = publish
                .properties
                .take()
                .filter(|properties| **properties != PublishProperties::default());
        }
        _ => {}
    }
    packet
}

/// Whether it has what the other codec refuses: a message that lapses at once, and 3.1.1 below a bridge.
fn is_refused_by_them(packet: &Packet) -> bool {
    match packet {
        Packet::Connect(connect) => {
            let will = connect.will.as_ref();
            connect.is_bridge || will.is_some_and(|will| will.properties.message_expiry_s == Some(0))
        }
        Packet::Publish(publish) => {
            let properties = publish.properties.as_ref();
            properties.is_some_and(|properties| properties.message_expiry_s == Some(0))
        }
        _ => false,
    }
}

/// What we refuse and the other codec reads, each with the rule that it leaves to others.
const fn is_read_by_them(error: &DecodeError) -> bool {
    match error {
        // It serves both sides, and does not know what came before.
        DecodeError::Direction(_) | DecodeError::ConnectExpected(_) => true,
        // U+0000 in strings [MQTT-1.5.4-2]; wildcards in topic names and filters [MQTT-3.3.2-2].
        DecodeError::Text {
            cause: TextError::Nul, ..
        }
        | DecodeError::Topic { .. } => true,
        // Bytes behind the last field, an AUTH that ends within its properties, and lengths that are longer than they need be
        // [MQTT-1.5.5-1].
        DecodeError::TrailingBytes { .. } | DecodeError::Truncated(_) | DecodeError::VarintNotMinimal(_) => true,
        // Flags that contradict each other or are reserved [MQTT-3.1.2-11, 3.2.2-6, 3.3.1-2, 3.8.3-5].
        DecodeError::WillFlagsWithoutWill
        | DecodeError::ConnAckFlags(_)
        | DecodeError::PublishDup
        | DecodeError::SubscriptionOptionsReserved(_) => true,
        // A SUBACK without a reason; AUTH without its method.
        DecodeError::EmptyList(_) | DecodeError::AuthenticationMethodMissing => true,
        _ => false,
    }
}

/// AUTH of success: it writes an absent method as an empty block of properties, which is no form of AUTH.
fn is_garbled_by_them(packet: &Packet) -> bool {
    matches!(packet, Packet::Auth(auth) if auth.properties.authentication_method.is_none())
}

#[test]
fn what_we_write_they_read_as_the_same() {
    for (role, version, packet) in samples() {
        let bytes = encoded(&packet, version);
        match through_theirs(version, &bytes) {
            Ok(_) if is_garbled_by_them(&packet) => {}
            Ok(again) => {
                let read = ours(&packet, role, version, &again);
                assert_eq!(read.map(canonical), Ok(canonical(packet)), "{:02x?}", &bytes[..]);
            }
            Err(error) => assert!(is_refused_by_them(&packet), "{packet:?}: {error}"),
        }
    }
}

#[test]
fn what_both_read_is_the_same_and_what_one_refuses_is_listed() {
    let mut random = Xorshift(0xD1B5_4A32_D192_ED03);
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
        let read = ours(sample, *role, *version, &bytes);
        match (read, through_theirs(*version, &bytes)) {
            (Ok(packet), Ok(_)) if is_garbled_by_them(&packet) => {}
            (Ok(packet), Ok(again)) => {
                let theirs = ours(sample, *role, *version, &again).map(canonical);
                assert_eq!(theirs, Ok(canonical(packet)), "{bytes:02x?}");
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

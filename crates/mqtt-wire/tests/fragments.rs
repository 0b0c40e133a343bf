//! Packets that arrive in pieces.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::BytesMut;
use support::{decoder_for, encoded, samples};
use trunkline_mqtt_wire::Packet;

#[test]
fn every_packet_comes_back_as_it_was() {
    for (role, version, packet) in samples() {
        let mut bytes = encoded(&packet, version);
        let decoded = decoder_for(&packet, role, version).decode(&mut bytes);
        assert_eq!(decoded, Ok(Some(packet)), "{role:?} {version:?}");
        assert!(bytes.is_empty());
    }
}

#[test]
fn a_packet_cut_at_any_byte_waits_and_then_decodes() {
    for (role, version, packet) in samples() {
        let whole = encoded(&packet, version);
        for cut in 0..whole.len() {
            let mut decoder = decoder_for(&packet, role, version);
            let mut buffer = BytesMut::from(&whole[..cut]);
            assert_eq!(decoder.decode(&mut buffer), Ok(None), "{packet:?} cut at {cut}");
            assert_eq!(buffer, whole[..cut], "waiting takes nothing");
            buffer.extend_from_slice(&whole[cut..]);
            assert_eq!(decoder.decode(&mut buffer), Ok(Some(packet.clone())), "cut at {cut}");
        }
    }
}

#[test]
fn single_bytes_add_up_to_every_packet() {
    for (role, version, packet) in samples() {
        let whole = encoded(&packet, version);
        let mut decoder = decoder_for(&packet, role, version);
        let mut buffer = BytesMut::new();
        let mut decoded = None;
        for byte in &whole {
            assert_eq!(decoded, None, "decoded before the last byte");
            buffer.extend_from_slice(&[*byte]);
            decoded = decoder.decode(&mut buffer).unwrap();
        }
        assert_eq!(decoded, Some(packet));
    }
}

#[test]
fn packets_in_one_buffer_come_out_one_by_one() {
    let all: Vec<_> = samples();
    for (role, version, _) in &all {
        let same: Vec<&Packet> = all
            .iter()
            .filter(|(other_role, other_version, packet)| {
                (other_role, other_version) == (role, version) && !matches!(packet, Packet::Connect(_))
            })
            .map(|(_, _, packet)| packet)
            .collect();
        let mut buffer = BytesMut::new();
        for packet in &same {
            buffer.extend_from_slice(&encoded(packet, *version));
        }
        let mut decoder = support::decoder(*role, *version);
        for packet in same {
            assert_eq!(decoder.decode(&mut buffer).unwrap().as_ref(), Some(packet));
        }
        assert_eq!(decoder.decode(&mut buffer), Ok(None));
    }
}

#[test]
fn waiting_for_a_large_packet_reserves_nothing() {
    let mut decoder = support::decoder(trunkline_mqtt_wire::Role::Server, trunkline_mqtt_wire::Version::V5);
    let mut buffer = BytesMut::from(&[0x30, 0x80, 0x80, 0x10, 0, 1][..]);
    let capacity = buffer.capacity();
    assert_eq!(decoder.decode(&mut buffer), Ok(None));
    assert_eq!(buffer.capacity(), capacity);
}

#[test]
fn text_and_payload_are_slices_of_the_frame() {
    let (role, version) = (trunkline_mqtt_wire::Role::Server, trunkline_mqtt_wire::Version::V5);
    let mut buffer = encoded(
        &Packet::Publish(support::publish(trunkline_mqtt_wire::QoS::AtLeastOnce)),
        version,
    );
    let frame = buffer.as_ptr() as usize..buffer.as_ptr() as usize + buffer.len();
    let Ok(Some(Packet::Publish(publish))) = support::decoder(role, version).decode(&mut buffer) else {
        panic!("a valid PUBLISH");
    };
    assert!(frame.contains(&(publish.topic.as_ptr() as usize)));
    assert!(frame.contains(&(publish.payload.as_ptr() as usize)));
    assert!(!frame.contains(&(publish.topic.detached().as_ptr() as usize)));
}

#[test]
fn a_packet_is_small() {
    assert!(size_of::<Packet>() <= 96, "{} bytes", size_of::<Packet>());
}

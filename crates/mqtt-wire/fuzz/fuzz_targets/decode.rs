//! Decodes any bytes as a stream of packets, as one piece and in fragments, and encodes again what came out.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use trunkline_mqtt_wire::{Connect, Decoder, Limits, Packet, Utf8Bytes, Version, encode};

// The first byte is who reads, the second how the rest is cut.
fuzz_target!(|input: &[u8]| {
    let [choice, cut, bytes @ ..] = input else {
        return;
    };
    let mut decoder = decoder(*choice);
    let in_fragments = read_fragments(decoder.clone(), bytes, usize::from(*cut) + 1);
    let (mut buffer, mut packets) = (BytesMut::from(bytes), Vec::new());
    let has_failed = loop {
        let mut before = decoder.clone();
        let packet = match decoder.decode(&mut buffer) {
            Ok(Some(packet)) => packet,
            Ok(None) => break false,
            Err(error) => {
                assert!(error.reason().is_error());
                break true;
            }
        };
        let version = decoder.version().expect("a packet was decoded");
        let mut again = BytesMut::new();
        encode(&packet, version, &mut again).expect("what decodes can be encoded");
        assert_eq!(before.decode(&mut again), Ok(Some(packet.clone())));
        assert!(again.is_empty());
        packets.push(packet);
    };
    assert_eq!(in_fragments, (packets, has_failed));
});

/// What comes of bytes that arrive `size` at a time, and whether they are refused at last.
fn read_fragments(mut decoder: Decoder, bytes: &[u8], size: usize) -> (Vec<Packet>, bool) {
    let (mut buffer, mut packets) = (BytesMut::new(), Vec::new());
    for fragment in bytes.chunks(size) {
        buffer.extend_from_slice(fragment);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(_) => return (packets, true),
            }
        }
    }
    (packets, false)
}

/// A client's, or a server's: before CONNECT, or after one of each kind.
fn decoder(choice: u8) -> Decoder {
    match choice % 6 {
        0 => Decoder::server(Limits::default()),
        1 => connected(Version::V3, false),
        2 => connected(Version::V3, true),
        3 => connected(Version::V5, false),
        4 => Decoder::client(Version::V3, Limits::default()),
        _ => Decoder::client(Version::V5, Limits::default()),
    }
}

fn connected(version: Version, is_3_1: bool) -> Decoder {
    let mut decoder = Decoder::server(Limits::default());
    let connect = Connect {
        is_3_1,
        clean_start: true,
        client_id: Utf8Bytes::try_from("c").expect("a valid string"),
        ..Connect::default()
    };
    let mut buffer = BytesMut::new();
    encode(&Packet::Connect(Box::new(connect)), version, &mut buffer).expect("a valid CONNECT");
    decoder.decode(&mut buffer).expect("a valid CONNECT");
    decoder
}

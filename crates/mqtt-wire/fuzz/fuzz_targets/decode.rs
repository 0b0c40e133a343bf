//! Decodes any bytes as a stream of packets, and encodes again what came out.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use trunkline_mqtt_wire::{Connect, Decoder, Limits, Packet, Version, encode};

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    let mut decoder = match choice % 5 {
        0 => Decoder::server(Limits::default()),
        1 => connected(Version::V3),
        2 => connected(Version::V5),
        3 => Decoder::client(Version::V3, Limits::default()),
        _ => Decoder::client(Version::V5, Limits::default()),
    };
    let mut buffer = BytesMut::from(bytes);
    loop {
        let mut before = decoder.clone();
        let Ok(Some(packet)) = decoder.decode(&mut buffer) else {
            return;
        };
        let version = decoder.version().expect("a packet was decoded");
        let mut again = BytesMut::new();
        encode(&packet, version, &mut again).expect("what decodes can be encoded");
        assert_eq!(before.decode(&mut again), Ok(Some(packet)));
    }
});

/// A server's decoder that is past the CONNECT.
fn connected(version: Version) -> Decoder {
    let mut decoder = Decoder::server(Limits::default());
    let connect = Connect { clean_start: true, ..Connect::default() };
    let mut buffer = BytesMut::new();
    encode(&Packet::Connect(Box::new(connect)), version, &mut buffer).expect("a valid CONNECT");
    decoder.decode(&mut buffer).expect("a valid CONNECT");
    decoder
}

//! Damaged packets: none makes the codec panic, and whatever still decodes means the same after encoding it again.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::BytesMut;
use support::mutation::{Xorshift, mutate, repair};
use support::{decoder, encoded, samples};
use trunkline_mqtt_wire::{Decoder, Limits, Packet, Role, Version, encode};

/// Enough to damage each byte of each sample several times, few enough to be done in seconds.
const MUTANTS: u32 = 200_000;

fn decoder_of(packet: &Packet, role: Role, version: Version) -> Decoder {
    match packet {
        Packet::Connect(_) => Decoder::server(Limits::default()),
        _ => decoder(role, version),
    }
}

#[test]
fn mutants_never_panic_and_survivors_encode_to_the_same() {
    let mut random = Xorshift(0x9E37_79B9_7F4A_7C15);
    let originals: Vec<_> = samples()
        .into_iter()
        .map(|(role, version, packet)| (encoded(&packet, version), decoder_of(&packet, role, version)))
        .collect();
    let (mut survivors, mut refused) = (0, 0);
    for round in 0..MUTANTS {
        let (original, decoder) = &originals[random.below(originals.len())];
        let mut bytes = original.to_vec();
        mutate(&mut random, &mut bytes);
        if round % 2 == 0 {
            repair(&mut bytes);
        }
        let mut decoder = decoder.clone();
        match decoder.decode(&mut BytesMut::from(&bytes[..])) {
            Ok(Some(packet)) => {
                survivors += 1;
                let version = decoder.version().unwrap();
                let mut again = BytesMut::new();
                encode(&packet, version, &mut again).unwrap_or_else(|error| panic!("{bytes:02x?}: {error}"));
                let mut second = match packet {
                    Packet::Connect(_) => Decoder::server(Limits::default()),
                    _ => decoder,
                };
                let limits_apply = again.len() <= bytes.len();
                assert!(limits_apply, "{bytes:02x?} grew by encoding it");
                assert_eq!(second.decode(&mut again), Ok(Some(packet)), "{bytes:02x?}");
            }
            Ok(None) => {}
            Err(error) => {
                refused += 1;
                assert!(error.reason().is_error());
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert!(
        survivors > MUTANTS / 20,
        "only {survivors} survivors: the test looks at nothing"
    );
    assert!(
        refused > MUTANTS / 4,
        "only {refused} refusals: the test looks at nothing"
    );
}

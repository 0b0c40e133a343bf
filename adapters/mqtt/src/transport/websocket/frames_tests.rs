//! Frames in every form that a client may give them, and in those that it may not.

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

use super::*;

/// A frame as a client sends it, in the words of another implementation.
fn frame(payload: &[u8], opcode: OpCode, is_final: bool) -> Vec<u8> {
    let header = FrameHeader {
        is_final,
        opcode,
        mask: Some([0x37, 0xfa, 0x21, 0x3d]),
        ..FrameHeader::default()
    };
    let frame = Frame::from_payload(header, payload.to_vec().into());
    let mut bytes = Vec::new();
    frame.format(&mut bytes).unwrap();
    bytes
}

fn binary(payload: &[u8]) -> Vec<u8> {
    frame(payload, OpCode::Data(Data::Binary), true)
}

fn control(kind: Control, payload: &[u8]) -> Vec<u8> {
    frame(payload, OpCode::Control(kind), true)
}

/// What is decoded of bytes that come in pieces of so many: the payload, the replies, and whether they close.
fn decoded(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, BytesMut, bool), Code> {
    let (mut frames, mut replies) = (Frames::new(), BytesMut::new());
    let (mut payload, mut is_closed) = (Vec::new(), false);
    for piece in bytes.chunks(piece) {
        let mut piece = piece.to_vec();
        let found = frames.decode(&mut piece, &mut replies)?;
        payload.extend_from_slice(&piece[..found.payload]);
        is_closed = found.is_closed;
    }
    Ok((payload, replies, is_closed))
}

#[test]
fn a_masked_message_of_rfc_6455_is_read_as_the_rfc_says() {
    let mut bytes = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let found = Frames::new().decode(&mut bytes, &mut BytesMut::new()).unwrap();
    assert_eq!(&bytes[..found.payload], b"Hello");
}

#[test]
fn what_breaks_the_protocol_is_refused_by_its_code() {
    let unmasked = [0x82, 0x01, b'x'];
    let reserved_bit = [0xc2, 0x80, 0, 0, 0, 0];
    let reserved_opcode = [0x83, 0x80, 0, 0, 0, 0];
    let long_for_its_length = [0x82, 0xfe, 0, 125, 0, 0, 0, 0];
    let longer_for_its_length = [0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
    let longer_than_any = [0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let too_long = [0x82, 0xff, 0, 0, 0, 0, 0, 0x40, 0, 1, 0, 0, 0, 0];
    let long_ping = [0x89, 0xfe, 0, 126, 0, 0, 0, 0];
    let fragmented_ping = [0x09, 0x80, 0, 0, 0, 0];
    let continues_nothing = frame(b"x", OpCode::Data(Data::Continue), true);
    let begins_twice = [frame(b"x", OpCode::Data(Data::Binary), false), binary(b"x")].concat();
    let text_in_a_message = [
        frame(b"x", OpCode::Data(Data::Binary), false),
        frame(b"x", OpCode::Data(Data::Text), true),
    ]
    .concat();
    for (bytes, code) in [
        (unmasked.as_slice(), Code::Protocol),
        (&reserved_bit, Code::Protocol),
        (&reserved_opcode, Code::Protocol),
        (&long_for_its_length, Code::Protocol),
        (&longer_for_its_length, Code::Protocol),
        (&longer_than_any, Code::Protocol),
        (&too_long, Code::TooLarge),
        (&long_ping, Code::Protocol),
        (&fragmented_ping, Code::Protocol),
        (&continues_nothing, Code::Protocol),
        (&begins_twice, Code::Protocol),
        (&text_in_a_message, Code::Protocol),
        (&frame(b"x", OpCode::Data(Data::Text), true), Code::Unsupported),
        (&control(Control::Close, &[3]), Code::Protocol),
        (&control(Control::Close, &[3, 0xe8, 0xff]), Code::Protocol),
    ] {
        assert_eq!(decoded(bytes, 1), Err(code), "{bytes:02x?}");
        assert_eq!(decoded(bytes, bytes.len()), Err(code), "{bytes:02x?}");
    }
}

#[test]
fn nothing_is_passed_on_after_a_close_and_it_is_answered_once() {
    let close = control(Control::Close, &[3, 0xe8, b'b', b'y', b'e']);
    let bytes = [binary(b"before"), close.clone(), binary(b"after"), close].concat();
    for piece in [1, 7, bytes.len()] {
        let (payload, replies, is_closed) = decoded(&bytes, piece).unwrap();
        assert_eq!((payload.as_slice(), is_closed), (b"before".as_slice(), true));
        assert_eq!(replies.as_ref(), [0x88, 2, 3, 0xe8]);
    }
}

#[test]
fn a_flood_of_pings_has_bounded_answers() {
    let pings = control(Control::Ping, &[7; CONTROL_BYTES_MAX]).repeat(1_000);
    let (_, replies, _) = decoded(&pings, 8_192).unwrap();
    assert!(replies.len() <= WEBSOCKET_REPLIES_BYTES_MAX + CONTROL_BYTES_MAX + 2);
}

#[test]
fn a_frame_of_ours_is_read_by_another_implementation() {
    for length in [0, 1, 125, 126, 65_535, 65_536] {
        let payload = vec![b'x'; length];
        let mut bytes = BytesMut::new();
        put_binary(&mut bytes, &payload);
        let mut theirs = Vec::new();
        let frame = Frame::message(payload, OpCode::Data(Data::Binary), true);
        frame.format(&mut theirs).unwrap();
        assert!(bytes == theirs, "{length}");
    }
}

proptest! {
    /// A message in any fragments, with pings between them, in any pieces, is the same bytes.
    #[test]
    fn payload_is_the_same_however_it_is_cut(
        fragments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..8),
        piece in 1_usize..400,
    ) {
        let mut bytes = Vec::new();
        for (index, fragment) in fragments.iter().enumerate() {
            let kind = if index == 0 { Data::Binary } else { Data::Continue };
            bytes.extend(frame(fragment, OpCode::Data(kind), index + 1 == fragments.len()));
            bytes.extend(control(Control::Ping, &[index as u8]));
        }
        let (payload, replies, is_closed) = decoded(&bytes, piece).unwrap();
        prop_assert_eq!(payload, fragments.concat());
        let pongs: Vec<u8> = (0..fragments.len()).flat_map(|index| [0x8a, 1, index as u8]).collect();
        prop_assert_eq!(replies.as_ref(), pongs);
        prop_assert!(!is_closed);
    }

    /// Nothing panics, and the pieces that bytes come in decide nothing.
    #[test]
    fn any_bytes_are_judged_alike_however_they_are_cut(
        start in prop::sample::select(vec![0x02_u8, 0x82, 0x80, 0x88, 0x89, 0x8a]),
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        piece in 1_usize..16,
    ) {
        let bytes = [&[start, 0x80 | bytes.len() as u8], bytes.as_slice()].concat();
        prop_assert_eq!(decoded(&bytes, piece), decoded(&bytes, bytes.len()));
    }
}

//! Frames of RFC 6455 from a client, without a socket: payload is unmasked where it lies and passed on as it comes.
//!
//! The crates that were looked at hand over a frame or a message once it is whole, so a stranger could have the platform hold as much
//! as its largest message. To MQTT the bounds of frames mean nothing (MQTT 5, section 6), so nothing is put together here.
//!
//! **Invariants:** nothing is held but a header and a control frame; payload is that of binary messages alone; after a violation or a
//! Close nothing more is passed on.

use bytes::{BufMut as _, BytesMut};

use crate::limits::{WEBSOCKET_FRAME_BYTES_MAX, WEBSOCKET_REPLIES_BYTES_MAX};

/// The longest header: two bytes, a length of eight, a mask of four.
const HEADER_BYTES_MAX: usize = 14;
/// The longest payload of a control frame (RFC 6455 section 5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// The bit of a frame's first byte that ends a message.
const FINAL: u8 = 0x80;
/// The bits that only extensions use, and none is offered.
const RESERVED: u8 = 0x70;
/// The bit of a frame's second byte that says that it is masked, as a client's must be.
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// Why a connection is closed: the codes of RFC 6455 section 7.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Normal = 1000,
    Protocol = 1002,
    Unsupported = 1003,
    TooLarge = 1009,
}

/// What was found in some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Bytes of payload, which now stand at the beginning.
    pub(super) payload: usize,
    /// The peer closes: nothing more is to come.
    pub(super) is_closed: bool,
}

/// Where a stream of frames stands.
pub(super) struct Frames {
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    /// Payload of the current frame that is still to come.
    left: u64,
    /// Turned so that its first byte is for the next one of payload.
    mask: [u8; 4],
    opcode: u8,
    is_in_message: bool,
    is_closed: bool,
    control: [u8; CONTROL_BYTES_MAX],
    control_bytes: usize,
}

impl Frames {
    pub(super) const fn new() -> Self {
        Self {
            header: [0; HEADER_BYTES_MAX],
            header_bytes: 0,
            left: 0,
            mask: [0; 4],
            opcode: CONTINUATION,
            is_in_message: false,
            is_closed: false,
            control: [0; CONTROL_BYTES_MAX],
            control_bytes: 0,
        }
    }

    /// Takes all of `bytes`, moves the payload in them to their beginning, and writes into `replies` what the peer is owed.
    ///
    /// # Errors
    /// How the peer breaks the protocol. Payload that came before that is not passed on.
    pub(super) fn decode(&mut self, bytes: &mut [u8], replies: &mut BytesMut) -> Result<Decoded, Code> {
        let (mut at, mut payload) = (0, 0);
        while at < bytes.len() && !self.is_closed {
            if self.left == 0 {
                self.header[self.header_bytes] = bytes[at];
                (self.header_bytes, at) = (self.header_bytes + 1, at + 1);
                if self.header_bytes < self.header_length()? {
                    continue;
                }
                self.begin()?;
            } else {
                let rest = bytes.len() - at;
                let count = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                unmask(&mut bytes[at..at + count], &mut self.mask);
                if is_control(self.opcode) {
                    let room = &mut self.control[self.control_bytes..][..count];
                    room.copy_from_slice(&bytes[at..at + count]);
                    self.control_bytes += count;
                } else {
                    bytes.copy_within(at..at + count, payload);
                    payload += count;
                }
                (self.left, at) = (self.left - count as u64, at + count);
            }
            if self.left == 0 {
                self.finish(replies)?;
            }
        }
        Ok(Decoded {
            payload,
            is_closed: self.is_closed,
        })
    }

    /// Bytes of the header, as far as can be told from those that are there: more than there are, until it is whole.
    fn header_length(&self) -> Result<usize, Code> {
        let [first, second, ..] = self.header;
        if self.header_bytes == 1 {
            return self.check_beginning(first).map(|()| 2);
        }
        if second & MASKED == 0 {
            return Err(Code::Protocol);
        }
        let length = second & !MASKED;
        if is_control(first & !FINAL) && usize::from(length) > CONTROL_BYTES_MAX {
            return Err(Code::Protocol);
        }
        Ok(match length {
            0..=125 => 6,
            126 => 8,
            _ => HEADER_BYTES_MAX,
        })
    }

    /// Checks the first byte of a frame.
    fn check_beginning(&self, first: u8) -> Result<(), Code> {
        let is_final = first & FINAL != 0;
        match first & !FINAL {
            reserved if reserved & RESERVED != 0 => Err(Code::Protocol),
            CONTINUATION if self.is_in_message => Ok(()),
            BINARY if !self.is_in_message => Ok(()),
            TEXT if !self.is_in_message => Err(Code::Unsupported),
            CLOSE | PING | PONG if is_final => Ok(()),
            _ => Err(Code::Protocol),
        }
    }

    /// Takes the header, which is whole.
    fn begin(&mut self) -> Result<(), Code> {
        let mut number = [0; 8];
        let (length, least) = match self.header_bytes {
            6 => (u64::from(self.header[1] & !MASKED), 0),
            8 => (u64::from(u16::from_be_bytes([self.header[2], self.header[3]])), 126),
            _ => {
                number.copy_from_slice(&self.header[2..10]);
                (u64::from_be_bytes(number), 1 << 16)
            }
        };
        if length < least || length > i64::MAX as u64 {
            return Err(Code::Protocol);
        }
        if length > WEBSOCKET_FRAME_BYTES_MAX {
            return Err(Code::TooLarge);
        }
        self.mask
            .copy_from_slice(&self.header[self.header_bytes - 4..self.header_bytes]);
        self.opcode = self.header[0] & !FINAL;
        if !is_control(self.opcode) {
            self.is_in_message = self.header[0] & FINAL == 0;
        }
        (self.left, self.header_bytes, self.control_bytes) = (length, 0, 0);
        Ok(())
    }

    /// Answers the current frame, which is whole, if it asks for that.
    fn finish(&mut self, replies: &mut BytesMut) -> Result<(), Code> {
        let said = &self.control[..self.control_bytes];
        match self.opcode {
            // Who sends pings and does not take their answers is answered no more.
            PING if replies.len() < WEBSOCKET_REPLIES_BYTES_MAX => put_frame(replies, PONG, said),
            CLOSE => {
                let code = match said {
                    [] => &[][..],
                    [_] => return Err(Code::Protocol),
                    [_, _, reason @ ..] if str::from_utf8(reason).is_ok() => &said[..2],
                    _ => return Err(Code::Protocol),
                };
                put_frame(replies, CLOSE, code);
                self.is_closed = true;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Adds a binary message of one frame.
pub(super) fn put_binary(bytes: &mut BytesMut, payload: &[u8]) {
    put_frame(bytes, BINARY, payload);
}

/// Adds a Close.
pub(super) fn put_close(bytes: &mut BytesMut, code: Code) {
    put_frame(bytes, CLOSE, &(code as u16).to_be_bytes());
}

/// Adds a frame, not masked, as a server sends it.
fn put_frame(bytes: &mut BytesMut, opcode: u8, payload: &[u8]) {
    bytes.reserve(payload.len() + 10);
    bytes.put_u8(FINAL | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => bytes.put_u8(length),
        (_, Ok(length)) => {
            bytes.put_u8(126);
            bytes.put_u16(length);
        }
        _ => {
            bytes.put_u8(127);
            bytes.put_u64(payload.len() as u64);
        }
    }
    bytes.put_slice(payload);
}

const fn is_control(opcode: u8) -> bool {
    opcode & 0x8 != 0
}

/// Takes the mask off, and turns it for what comes next.
fn unmask(bytes: &mut [u8], mask: &mut [u8; 4]) {
    let [a, b, c, d] = *mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let masked = u64::from_ne_bytes([
            chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7],
        ]);
        chunk.copy_from_slice(&(masked ^ wide).to_ne_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    mask.rotate_left(bytes.len() % 4);
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;

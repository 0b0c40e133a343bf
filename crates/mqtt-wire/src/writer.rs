//! Where a packet is written to: first into a [`Measure`], which counts and checks, then into the real buffer.
//!
//! Both run the same code, so that a length prefix can't disagree with what follows it.

use bytes::{BufMut, BytesMut};

use crate::EncodeError;

/// Takes the bytes of a packet.
pub(crate) trait Sink {
    /// Bytes that need no prefix.
    fn raw(&mut self, bytes: &[u8]);

    /// What must be true of the packet. Only a measuring sink listens.
    fn check(&mut self, result: Result<(), EncodeError>);

    fn u8(&mut self, value: u8) {
        self.raw(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    /// A variable byte integer; the value is at most 268,435,455.
    fn varint(&mut self, value: u32) {
        let mut rest = value;
        while rest > 0x7F {
            self.u8((rest & 0x7F) as u8 | 0x80);
            rest >>= 7;
        }
        self.u8(rest as u8);
    }

    /// Bytes after two bytes of length.
    fn binary(&mut self, bytes: &[u8], field: &'static str) {
        let Ok(length) = u16::try_from(bytes.len()) else {
            return self.check(Err(EncodeError::BinaryTooLong(field)));
        };
        self.u16(length);
        self.raw(bytes);
    }
}

impl Sink for BytesMut {
    fn raw(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }

    fn check(&mut self, result: Result<(), EncodeError>) {
        debug_assert_eq!(result, Ok(()), "a packet is written only after it was measured");
    }
}

/// Counts the bytes of a packet and keeps the first thing that is wrong with it.
#[derive(Default)]
pub(crate) struct Measure {
    bytes: usize,
    fault: Option<EncodeError>,
}

impl Measure {
    /// The bytes counted, or what is wrong.
    pub(crate) fn finish(self) -> Result<u32, EncodeError> {
        match self.fault {
            Some(fault) => Err(fault),
            None => u32::try_from(self.bytes)
                .ok()
                .filter(|bytes| *bytes <= REMAINING_LENGTH_MAX)
                .ok_or(EncodeError::PacketTooLarge),
        }
    }
}

impl Sink for Measure {
    fn raw(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len());
    }

    fn check(&mut self, result: Result<(), EncodeError>) {
        if let Err(fault) = result {
            self.fault.get_or_insert(fault);
        }
    }
}

/// The largest value of a variable byte integer.
pub(crate) const REMAINING_LENGTH_MAX: u32 = 268_435_455;

/// How many bytes a variable byte integer takes.
pub(crate) const fn varint_bytes(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

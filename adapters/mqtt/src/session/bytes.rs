//! The bytes of a record: what numbers and lists look like in it.

use bytes::{Buf as _, BufMut as _};

/// Seven bits to a byte, the lowest first; a byte with the highest bit set has more behind it.
pub(crate) fn put_number(value: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        value.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    value.put_u8(number as u8);
}

/// What is left of a value.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.0.try_get_u16().ok()
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            number |= (bits << shift >> shift == bits).then_some(bits << shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.0.try_get_u32().ok()
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.0.try_get_u64().ok()
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.0.try_get_i64().ok()
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// As many as a number says, in bytes.
    pub(crate) fn long(&mut self, bytes_max: usize) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        (length <= bytes_max).then(|| self.bytes(length))?
    }

    /// As many as a number says, `count_max` at most.
    pub(crate) fn list<T>(&mut self, count_max: usize, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= count_max).then(|| (0..count).map(|_| read(self)).collect())?
    }
}

/// As many bytes as are said before them.
pub(crate) fn put_long(value: &mut Vec<u8>, bytes: &[u8]) {
    put_number(value, bytes.len() as u64);
    value.put_slice(bytes);
}

//! Takes fields off the front of a complete frame, as slices of it.

use bytes::{Buf, Bytes};

use crate::{DecodeError, Limits, PacketId, PacketType, ReasonCode, TopicError, Utf8Bytes, topic};

/// What is left of a frame or of a block in it.
pub(crate) struct Reader(Bytes);

impl Reader {
    pub(crate) const fn new(frame: Bytes) -> Self {
        Self(frame)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.0.try_get_u8().map_err(|_| DecodeError::Truncated(field))
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.0.try_get_u16().map_err(|_| DecodeError::Truncated(field))
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.0.try_get_u32().map_err(|_| DecodeError::Truncated(field))
    }

    pub(crate) fn varint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let (value, size) = varint(&self.0, field)?.ok_or(DecodeError::Truncated(field))?;
        self.0.advance(size);
        Ok(value)
    }

    pub(crate) fn packet_id(&mut self, packet: PacketType) -> Result<PacketId, DecodeError> {
        PacketId::new(self.u16("packet identifier")?).ok_or(DecodeError::PacketIdZero(packet))
    }

    /// Binary data after its two bytes of length.
    pub(crate) fn binary(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let bytes = usize::from(self.u16(field)?);
        self.take(bytes, field)
    }

    /// A UTF-8 string after its two bytes of length.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<Utf8Bytes, DecodeError> {
        let bytes = self.binary(field)?;
        Utf8Bytes::try_from(bytes).map_err(|cause| DecodeError::Text { field, cause })
    }

    /// A topic name within the limits. That it is an MQTT string leaves less to check than [`topic::valid_name`] does.
    pub(crate) fn topic_name(&mut self, field: &'static str, limits: &Limits) -> Result<Utf8Bytes, DecodeError> {
        let name = self.text(field)?;
        let (has_wildcard, levels) = topic::survey(&name);
        if name.is_empty() {
            return Err(DecodeError::Topic {
                field,
                cause: TopicError::Empty,
            });
        }
        if has_wildcard {
            return Err(DecodeError::Topic {
                field,
                cause: TopicError::Wildcard,
            });
        }
        if name.len() > usize::from(limits.topic_bytes_max) || levels > u32::from(limits.topic_levels_max) {
            return Err(DecodeError::TopicNameTooLong(field));
        }
        Ok(name)
    }

    /// A reason code that the standard lists for this packet.
    pub(crate) fn reason(&mut self, packet: PacketType) -> Result<ReasonCode, DecodeError> {
        let code = self.u8("the reason code")?;
        ReasonCode::from_u8(code)
            .filter(|reason| reason.is_allowed_in(packet))
            .ok_or(DecodeError::Reason { packet, code })
    }

    /// Whether a string or binary data of no bytes comes next.
    pub(crate) fn is_next_empty(&self) -> bool {
        self.0.starts_with(&[0, 0])
    }

    /// Passes over a property block of no bytes; `false` where there is another one.
    pub(crate) fn skip_empty_block(&mut self) -> bool {
        let is_empty = self.0.first() == Some(&0);
        if is_empty {
            self.0.advance(1);
        }
        is_empty
    }

    /// The next bytes as a reader of their own.
    pub(crate) fn block(&mut self, bytes: u32, field: &'static str) -> Result<Self, DecodeError> {
        let bytes = usize::try_from(bytes).map_err(|_| DecodeError::Truncated(field))?;
        self.take(bytes, field).map(Self)
    }

    /// All that is left, to the end of the frame.
    pub(crate) fn rest(self) -> Bytes {
        self.0
    }

    /// Nothing may be left.
    pub(crate) fn end(&self, packet: PacketType) -> Result<(), DecodeError> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::TrailingBytes { packet, bytes }),
        }
    }

    fn take(&mut self, bytes: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        if bytes > self.0.len() {
            return Err(DecodeError::Truncated(field));
        }
        Ok(self.0.split_to(bytes))
    }
}

/// A variable byte integer (section 1.5.5) at the front of some bytes, and how many it took; `None` while it is cut.
pub(crate) fn varint(bytes: &[u8], field: &'static str) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return match *byte == 0 && index > 0 {
                true => Err(DecodeError::VarintNotMinimal(field)),
                false => Ok(Some((value, index + 1))),
            };
        }
    }
    match bytes.len() >= 4 {
        true => Err(DecodeError::VarintTooLong(field)),
        false => Ok(None),
    }
}

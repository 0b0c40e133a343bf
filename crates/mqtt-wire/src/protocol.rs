//! The beginning of a CONNECT: which protocol is spoken.

use crate::reader::Reader;
use crate::writer::Sink;
use crate::{DecodeError, Version};

/// The name of MQTT since 3.1.1, and the one before.
const NAME: &[u8] = b"MQTT";
const NAME_OF_3_1: &[u8] = b"MQIsdp";
const LEVEL_OF_3_1: u8 = 3;
/// Set in the level by a bridge.
const BRIDGE: u8 = 1 << 7;

/// Name and level of a CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) version: Version,
    pub(crate) is_3_1: bool,
    pub(crate) is_bridge: bool,
}

impl Protocol {
    /// Reads name and level. Where they are refused, the version to say so in is there as well, if there is one.
    pub(crate) fn read(reader: &mut Reader) -> Result<Self, (DecodeError, Option<Version>)> {
        let name = reader.binary("the protocol name").map_err(|error| (error, None))?;
        let is_3_1 = name == NAME_OF_3_1;
        if !is_3_1 && name != NAME {
            return Err((DecodeError::ProtocolName, None));
        }
        // Clients of 3.1 understand a CONNACK of 3.1.1.
        let known = is_3_1.then_some(Version::V3);
        let level = reader.u8("the protocol level").map_err(|error| (error, known))?;
        let (version, is_bridge) = match (is_3_1, level & !BRIDGE) {
            (true, LEVEL_OF_3_1) | (false, 4) => (Version::V3, level & BRIDGE != 0),
            (false, _) if level == Version::V5.level() => (Version::V5, false),
            _ => {
                let is_older = is_3_1 || level & !BRIDGE < Version::V5.level();
                let nearest = if is_older { Version::V3 } else { Version::V5 };
                return Err((DecodeError::ProtocolLevel(level), Some(nearest)));
            }
        };
        Ok(Self {
            version,
            is_3_1,
            is_bridge,
        })
    }

    pub(crate) fn write<S: Sink>(self, sink: &mut S) {
        let (name, level) = match self.is_3_1 {
            true => (NAME_OF_3_1, LEVEL_OF_3_1),
            false => (NAME, self.version.level()),
        };
        sink.binary(name, "the protocol name");
        sink.u8(if self.is_bridge { level | BRIDGE } else { level });
    }

    /// Whether a client without a name is refused: 3.1 knows no such client, 3.1.1 has no session for one.
    pub(crate) const fn needs_client_id(self, clean_start: bool) -> bool {
        match self.version {
            Version::V3 => self.is_3_1 || !clean_start,
            Version::V5 => false,
        }
    }
}

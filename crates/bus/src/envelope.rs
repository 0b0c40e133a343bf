//! Envelopes on their way into the log and out of it: validated and encoded once, decoded once, ids typed.
//!
//! The message itself is `trunkline.messages.v1.Envelope`; this file adds no field to it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use trunkline_core::{ChannelId, ClientId, DomainId, MessageId, SessionId};
use trunkline_proto::messages::v1::Envelope;

use crate::log::{Incarnation, Shard};

/// Largest payload unless the configuration says otherwise.
pub const PAYLOAD_BYTES_DEFAULT: usize = 256 * 1024;
/// Largest payload that any configuration may allow.
pub const PAYLOAD_BYTES_MAX: usize = 1_000_000;
/// Largest envelope without its payload: topics, user properties, correlation data.
pub const ENVELOPE_OVERHEAD_BYTES_MAX: usize = 128 * 1024;

/// Why bytes or fields are not an envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The payload is over the limit in force.
    #[error("the payload has {bytes} bytes and may have {bytes_max}")]
    PayloadTooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// Bytes that it may have.
        bytes_max: usize,
    },
    /// All that stands around the payload is over [`ENVELOPE_OVERHEAD_BYTES_MAX`].
    #[error("the envelope around the payload has {bytes} bytes and may have {ENVELOPE_OVERHEAD_BYTES_MAX}")]
    OverheadTooLarge {
        /// Bytes of the envelope without its payload.
        bytes: usize,
    },
    /// A field that must hold an id of 16 bytes does not.
    #[error("`{field}` of the envelope is not an id of 16 bytes")]
    Id {
        /// Name of the field in the contract.
        field: &'static str,
    },
    /// The bytes are not an envelope.
    #[error("the bytes are not an envelope")]
    Malformed,
}

/// An envelope that is fit to be appended: ids present, sizes within limits, encoded exactly once.
#[derive(Clone)]
pub struct NewEntry {
    id: MessageId,
    domain: DomainId,
    envelope: Arc<Envelope>,
    encoded: Vec<u8>,
    may_repeat: bool,
}

impl NewEntry {
    /// Checks and encodes `envelope`. `payload_bytes_max` above [`PAYLOAD_BYTES_MAX`] counts as that.
    ///
    /// # Errors
    /// A missing id, a payload over the limit, or an envelope over its own.
    pub fn seal(envelope: Envelope, payload_bytes_max: usize) -> Result<Self, EnvelopeError> {
        let payload_bytes_max = payload_bytes_max.min(PAYLOAD_BYTES_MAX);
        if envelope.payload.len() > payload_bytes_max {
            return Err(EnvelopeError::PayloadTooLarge {
                bytes: envelope.payload.len(),
                bytes_max: payload_bytes_max,
            });
        }
        let overhead = envelope.encoded_len() - envelope.payload.len();
        if overhead > ENVELOPE_OVERHEAD_BYTES_MAX {
            return Err(EnvelopeError::OverheadTooLarge { bytes: overhead });
        }
        let ids = Ids::read(&envelope)?;
        Ok(Self {
            id: ids.message,
            domain: ids.domain,
            encoded: envelope.encode_to_vec(),
            envelope: Arc::new(envelope),
            may_repeat: true,
        })
    }

    /// The same entry, of which its maker promises that the id was made for it alone and will not be appended a second time: a log may
    /// keep it together with others, which is faster, and then need not notice its id.
    #[must_use]
    pub fn unrepeated(self) -> Self {
        Self {
            may_repeat: false,
            ..self
        }
    }

    /// Whether the log must notice when the same id is appended again.
    pub const fn may_repeat(&self) -> bool {
        self.may_repeat
    }

    /// The message's id: the key of de-duplication.
    pub const fn id(&self) -> MessageId {
        self.id
    }

    /// The domain that the message belongs to: decides its shard and its quota.
    pub const fn domain(&self) -> DomainId {
        self.domain
    }

    /// The message.
    pub const fn envelope(&self) -> &Arc<Envelope> {
        &self.envelope
    }

    /// The bytes that the log keeps, as quotas count them.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The message and its bytes, apart.
    pub(crate) fn into_parts(self) -> (Arc<Envelope>, Vec<u8>) {
        (self.envelope, self.encoded)
    }
}

impl fmt::Debug for NewEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NewEntry({}, {} bytes)", self.id, self.encoded.len())
    }
}

/// One entry as the log gives it back. Cloning shares the envelope.
#[derive(Debug, Clone)]
pub struct StoredEntry {
    /// The shard that holds it.
    pub shard: Shard,
    /// Its place in the shard: it rises from entry to entry, and need not by one.
    pub sequence: u64,
    /// The log that gave the sequence.
    pub incarnation: Incarnation,
    /// The message.
    pub envelope: Arc<Envelope>,
}

/// Decodes one stored envelope; its byte fields share `encoded`.
///
/// # Errors
/// [`EnvelopeError::Malformed`] or a missing id.
pub fn decode(encoded: Bytes) -> Result<Envelope, EnvelopeError> {
    let envelope = Envelope::decode(encoded).map_err(|_| EnvelopeError::Malformed)?;
    Ids::read(&envelope)?;
    Ok(envelope)
}

/// The ids that every envelope carries, typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The message.
    pub message: MessageId,
    /// Its domain.
    pub domain: DomainId,
    /// Its channel.
    pub channel: ChannelId,
}

impl Ids {
    /// Reads the ids of `envelope`.
    ///
    /// # Errors
    /// [`EnvelopeError::Id`] names the first field that holds none.
    pub fn read(envelope: &Envelope) -> Result<Self, EnvelopeError> {
        let missing = |field| move || EnvelopeError::Id { field };
        Ok(Self {
            message: MessageId::from_slice(&envelope.id).ok_or_else(missing("id"))?,
            domain: DomainId::from_slice(&envelope.domain_id).ok_or_else(missing("domain_id"))?,
            channel: ChannelId::from_slice(&envelope.channel_id).ok_or_else(missing("channel_id"))?,
        })
    }
}

/// The publisher's id when the publisher is a client.
pub fn publishing_client(envelope: &Envelope) -> Option<ClientId> {
    use trunkline_proto::messages::v1::PublisherKind;
    let publisher = envelope.publisher.as_ref()?;
    let is_client = publisher.kind == i32::from(PublisherKind::Client);
    is_client.then(|| ClientId::from_slice(&publisher.id)).flatten()
}

/// The session that carried the message, if it says so.
pub fn session(envelope: &Envelope) -> Option<SessionId> {
    SessionId::from_slice(&envelope.session_id)
}

/// An id as an envelope carries it.
pub fn id_bytes(id: &[u8; 16]) -> Bytes {
    Bytes::copy_from_slice(id)
}

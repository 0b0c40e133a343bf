//! One retained message as `State` keeps it, and under which key.

use bytes::{BufMut as _, Bytes};
use trunkline_bus::log::Incarnation;
use trunkline_bus::state::Key;
use trunkline_bus::{NewEntry, StoredEntry, envelope};
use trunkline_core::digest::{DigestKey, KEY_BYTES};
use trunkline_core::{ChannelId, DomainId};
use trunkline_proto::messages::v1::Envelope;

/// Layout of a value: this byte, incarnation, sequence, envelope.
const FORMAT: u8 = 1;
const HEAD_BYTES: usize = 1 + 8 + 8;

/// Where a message is retained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(super) domain_id: DomainId,
    pub(super) channel_id: ChannelId,
    pub(super) subtopic: Box<str>,
}

/// A retained message. One without a payload says that there is none, and since when: a node that is behind must not bring back what
/// another has removed.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) incarnation: Incarnation,
    pub(super) sequence: u64,
    pub(super) envelope: Envelope,
}

impl Slot {
    pub(crate) fn new(domain_id: DomainId, channel_id: ChannelId, subtopic: &str) -> Self {
        Self {
            domain_id,
            channel_id,
            subtopic: subtopic.into(),
        }
    }

    /// The slot of a message; `None` when it does not say where it belongs.
    pub(super) fn of(envelope: &Envelope) -> Option<Self> {
        let domain_id = DomainId::from_slice(&envelope.domain_id)?;
        let channel_id = ChannelId::from_slice(&envelope.channel_id)?;
        Some(Self::new(domain_id, channel_id, &envelope.subtopic))
    }

    pub(crate) const fn domain_id(&self) -> DomainId {
        self.domain_id
    }

    /// What stands for the subtopic, which may be longer than a key and have any character.
    pub(crate) fn digest(&self) -> [u8; 32] {
        DigestKey::new([0; KEY_BYTES]).digest(&[self.subtopic.as_bytes()])
    }

    pub(super) fn key(&self) -> Key {
        key_of((self.domain_id, self.channel_id), self.digest())
    }
}

/// The key of the slot of a channel whose subtopic has this digest.
pub(super) fn key_of((domain_id, channel_id): (DomainId, ChannelId), digest: [u8; 32]) -> Key {
    let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Key::durable(format!("{}.{channel_id}.{name}", domain_prefix(domain_id)))
}

/// What every key of a domain begins with.
fn domain_prefix(domain_id: DomainId) -> String {
    format!("mqtt.retained.{domain_id}")
}

/// The prefix of what a domain retains.
pub(super) fn domain_key(domain_id: DomainId) -> Key {
    Key::durable(domain_prefix(domain_id))
}

impl Record {
    pub(super) fn of(entry: &StoredEntry) -> Self {
        Self {
            incarnation: entry.incarnation,
            sequence: entry.sequence,
            envelope: (*entry.envelope).clone(),
        }
    }

    /// Which of two records is the later one.
    pub(super) const fn place(&self) -> (Incarnation, u64) {
        (self.incarnation, self.sequence)
    }

    pub(super) fn is_set(&self) -> bool {
        !self.envelope.payload.is_empty()
    }

    pub(super) const fn has_lapsed(&self, now_ns: i64) -> bool {
        self.envelope.expires_at != 0 && self.envelope.expires_at <= now_ns
    }

    /// `None` for an envelope that no log can have held.
    pub(super) fn encode(&self) -> Option<Bytes> {
        let sealed = NewEntry::seal(self.envelope.clone(), usize::MAX).ok()?;
        let mut value = Vec::with_capacity(HEAD_BYTES + sealed.encoded().len());
        value.put_u8(FORMAT);
        value.put_i64(self.incarnation.0);
        value.put_u64(self.sequence);
        value.put_slice(sealed.encoded());
        Some(value.into())
    }

    /// `None` for a value of another format.
    pub(super) fn decode(mut value: Bytes) -> Option<Self> {
        let head = (value.len() >= HEAD_BYTES).then(|| value.split_to(HEAD_BYTES))?;
        let number = |range: std::ops::Range<usize>| head.get(range)?.try_into().ok().map(u64::from_be_bytes);
        Some(Self {
            incarnation: (head[0] == FORMAT).then_some(Incarnation(number(1..9)?.cast_signed()))?,
            sequence: number(9..17)?,
            envelope: envelope::decode(value).ok()?,
        })
    }
}

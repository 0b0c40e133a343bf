//! The record of a session as `State` keeps it, and under which key.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes};
use trunkline_bus::log::Incarnation;
use trunkline_bus::state::Key;
use trunkline_core::digest::{DigestKey, KEY_BYTES};
use trunkline_core::{ChannelId, ClientId, MessageId, NodeId, SessionId};
use trunkline_mqtt_wire::{PacketId, QoS, SubscriptionId};
use uuid::Uuid;

use super::bytes::{Reader, put_long, put_number};
use crate::limits::{
    EXPIRY_NEVER_S, GENERATION_RUNS_MAX, RECEIVED_KEPT_MAX, SESSION_BYTES_MAX, SESSION_TOPIC_BYTES_MAX,
    SUBSCRIPTIONS_MAX, WINDOW_MAX,
};
use crate::machine::generations::Run;
use crate::machine::{Awaits, Generations, Kept, Sent, Source};
use crate::subscription::Options;
use crate::will::Testament;

/// The layout of a value, which begins with this byte.
const FORMAT: u8 = 2;
/// Ids received at QoS 2 above the limit that one connection can still add.
const RECEIVED_SLACK: usize = 1_024;

/// A session while nobody looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The session, as its messages carry it.
    pub(crate) session_id: SessionId,
    /// The node that has its connection, or publishes its will.
    pub(crate) owner: Option<NodeId>,
    /// How often it was taken.
    pub(crate) epoch: u64,
    /// Since when it has no connection, in milliseconds since the Unix epoch; 0 while it has one.
    pub(crate) left_at_ms: i64,
    /// Whether its last connection left it in order: what it says is all that there is.
    pub(crate) was_left: bool,
    /// The log that its places are of.
    pub(crate) incarnation: Incarnation,
    /// What its connection made of it.
    pub(crate) content: Content,
}

/// What the connection of a session makes of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// Seconds for which it outlives its connection.
    pub(crate) expiry_s: u32,
    /// Everything up to this place of its shard was given to it or passed over. A client is of one domain, and a domain of one shard.
    pub(crate) position: u64,
    /// Where the log ended, as far as its node knew: what it published and the record does not know of is behind.
    pub(crate) head: u64,
    /// What it subscribed to.
    pub(crate) subscriptions: Vec<Stored>,
    /// What the machine goes on with.
    pub(crate) kept: Kept,
    /// What is published when its connection is over, unless the client comes back in time.
    pub(crate) will: Option<Arc<Testament>>,
}

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) filter: Box<str>,
    pub(crate) options: Options,
    /// Messages up to this place are from before it.
    pub(crate) since: u64,
    /// Retained messages that it was not given.
    pub(crate) unsent: Option<Unsent>,
    /// What stands for the group of a shared one.
    pub(crate) group: Option<u64>,
}

/// Which retained messages a subscription is still to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsent {
    /// The place in the log from which on the subscription gets messages as they come.
    pub(crate) up_to: u64,
    /// The subtopic after which to go on; none to begin.
    pub(crate) after: Option<Box<str>>,
}

/// The key of a session: the client stands in it, so that none can take another's. A client id of MQTT may have any character, so a digest
/// stands for it.
pub(crate) fn key_of(client_id: ClientId, mqtt_client_id: &str) -> Key {
    let digest = DigestKey::new([0; KEY_BYTES]).digest(&[mqtt_client_id.as_bytes()]);
    let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Key::durable(format!("{}.{name}", client_key(client_id).name()))
}

/// The prefix of a client's sessions.
pub(super) fn client_key(client_id: ClientId) -> Key {
    let slice = slice_key(client_id.as_bytes()[15]);
    Key::durable(format!("{}.{client_id}", slice.name()))
}

/// The prefix of one slice of all sessions: the last byte of their clients' ids is `slice`.
pub(super) fn slice_key(slice: u8) -> Key {
    Key::durable(format!("mqtt.session.{slice:02x}"))
}

/// The id in the log of a message at QoS 2: equal when the client sends it again, after whatever crash, and of no other message.
///
/// It begins with the time of its session, since the log takes an id that is above all that it knows for a new one without looking.
pub(crate) fn message_id(session_id: SessionId, packet_id: PacketId, generation: u32) -> MessageId {
    let parts: [&[u8]; 3] = [
        session_id.as_bytes(),
        &packet_id.get().to_be_bytes(),
        &generation.to_be_bytes(),
    ];
    let digest = DigestKey::new([0; KEY_BYTES]).digest(&parts);
    let mut bytes = *session_id.as_bytes();
    bytes[6..].copy_from_slice(&digest[..10]);
    bytes[6] = (bytes[6] & 0x0f) | 0x70;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    MessageId::from_uuid(Uuid::from_bytes(bytes))
}

impl Record {
    /// The session once its connection is over, which is at `now_ms` unless it was over before.
    pub(crate) fn left(self, now_ms: i64) -> Self {
        Self {
            owner: None,
            left_at_ms: match self.left_at_ms {
                0 => now_ms,
                left_at_ms => left_at_ms,
            },
            ..self
        }
    }

    /// The same by somebody who takes it from a connection that cannot leave it, which is counted, or looks after it since.
    pub(crate) fn put_aside(self, now_ms: i64) -> Self {
        let is_counted = self.is_put_aside();
        Self {
            epoch: self.epoch + u64::from(!is_counted),
            ..self.left(now_ms)
        }
    }

    /// Whether its last connection did not leave it, and somebody has taken it since without being one.
    pub(crate) const fn is_put_aside(&self) -> bool {
        self.left_at_ms != 0 && !self.was_left
    }

    /// When its time is over; `None` while it has an owner, and for one that never ends.
    pub(crate) fn over_at_ms(&self) -> Option<i64> {
        (self.owner.is_none() && self.content.expiry_s != EXPIRY_NEVER_S).then(|| self.after_s(self.content.expiry_s))
    }

    /// When its will is due: after the delay or with the end of the session, whichever comes first.
    pub(crate) fn will_at_ms(&self) -> Option<i64> {
        let will = self.content.will.as_ref().filter(|_| self.owner.is_none())?;
        Some(self.after_s(will.delay_s().min(self.content.expiry_s)))
    }

    /// When somebody has to look after it.
    pub(crate) fn due_at_ms(&self) -> Option<i64> {
        self.will_at_ms().or_else(|| self.over_at_ms())
    }

    /// Whether its time is over at `now_ms`.
    pub(crate) fn has_expired(&self, now_ms: i64) -> bool {
        self.over_at_ms().is_some_and(|over_at_ms| over_at_ms <= now_ms)
    }

    fn after_s(&self, seconds: u32) -> i64 {
        self.left_at_ms.saturating_add(i64::from(seconds) * 1_000)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut value = Vec::with_capacity(128);
        value.put_u8(FORMAT);
        value.put_slice(self.session_id.as_bytes());
        match &self.owner {
            Some(owner) => {
                value.put_u8(1);
                value.put_slice(owner.as_bytes());
            }
            None => value.put_u8(0),
        }
        put_number(&mut value, self.epoch);
        value.put_i64(self.left_at_ms);
        value.put_u8(self.was_left.into());
        value.put_i64(self.incarnation.0);
        value.put_u32(self.content.expiry_s);
        put_number(&mut value, self.content.position);
        put_number(&mut value, self.content.head);
        put_number(&mut value, self.content.subscriptions.len() as u64);
        for subscription in &self.content.subscriptions {
            subscription.encode(&mut value);
        }
        put_number(&mut value, self.content.kept.sent.len() as u64);
        for sent in &self.content.kept.sent {
            put_sent(&mut value, *sent);
        }
        value.put_u16(self.content.kept.last_id);
        put_number(&mut value, self.content.kept.received.len() as u64);
        for id in &self.content.kept.received {
            value.put_u16(id.get());
        }
        let runs = self.content.kept.generations.runs();
        put_number(&mut value, runs.len() as u64);
        for run in runs {
            value.put_u16(run.first);
            put_number(&mut value, run.generation.into());
        }
        match &self.content.will {
            Some(will) => {
                value.put_u8(1);
                will.encode(&mut value);
            }
            None => value.put_u8(0),
        }
        debug_assert!(value.len() <= SESSION_BYTES_MAX, "{} bytes of a session", value.len());
        value.into()
    }

    /// `None` for a value of another format, or one that is damaged.
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut reader = Reader(value);
        if reader.u8()? != FORMAT {
            return None;
        }
        let session_id = SessionId::from_slice(reader.bytes(16)?)?;
        let owner = match reader.u8()? {
            0 => None,
            1 => Some(NodeId::from_slice(reader.bytes(16)?)?),
            _ => return None,
        };
        let record = Self {
            session_id,
            owner,
            epoch: reader.number()?,
            left_at_ms: reader.i64()?,
            was_left: reader.flag()?,
            incarnation: Incarnation(reader.i64()?),
            content: Content {
                expiry_s: reader.u32()?,
                position: reader.number()?,
                head: reader.number()?,
                subscriptions: reader.list(SUBSCRIPTIONS_MAX, Stored::decode)?,
                kept: Kept {
                    sent: reader.list(WINDOW_MAX.into(), Reader::sent)?,
                    last_id: reader.u16()?,
                    received: reader.list(RECEIVED_KEPT_MAX + RECEIVED_SLACK, Reader::packet_id)?,
                    generations: Generations::of_runs(reader.list(GENERATION_RUNS_MAX + 2, Reader::run)?)?,
                },
                will: match reader.flag()? {
                    true => Some(Arc::new(Testament::decode(&mut reader)?)),
                    false => None,
                },
            },
        };
        reader.0.is_empty().then_some(record)
    }
}

impl Stored {
    /// Whether it is a share of what a group is dealt.
    pub(crate) fn is_shared(&self) -> bool {
        self.filter.starts_with("$share/")
    }

    /// Whether it may be a share of what `group` is dealt.
    pub(crate) fn may_be_of(&self, group: u64) -> bool {
        self.is_shared() && self.group.is_none_or(|of| of == group)
    }

    fn encode(&self, value: &mut Vec<u8>) {
        let Options {
            qos,
            no_local,
            retain_as_published,
            id,
        } = self.options;
        put_long(value, self.filter.as_bytes());
        value.put_u8(
            qos as u8
                | u8::from(no_local) << 2
                | u8::from(retain_as_published) << 3
                | u8::from(self.unsent.is_some()) << 4
                | u8::from(self.group.is_some()) << 5,
        );
        put_number(value, id.map_or(0, |id| id.get().into()));
        put_number(value, self.since);
        if let Some(Unsent { up_to, after }) = &self.unsent {
            put_number(value, *up_to);
            value.put_u8(after.is_some().into());
            put_long(value, after.as_deref().unwrap_or_default().as_bytes());
        }
        if let Some(group) = self.group {
            value.put_u64(group);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let filter = reader.long(SESSION_TOPIC_BYTES_MAX)?;
        let flags = reader.u8()?;
        let id = match reader.number()? {
            0 => None,
            id => Some(SubscriptionId::new(u32::try_from(id).ok()?)?),
        };
        Some(Self {
            filter: std::str::from_utf8(filter).ok()?.into(),
            options: Options {
                qos: QoS::from_u8(flags & 0b11)?,
                no_local: flags & 0b100 != 0,
                retain_as_published: flags & 0b1000 != 0,
                id,
            },
            since: reader.number()?,
            unsent: match flags & UNSENT {
                0 => None,
                _ => Some(Unsent::decode(reader)?),
            },
            group: match flags & GROUP {
                0 => None,
                _ => Some(reader.u64()?),
            },
        })
    }
}

/// Marks a subscription that was not given all that was retained for it.
const UNSENT: u8 = 16;
/// Marks one that says its group: those of earlier versions do not.
const GROUP: u8 = 32;

impl Unsent {
    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let (up_to, has_begun) = (reader.number()?, reader.flag()?);
        let after = std::str::from_utf8(reader.long(SESSION_TOPIC_BYTES_MAX)?).ok()?;
        Some(Self {
            up_to,
            after: has_begun.then(|| after.into()),
        })
    }
}

fn put_sent(value: &mut Vec<u8>, sent: Sent) {
    value.put_u16(sent.id.get());
    let awaits = match sent.awaits {
        Awaits::Ack => 0,
        Awaits::Received => 1,
        Awaits::Completed => 2,
    };
    match sent.source {
        Source::Log(sequence) => {
            value.put_u8(awaits);
            put_number(value, sequence);
        }
        Source::Shared { group, sequence } => {
            value.put_u8(awaits | SHARED);
            put_number(value, sequence);
            value.put_u64(group);
        }
        Source::Retained {
            channel_id,
            digest,
            sequence,
        } => {
            value.put_u8(awaits | RETAINED);
            put_number(value, sequence);
            value.put_slice(channel_id.as_bytes());
            value.put_slice(&digest);
        }
    }
}

/// Marks a message that was sent for being retained.
const RETAINED: u8 = 4;
/// Marks a message that a group dealt.
const SHARED: u8 = 8;

impl Reader<'_> {
    fn packet_id(&mut self) -> Option<PacketId> {
        PacketId::new(self.u16()?)
    }

    fn run(&mut self) -> Option<Run> {
        Some(Run {
            first: self.u16()?,
            generation: u32::try_from(self.number()?).ok()?,
        })
    }

    fn sent(&mut self) -> Option<Sent> {
        let id = self.packet_id()?;
        let kind = self.u8()?;
        let awaits = match kind & !(RETAINED | SHARED) {
            0 => Awaits::Ack,
            1 => Awaits::Received,
            2 => Awaits::Completed,
            _ => return None,
        };
        let sequence = self.number()?;
        let source = match kind & (RETAINED | SHARED) {
            0 => Source::Log(sequence),
            SHARED => Source::Shared {
                group: self.u64()?,
                sequence,
            },
            RETAINED => Source::Retained {
                channel_id: ChannelId::from_slice(self.bytes(16)?)?,
                digest: self.bytes(32)?.try_into().ok()?,
                sequence,
            },
            _ => return None,
        };
        Some(Sent { id, awaits, source })
    }
}

#[cfg(test)]
mod tests;

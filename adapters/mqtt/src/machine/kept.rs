//! What outlives a connection: the part of the machine that the session's record keeps, and the packets that leave only once it is kept.
//!
//! A machine whose session outlives its connection writes what must be saved first into a buffer of its own. [`Machine::begin_save`] tells
//! what to save; [`Machine::saved`] lets go what waited for that.

use bytes::BytesMut;
use trunkline_core::ChannelId;
use trunkline_mqtt_wire::{Packet, PacketId};

use super::Machine;
use super::generations::Generations;

/// The part of a session that the machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Messages at QoS 1 and 2 that were sent and not answered to the end, in the order in which they were sent.
    pub sent: Vec<Sent>,
    /// The packet id that was given last; 0 when none was.
    pub last_id: u16,
    /// Packet ids of messages at QoS 2 that the log has and whose PUBREL has not come; they rise.
    pub received: Vec<PacketId>,
    /// How often each packet id of the client was used to the end.
    pub generations: Generations,
}

/// A message that was sent at QoS 1 or 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// What it was sent by.
    pub id: PacketId,
    /// What it waits for.
    pub awaits: Awaits,
    /// Where the message is.
    pub source: Source,
}

/// What a message that was sent waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaits {
    /// QoS 1: PUBACK.
    Ack,
    /// QoS 2: PUBREC.
    Received,
    /// QoS 2: PUBCOMP, since PUBREC came.
    Completed,
}

/// Where a message that was sent can be found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// At this place of the log.
    Log(u64),
    /// At this place of the log, dealt by a group.
    Shared {
        /// What stands for the group.
        group: u64,
        /// The place.
        sequence: u64,
    },
    /// Among what is retained in a channel of the client's domain.
    Retained {
        /// The channel.
        channel_id: ChannelId,
        /// What stands for the subtopic.
        digest: [u8; 32],
        /// The place of the log at which it was published.
        sequence: u64,
    },
}

/// Packets that wait until the session is saved. Those that are being saved leave first.
#[derive(Debug, Default)]
pub(super) struct Held {
    saving: BytesMut,
    next: BytesMut,
    /// Whether something in `next` waits for a save that has not begun.
    is_urgent: bool,
    /// The save until whose end nothing is read.
    stops_for: Option<Stop>,
}

/// A save that reading waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The one that begins next.
    Next,
    /// The one that is under way.
    Saving,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.saving.is_empty() && self.next.is_empty()
    }
}

impl Machine {
    /// Whether the session outlives the connection, so that it is to be saved.
    pub const fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Whether a packet waits for a save that has not begun.
    pub const fn wants_save(&self) -> bool {
        self.held.is_urgent
    }

    /// Counts what changed in the part of the session that is to be saved.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Bytes that wait for a save.
    pub fn held_bytes(&self) -> usize {
        self.held.saving.len() + self.held.next.len()
    }

    /// What is to be saved. To be followed by [`Machine::saved`] before it is called again.
    pub fn begin_save(&mut self) -> Kept {
        debug_assert!(self.held.saving.is_empty(), "one save at a time");
        self.held.saving = self.held.next.split();
        self.held.is_urgent = false;
        if self.held.stops_for == Some(Stop::Next) {
            self.held.stops_for = Some(Stop::Saving);
        }
        self.kept()
    }

    /// What [`Machine::begin_save`] gave is saved: what waited for that leaves.
    pub fn saved(&mut self, out: &mut BytesMut) {
        out.unsplit(std::mem::take(&mut self.held.saving));
        if self.held.stops_for == Some(Stop::Saving) {
            self.held.stops_for = None;
        }
        if !self.held.is_urgent {
            out.unsplit(std::mem::take(&mut self.held.next));
        }
    }

    /// What there is to be kept now. What a group dealt at QoS 1 stays the group's until it is acknowledged.
    pub fn kept(&self) -> Kept {
        let is_kept = |sent: &Sent| sent.awaits != Awaits::Ack || !matches!(sent.source, Source::Shared { .. });
        Kept {
            sent: self.inflight.sent().filter(is_kept).collect(),
            last_id: self.inflight.last_id(),
            received: self.received.ids(),
            generations: self.generations.clone(),
        }
    }

    /// Goes on with a session.
    pub(super) fn resume(&mut self, kept: Kept) {
        self.is_kept = true;
        self.inflight.resume(kept.sent, kept.last_id);
        self.received.resume(&kept.received);
        self.generations = kept.generations;
    }

    /// Sends a packet once what it says is saved.
    pub(super) fn send_saved(&mut self, packet: Packet, out: &mut BytesMut) {
        if !self.is_kept {
            return self.send(packet, out);
        }
        let mut next = std::mem::take(&mut self.held.next);
        self.send(packet, &mut next);
        self.held.next = next;
        self.held.is_urgent = true;
        self.changes += 1;
    }

    /// Writes a PUBLISH: behind what waits to be saved, so that none overtakes another.
    pub(super) fn in_turn<T>(
        &mut self,
        must_be_saved: bool,
        out: &mut BytesMut,
        write: impl FnOnce(&mut BytesMut) -> T,
    ) -> T {
        self.changes += u64::from(self.is_kept);
        if !self.is_kept || (!must_be_saved && self.held.is_empty()) {
            return write(out);
        }
        self.held.is_urgent |= must_be_saved;
        write(&mut self.held.next)
    }

    /// Reads nothing further until the session was saved as it is now.
    pub(super) fn stop_until_saved(&mut self) {
        self.held.is_urgent = true;
        self.held.stops_for = Some(Stop::Next);
    }

    pub(super) const fn is_stopped(&self) -> bool {
        self.held.stops_for.is_some()
    }
}

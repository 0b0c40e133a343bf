//! What was written for a client and may not be with it yet: by which subscriptions, and whether it may still leave.
//!
//! A message is judged when it is written, and a client that reads slowly takes it long after. So bytes leave only while every subscription
//! by which messages among them were written has its grant. Once one is denied the connection ends: most often the stream is in the middle
//! of a message then, and nothing can be said there.
//!
//! How far the client is, is counted in bytes: of each subscription it is known where its last message ends, and how much the stream has
//! handed on. What waits for a save has no such place yet; it leaves after all that has.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use trunkline_mqtt_wire::PacketType;

use crate::limits::UNTAKEN_SUBSCRIPTIONS_MAX;
use crate::subscription::Subscription;

/// What a client has not taken.
#[derive(Default)]
pub(super) struct Untaken {
    /// Bytes that the stream was given, of all that the client was sent.
    given: u64,
    /// Those of them that it has handed on to the system.
    flushed: u64,
    /// The subscriptions by which messages were written that the client may not have taken, in the order of their last ones. Some may have
    /// ended.
    writers: VecDeque<Writer>,
    /// Bytes still to be given of the packet that was begun last.
    rest: usize,
    /// Whether that is a message.
    is_in_message: bool,
    /// Whether nothing leaves until it is known again what may.
    is_withheld: bool,
}

/// A subscription by which messages were written.
struct Writer {
    subscription: Arc<Subscription>,
    /// The end of its last message.
    end: End,
}

/// Where a message ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Before this many bytes of all that the client is sent.
    At(u64),
    /// In what leaves after the save that is under way.
    Saving,
    /// In what leaves after the next save.
    NextSave,
}

impl Untaken {
    /// Notes that a message was written by a subscription: at the end of the output, which has `output_bytes` with it, or of what waits for
    /// the next save.
    pub(super) fn add(&mut self, subscription: &Arc<Subscription>, output_bytes: usize, is_saved_first: bool) {
        let end = match is_saved_first {
            true => End::NextSave,
            false => self.end_of(output_bytes),
        };
        // Most often it is the one of the last message.
        let known = self.writers.iter().rposition(|writer| writer.is(subscription));
        let writer = known.and_then(|at| self.writers.remove(at));
        let subscription = writer.map_or_else(|| Arc::clone(subscription), |writer| writer.subscription);
        self.writers.push_back(Writer { subscription, end });
    }

    /// What waited for the next save is being saved.
    pub(super) fn begin_save(&mut self) {
        for writer in &mut self.writers {
            if writer.end == End::NextSave {
                writer.end = End::Saving;
            }
        }
    }

    /// What was being saved is at the end of the output, which has `output_bytes` with it; `is_all` if nothing waits any more.
    pub(super) fn saved(&mut self, output_bytes: usize, is_all: bool) {
        let end = self.end_of(output_bytes);
        for writer in &mut self.writers {
            if writer.end == End::Saving || (is_all && writer.end == End::NextSave) {
                writer.end = end;
            }
        }
    }

    const fn end_of(&self, output_bytes: usize) -> End {
        End::At(self.given + output_bytes as u64)
    }

    /// Notes that the stream was given the first `count` bytes of `output`, which holds whole packets but for the one begun before.
    pub(super) fn gave(&mut self, output: &[u8], count: usize) {
        self.given += count as u64;
        while self.rest < count {
            let packet = &output[self.rest..];
            self.is_in_message = is_message(packet);
            self.rest += packet_bytes(packet);
        }
        self.rest -= count;
    }

    /// Notes that the stream holds nothing back of what it was given.
    pub(super) const fn flushed(&mut self) {
        self.flushed = self.given;
    }

    /// Whether the stream holds nothing back of what it was given.
    pub(super) const fn is_flushed(&self) -> bool {
        self.flushed == self.given
    }

    /// Forgets what the client has certainly taken, where the system holds at most `held_bytes_max` for it.
    pub(super) fn forget_taken(&mut self, held_bytes_max: usize) {
        let taken = self.flushed.checked_sub(held_bytes_max as u64);
        while self.writers.pop_front_if(|writer| writer.is_before(taken)).is_some() {}
        if self.writers.is_empty() {
            self.writers = VecDeque::new();
        }
    }

    /// Whether a message by the subscription may be among what the client has not taken.
    pub(super) fn has(&self, subscription: &Arc<Subscription>) -> bool {
        self.writers.iter().any(|writer| writer.is(subscription))
    }

    /// Whether there may be any message.
    pub(super) fn has_any(&self) -> bool {
        !self.writers.is_empty()
    }

    /// Whether messages by further subscriptions may be written.
    pub(super) fn has_room(&self) -> bool {
        self.writers.len() < UNTAKEN_SUBSCRIPTIONS_MAX
    }

    /// Whether all of it may leave at this moment. A subscription whose last message waits for a save may have written others before.
    pub(super) fn is_granted(&self) -> bool {
        self.writers.iter().all(|writer| writer.subscription.is_granted())
    }

    /// The subscriptions that have ended and whose grants have lapsed since.
    pub(super) fn lapsed(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        let ended = self.writers.iter().map(|writer| &writer.subscription);
        ended.filter(|subscription| subscription.is_ended() && !subscription.is_granted())
    }

    /// Leaves the messages out of `output`, of which the stream was given all that is before. `false` when it has a part of one, so that
    /// nothing may follow.
    pub(super) fn leave_out_messages(&self, output: &mut BytesMut) -> bool {
        if !self.is_flushed() || (self.rest > 0 && self.is_in_message) {
            return false;
        }
        let mut packets = output.split();
        output.extend_from_slice(&packets.split_to(self.rest));
        while !packets.is_empty() {
            let packet = packets.split_to(packet_bytes(&packets));
            if !is_message(&packet) {
                output.extend_from_slice(&packet);
            }
        }
        true
    }

    /// Nothing leaves from now on, until [`Untaken::release`].
    pub(super) const fn withhold(&mut self) {
        self.is_withheld = true;
    }

    /// What was withheld may leave as far as it is granted.
    pub(super) const fn release(&mut self) {
        self.is_withheld = false;
    }

    pub(super) const fn is_withheld(&self) -> bool {
        self.is_withheld
    }
}

impl Writer {
    fn is(&self, subscription: &Arc<Subscription>) -> bool {
        Arc::ptr_eq(&self.subscription, subscription)
    }

    fn is_before(&self, taken: Option<u64>) -> bool {
        matches!((self.end, taken), (End::At(end), Some(taken)) if end <= taken)
    }
}

/// Whether a packet is a PUBLISH.
fn is_message(packet: &[u8]) -> bool {
    packet
        .first()
        .is_some_and(|first| first >> 4 == PacketType::Publish as u8)
}

/// Bytes of the packet at the beginning of `packets`, by its fixed header; of all of them where they do not begin with one.
fn packet_bytes(packets: &[u8]) -> usize {
    let mut length = 0;
    for (index, byte) in packets.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return (index + 2 + length).min(packets.len());
        }
    }
    debug_assert!(false, "what is written for a client are packets");
    packets.len()
}

#[cfg(test)]
#[path = "untaken_tests.rs"]
mod tests;

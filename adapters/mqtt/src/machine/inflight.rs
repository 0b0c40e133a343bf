//! What a client was sent at QoS 1 and 2 and has not answered to the end: packet ids, and what each waits for.

use std::collections::{BTreeSet, VecDeque};

use bytes::BytesMut;
use trunkline_mqtt_wire::{Ack, Packet, PacketId, QoS, ReasonCode, Version};

use super::kept::{Awaits, Sent, Source};
use super::{Cause, Machine, Phase, Step};

/// Packet ids that are taken, in the order in which their messages were sent. The window bounds their number.
#[derive(Debug, Default)]
pub(super) struct Inflight {
    sent: VecDeque<Sent>,
    last: u16,
    /// Ids of an earlier connection of the session whose PUBLISH or PUBREL was not sent over this one.
    unsent: BTreeSet<PacketId>,
}

impl Inflight {
    /// Messages that were sent over this connection and wait for the client.
    pub(super) fn len(&self) -> usize {
        self.sent.len() - self.unsent.len()
    }

    pub(super) fn sent(&self) -> impl Iterator<Item = Sent> {
        self.sent.iter().copied()
    }

    pub(super) const fn last_id(&self) -> u16 {
        self.last
    }

    /// Goes on with what an earlier connection sent.
    pub(super) fn resume(&mut self, sent: Vec<Sent>, last: u16) {
        self.unsent = sent.iter().map(|sent| sent.id).collect();
        self.sent = sent.into();
        self.last = last;
    }

    /// The oldest message of an earlier connection that was not sent over this one.
    pub(super) fn first_unsent(&self) -> Option<Sent> {
        if self.unsent.is_empty() {
            return None;
        }
        self.sent.iter().find(|sent| self.unsent.contains(&sent.id)).copied()
    }

    /// Something was sent by `id` over this connection.
    pub(super) fn was_sent(&mut self, id: PacketId) {
        self.unsent.remove(&id);
    }

    /// An id that no unanswered message has. There is one: the window is far smaller than the number of ids.
    pub(super) fn free_id(&mut self) -> PacketId {
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if let Some(id) = PacketId::new(self.last)
                && self.position(id).is_none()
            {
                return id;
            }
        }
    }

    /// Takes a free id for a message that is being sent at QoS 1 or 2.
    pub(super) fn take(&mut self, id: PacketId, qos: QoS, source: Source) {
        let awaits = match qos {
            QoS::AtMostOnce | QoS::AtLeastOnce => Awaits::Ack,
            QoS::ExactlyOnce => Awaits::Received,
        };
        self.sent.push_back(Sent { id, awaits, source });
    }

    pub(super) fn awaits(&self, id: PacketId) -> Option<Awaits> {
        self.position(id).map(|position| self.sent[position].awaits)
    }

    /// The group and the place of what was sent by `id`, if a group dealt it.
    fn shared_by(&self, id: PacketId) -> Option<(u64, u64)> {
        match self.sent[self.position(id)?].source {
            Source::Shared { group, sequence } => Some((group, sequence)),
            Source::Log(_) | Source::Retained { .. } => None,
        }
    }

    pub(super) fn release(&mut self, id: PacketId) {
        if let Some(position) = self.position(id) {
            self.sent.remove(position);
            self.unsent.remove(&id);
        }
    }

    /// QoS 2: the client has the message.
    pub(super) fn complete(&mut self, id: PacketId) {
        if let Some(position) = self.position(id) {
            self.sent[position].awaits = Awaits::Completed;
            self.unsent.remove(&id);
        }
    }

    /// Clients answer in order, so it is nearly always the first.
    fn position(&self, id: PacketId) -> Option<usize> {
        self.sent.iter().position(|sent| sent.id == id)
    }
}

impl Machine {
    /// PUBACK. An id that is not taken is nothing; one of a message at QoS 2 is an error.
    pub(super) fn acknowledged(&mut self, ack: &Ack) -> Step {
        match self.inflight.awaits(ack.packet_id) {
            None => {}
            Some(Awaits::Ack) => {
                self.shared_answered.extend(self.inflight.shared_by(ack.packet_id));
                self.answered(ack.packet_id);
            }
            Some(Awaits::Received | Awaits::Completed) => return self.misnamed(),
        }
        Step::Continue
    }

    /// PUBREC: the message is the client's, unless it says that it does not take it.
    pub(super) fn was_received(&mut self, ack: &Ack, out: &mut BytesMut) -> Step {
        let id = ack.packet_id;
        let reason = match self.inflight.awaits(id) {
            Some(Awaits::Ack) => return self.misnamed(),
            Some(Awaits::Received | Awaits::Completed) if ack.reason.is_error() => {
                self.answered(id);
                return Step::Continue;
            }
            Some(Awaits::Received | Awaits::Completed) => {
                // Once it has PUBREL the client forgets the id: a PUBLISH after that would be another message to it.
                self.inflight.complete(id);
                self.send_saved(Packet::PubRel(Ack::success(id)), out);
                return Step::Continue;
            }
            None if self.version() == Version::V5 => ReasonCode::PacketIdentifierNotFound,
            None => ReasonCode::Success,
        };
        self.send(Packet::PubRel(Ack::with_reason(id, reason)), out);
        Step::Continue
    }

    /// PUBCOMP: the end of a message at QoS 2.
    pub(super) fn was_completed(&mut self, ack: &Ack) -> Step {
        match self.inflight.awaits(ack.packet_id) {
            None => {}
            Some(Awaits::Completed) => self.answered(ack.packet_id),
            Some(Awaits::Ack | Awaits::Received) => return self.misnamed(),
        }
        Step::Continue
    }

    /// A message is answered to the end, and its id is free.
    fn answered(&mut self, id: PacketId) {
        self.inflight.release(id);
        self.changes += 1;
    }

    /// Ends the connection over an answer that is not the one that the message waits for. Nothing is said: the client has shown that it
    /// does not follow what it is told.
    fn misnamed(&mut self) -> Step {
        self.phase = Phase::Closed;
        Step::Close(Cause::Malformed)
    }
}

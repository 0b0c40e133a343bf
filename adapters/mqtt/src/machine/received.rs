//! What a client sent at QoS 2 and has not released: ids whose message is in the log, so that a repeat of it is not published again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use trunkline_mqtt_wire::{Ack, Packet, PacketId, Publish, QoS, ReasonCode, Version};

use super::{AckSlot, Cause, Machine, Step};
use crate::config::Refusals;
use crate::limits::{RECEIVED_KEPT_MAX, REPEATS_MAX};

/// Packet ids of messages whose PUBREC said success and whose PUBREL has not come. Their number is bounded by the Receive Maximum, and on
/// 3.1.1 by that of packet ids, or by [`RECEIVED_KEPT_MAX`] in a session that is kept.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// How often each was repeated over this connection.
    repeats: BTreeMap<PacketId, u8>,
    /// Those that came over an earlier connection; the Receive Maximum is counted by connection.
    earlier: BTreeSet<PacketId>,
}

impl Received {
    /// Those that came over this connection.
    pub(super) fn len(&self) -> usize {
        self.repeats.len() - self.earlier.len()
    }

    /// Whether there are more than a session keeps.
    fn is_over(&self) -> bool {
        self.repeats.len() > RECEIVED_KEPT_MAX
    }

    /// The ids, rising.
    pub(super) fn ids(&self) -> Vec<PacketId> {
        self.repeats.keys().copied().collect()
    }

    pub(super) fn resume(&mut self, ids: &[PacketId]) {
        self.repeats = ids.iter().map(|id| (*id, 0)).collect();
        self.earlier = ids.iter().copied().collect();
    }

    pub(super) fn hold(&mut self, id: PacketId) {
        self.repeats.entry(id).or_default();
    }

    fn release(&mut self, id: PacketId) -> bool {
        self.earlier.remove(&id);
        self.repeats.remove(&id).is_some()
    }
}

impl Machine {
    /// The answer to a message at QoS 2 that came already: a PUBREC in its turn, and nothing is published. `None` for a new one.
    ///
    /// Only a new connection is a reason to repeat [MQTT-4.4.0-1]; older clients did so on a timer, and once is forgiven.
    pub(super) fn repeated(&mut self, publish: &Publish, out: &mut BytesMut) -> Option<Step> {
        let packet_id = publish.packet_id.filter(|_| publish.qos == QoS::ExactlyOnce)?;
        if self.is_awaited(packet_id) {
            return Some(Step::Continue);
        }
        let Some(repeats) = self.received.repeats.get_mut(&packet_id) else {
            let is_over = self.is_kept && self.received.is_over();
            return is_over.then(|| self.disconnect(ReasonCode::QuotaExceeded, Cause::OverLimit, out));
        };
        *repeats += 1;
        if *repeats > REPEATS_MAX {
            return Some(self.disconnect(ReasonCode::ProtocolError, Cause::Malformed, out));
        }
        self.acks.push_back(AckSlot {
            packet_id,
            qos: QoS::ExactlyOnce,
            answer: Some(ReasonCode::Success),
            success: ReasonCode::Success,
        });
        self.send_acks(out);
        Some(Step::Continue)
    }

    /// PUBREL: the client has its PUBREC, and the id is free for another message.
    pub(super) fn release(&mut self, ack: &Ack, out: &mut BytesMut) -> Step {
        if self.is_awaited(ack.packet_id) {
            return self.disconnect(ReasonCode::ProtocolError, Cause::Malformed, out);
        }
        let reason = match (self.received.release(ack.packet_id), self.version()) {
            (true, _) | (false, Version::V3) => ReasonCode::Success,
            (false, Version::V5) if self.settings.refusals == Refusals::Terse => ReasonCode::Success,
            (false, Version::V5) => ReasonCode::PacketIdentifierNotFound,
        };
        if self.is_kept {
            self.step(ack.packet_id);
        }
        self.send_saved(Packet::PubComp(Ack::with_reason(ack.packet_id, reason)), out);
        Step::Continue
    }

    /// The generation of a packet id of the client: with the session and the id it tells a message from every other.
    pub fn generation(&self, packet_id: PacketId) -> u32 {
        self.generations.of(packet_id)
    }

    /// The next message by `packet_id` is another one. That holds also for an id that is not known: the crash that made us forget it may
    /// have come after its message was in the log.
    fn step(&mut self, packet_id: PacketId) {
        self.generations.step(packet_id);
        if self.generations.is_scattered() {
            let awaited = self.acks.iter().filter(|slot| slot.qos == QoS::ExactlyOnce);
            let open: Vec<_> = awaited.map(|slot| slot.packet_id).chain(self.received.ids()).collect();
            self.generations.level(open);
            // What is published next is of the new generation, and must be so after a crash.
            self.stop_until_saved();
        }
    }

    /// Whether the PUBREC of this id has yet to leave.
    fn is_awaited(&self, packet_id: PacketId) -> bool {
        let is_it = |slot: &AckSlot| slot.qos == QoS::ExactlyOnce && slot.packet_id == packet_id;
        self.acks.iter().any(is_it)
    }
}

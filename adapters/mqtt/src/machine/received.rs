//! What a client sent at QoS 2 and has not released: ids whose message is in the log, so that a repeat of it is not published again.

use std::collections::HashMap;

use bytes::BytesMut;
use trunkline_mqtt_wire::{Ack, Packet, PacketId, Publish, QoS, ReasonCode, Version};

use super::{AckSlot, Cause, Machine, Step};
use crate::limits::REPEATS_MAX;

/// Packet ids of messages whose PUBREC said success and whose PUBREL has not come, with how often each was repeated. Their number is
/// bounded by the Receive Maximum, and on 3.1.1 by that of packet ids.
#[derive(Debug, Default)]
pub(super) struct Received(HashMap<PacketId, u8>);

impl Received {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn hold(&mut self, id: PacketId) {
        self.0.entry(id).or_default();
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
        let repeats = self.received.0.get_mut(&packet_id)?;
        *repeats += 1;
        if *repeats > REPEATS_MAX {
            return Some(self.disconnect(ReasonCode::ProtocolError, Cause::Malformed, out));
        }
        self.acks.push_back(AckSlot {
            packet_id,
            qos: QoS::ExactlyOnce,
            answer: Some(ReasonCode::Success),
        });
        self.send_acks(out);
        Some(Step::Continue)
    }

    /// PUBREL: the client has its PUBREC, and the id is free for another message.
    pub(super) fn release(&mut self, ack: &Ack, out: &mut BytesMut) -> Step {
        if self.is_awaited(ack.packet_id) {
            return self.disconnect(ReasonCode::ProtocolError, Cause::Malformed, out);
        }
        let reason = match (self.received.0.remove(&ack.packet_id), self.version()) {
            (Some(_), _) | (None, Version::V3) => ReasonCode::Success,
            (None, Version::V5) => ReasonCode::PacketIdentifierNotFound,
        };
        self.send(Packet::PubComp(Ack::with_reason(ack.packet_id, reason)), out);
        Step::Continue
    }

    /// Whether the PUBREC of this id has yet to leave.
    fn is_awaited(&self, packet_id: PacketId) -> bool {
        let is_it = |slot: &AckSlot| slot.qos == QoS::ExactlyOnce && slot.packet_id == packet_id;
        self.acks.iter().any(is_it)
    }
}

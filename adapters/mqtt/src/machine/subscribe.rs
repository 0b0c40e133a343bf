//! SUBSCRIBE and UNSUBSCRIBE and their answers.

use bytes::BytesMut;
use trunkline_mqtt_wire::{AckProperties, Packet, PacketId, ReasonCode, SubAck, Subscribe, Version};

use super::{Machine, Step};

impl Machine {
    pub(super) fn subscribe(&mut self, mut subscribe: Subscribe) -> Step {
        if self.peer.is_bridge {
            // What a bridge publishes must not come back to it, and what is retained must stay so on the other side.
            for filter in &mut subscribe.filters {
                (filter.no_local, filter.retain_as_published) = (true, true);
            }
        }
        Step::Subscribe(subscribe)
    }

    /// Answers a SUBSCRIBE, one reason per filter, once what was granted is active.
    pub fn subscribed(&mut self, packet_id: PacketId, mut reasons: Vec<ReasonCode>, out: &mut BytesMut) {
        if self.version() == Version::V3 {
            // 3.1.1 has one code for all failures.
            for reason in reasons.iter_mut().filter(|reason| reason.is_error()) {
                *reason = ReasonCode::UnspecifiedError;
            }
        }
        let properties = AckProperties::default();
        let suback = SubAck {
            packet_id,
            reasons,
            properties,
        };
        self.send_saved(Packet::SubAck(suback), out);
    }

    /// Answers an UNSUBSCRIBE; `were_there` tells for each filter whether there was such a subscription.
    pub fn unsubscribed(&mut self, packet_id: PacketId, were_there: &[bool], out: &mut BytesMut) {
        let reasons = match self.version() {
            Version::V3 => Vec::new(),
            Version::V5 => were_there
                .iter()
                .map(|was_there| match was_there {
                    true => ReasonCode::Success,
                    false => ReasonCode::NoSubscriptionExisted,
                })
                .collect(),
        };
        let properties = AckProperties::default();
        let unsuback = SubAck {
            packet_id,
            reasons,
            properties,
        };
        self.send_saved(Packet::UnsubAck(unsuback), out);
    }
}

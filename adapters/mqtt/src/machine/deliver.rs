//! PUBLISH to the client: packet ids, the window of what it has not acknowledged, and the limits that it named.

use std::collections::VecDeque;

use bytes::BytesMut;
use trunkline_mqtt_wire::{Outgoing, PacketId, QoS, SharedProperties};

use super::Machine;

/// A message for this client.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'message> {
    /// The topic, as the client's filter spells it.
    pub topic: &'message str,
    /// QoS of the delivery.
    pub qos: QoS,
    /// The retain flag of the delivery.
    pub retain: bool,
    /// When the message lapses, in nanoseconds since the Unix epoch; 0 for never.
    pub expires_at_ns: i64,
    /// The properties that all subscribers get.
    pub shared: &'message SharedProperties,
    /// The message itself.
    pub payload: &'message [u8],
}

/// What came of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// It is written.
    Sent,
    /// The client must acknowledge others first; offer it again.
    WindowFull,
    /// The client does not take packets of this size; [MQTT-3.1.2-25] counts that as delivered.
    TooLarge,
    /// It lapsed before it could be delivered.
    Expired,
}

/// Packet ids of the messages that the client has not acknowledged, in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Inflight {
    ids: VecDeque<PacketId>,
    last: u16,
}

impl Machine {
    /// Whether a message at QoS 1 could be delivered now.
    pub fn has_window(&self) -> bool {
        self.inflight.ids.len() < usize::from(self.peer.window)
    }

    /// Writes a message to the client at the wall-clock time `now_ns`, if it may have it.
    pub fn deliver(&mut self, offer: &Offer<'_>, now_ns: i64, out: &mut BytesMut) -> Delivered {
        let left_ns = offer.expires_at_ns.saturating_sub(now_ns);
        let expires = offer.expires_at_ns != 0;
        if expires && left_ns <= 0 {
            return Delivered::Expired;
        }
        if offer.qos != QoS::AtMostOnce && !self.has_window() {
            return Delivered::WindowFull;
        }
        let packet_id = (offer.qos != QoS::AtMostOnce).then(|| self.inflight.free_id());
        let outgoing = Outgoing {
            dup: false,
            qos: offer.qos,
            retain: offer.retain,
            topic: offer.topic,
            packet_id,
            // Rounded up: a message with some life left never arrives with none.
            message_expiry_s: expires.then(|| u32::try_from((left_ns - 1) / 1_000_000_000 + 1).unwrap_or(u32::MAX)),
            topic_alias: None,
            subscription_ids: &[],
            shared: offer.shared,
            payload: offer.payload,
        };
        let version = self.version();
        let bytes = outgoing.encoded_bytes(version);
        if bytes.is_ok_and(|bytes| bytes > self.peer.packet_bytes_max) || outgoing.encode(version, out).is_err() {
            return Delivered::TooLarge;
        }
        if let Some(packet_id) = packet_id {
            self.inflight.take(packet_id);
        }
        Delivered::Sent
    }
}

impl Inflight {
    /// An id that no unacknowledged message has. There is one: the window is far smaller than the number of ids.
    fn free_id(&self) -> PacketId {
        let mut id = self.last;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if let Some(id) = PacketId::new(id)
                && !self.ids.contains(&id)
            {
                return id;
            }
        }
    }

    fn take(&mut self, id: PacketId) {
        self.last = id.get();
        self.ids.push_back(id);
    }

    /// Forgets an acknowledged message. Clients answer in order, so it is nearly always the first; an unknown id is nothing.
    pub(super) fn release(&mut self, id: PacketId) {
        if self.ids.front() == Some(&id) {
            self.ids.pop_front();
        } else if let Some(position) = self.ids.iter().position(|other| *other == id) {
            self.ids.remove(position);
        }
    }
}

//! PUBLISH to the client, within the window of what it has not acknowledged and the limits that it named.

use bytes::BytesMut;
use trunkline_mqtt_wire::{Outgoing, QoS, SharedProperties, SubscriptionId};

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
    /// The identifiers of the client's subscriptions that matched.
    pub subscription_ids: &'message [SubscriptionId],
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

impl Machine {
    /// Whether a message at QoS 1 or 2 could be delivered now.
    pub fn has_window(&self) -> bool {
        self.inflight.len() < usize::from(self.peer.window)
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
        let version = self.version();
        let mut alias = self.given.choose(offer.topic);
        let mut outgoing = Outgoing {
            dup: false,
            qos: offer.qos,
            retain: offer.retain,
            topic: match alias {
                Some(alias) if alias.is_known => "",
                Some(_) | None => offer.topic,
            },
            packet_id,
            // Rounded up: a message with some life left never arrives with none.
            message_expiry_s: expires.then(|| u32::try_from((left_ns - 1) / 1_000_000_000 + 1).unwrap_or(u32::MAX)),
            topic_alias: alias.map(|alias| alias.number),
            subscription_ids: offer.subscription_ids,
            shared: offer.shared,
            payload: offer.payload,
        };
        let is_too_large = |outgoing: &Outgoing<'_>| {
            let bytes = outgoing.encoded_bytes(version);
            bytes.is_ok_and(|bytes| bytes > self.peer.packet_bytes_max)
        };
        // A new alias comes with its topic and makes the packet larger.
        if alias.is_some_and(|alias| !alias.is_known) && is_too_large(&outgoing) {
            (alias, outgoing.topic_alias) = (None, None);
        }
        if is_too_large(&outgoing) || outgoing.encode(version, out).is_err() {
            return Delivered::TooLarge;
        }
        if let Some(alias) = alias {
            self.given.used(offer.topic, alias);
        }
        if let Some(packet_id) = packet_id {
            self.inflight.take(packet_id, offer.qos);
        }
        Delivered::Sent
    }
}

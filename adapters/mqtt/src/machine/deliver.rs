//! PUBLISH to the client, within the window of what it has not acknowledged and the limits that it named.

use bytes::BytesMut;
use trunkline_mqtt_wire::{Ack, Outgoing, Packet, PacketId, QoS, SharedProperties, SubscriptionId};

use super::Machine;
use super::kept::{Awaits, Sent, Source};

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
    /// Where it can be found again.
    pub source: Source,
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
        self.window_left() > 0
    }

    /// Messages at QoS 1 and 2 that could be delivered now.
    pub fn window_left(&self) -> usize {
        usize::from(self.peer.window).saturating_sub(self.inflight.len())
    }

    /// The groups, by what stands for them, and the places of the messages at QoS 1 that they dealt and that were acknowledged since this
    /// was last asked.
    pub fn take_shared_answered(&mut self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.shared_answered)
    }

    /// Whether a message that a group dealt was sent and waits for the client.
    pub fn has_shared(&self, group: u64, sequence: u64) -> bool {
        let source = Source::Shared { group, sequence };
        self.inflight.sent().any(|sent| sent.source == source)
    }

    /// Whether any message that a group dealt was sent and waits for the client.
    pub fn has_any_of(&self, group: u64) -> bool {
        let is_of_group = |sent: Sent| matches!(sent.source, Source::Shared { group: of, .. } if of == group);
        self.inflight.sent().any(is_of_group)
    }

    /// Writes a message to the client at the wall-clock time `now_ns`, if it may have it.
    pub fn deliver(&mut self, offer: &Offer<'_>, now_ns: i64, out: &mut BytesMut) -> Delivered {
        let left_ns = offer.expires_at_ns.saturating_sub(now_ns);
        let (needs_id, expires) = (offer.qos != QoS::AtMostOnce, offer.expires_at_ns != 0);
        let has_lapsed = expires && left_ns <= 0;
        if needs_id && !has_lapsed && !self.has_window() {
            return Delivered::WindowFull;
        }
        // What is dropped below uses up its id as well: the gap tells a reader of packets that there was something.
        let packet_id = needs_id.then(|| self.inflight.free_id());
        if has_lapsed {
            return Delivered::Expired;
        }
        let left_ns = expires.then_some(left_ns);
        if !self.write(offer, packet_id.map(|id| (id, false)), left_ns, out) {
            return Delivered::TooLarge;
        }
        if let Some(packet_id) = packet_id {
            self.inflight.take(packet_id, offer.qos, offer.source);
        }
        Delivered::Sent
    }

    /// The oldest message that an earlier connection of the session sent and that was not sent over this one; `None` when there is none, or
    /// when the client must acknowledge others first.
    pub fn next_unsent(&self) -> Option<Sent> {
        let next = self.inflight.first_unsent();
        next.filter(|sent| sent.awaits == Awaits::Completed || self.has_window())
    }

    /// Whether messages of an earlier connection are still to be sent over this one.
    pub fn has_unsent(&self) -> bool {
        self.inflight.first_unsent().is_some()
    }

    /// Sends a message of [`Machine::next_unsent`] once more; `false` when the client does not take packets of its size. It has begun to be
    /// delivered, so it does not lapse any more [MQTT-3.3.2-5].
    pub fn resend(&mut self, sent: Sent, offer: &Offer<'_>, now_ns: i64, out: &mut BytesMut) -> bool {
        let left_ns = (offer.expires_at_ns != 0).then(|| offer.expires_at_ns.saturating_sub(now_ns).max(1));
        let is_written = self.write(offer, Some((sent.id, true)), left_ns, out);
        if is_written {
            self.inflight.was_sent(sent.id);
        }
        is_written
    }

    /// Sends the PUBREL of a message of [`Machine::next_unsent`] once more.
    pub fn resend_release(&mut self, id: PacketId, out: &mut BytesMut) {
        self.inflight.was_sent(id);
        self.send(Packet::PubRel(Ack::success(id)), out);
    }

    /// A message of [`Machine::next_unsent`] cannot be had any more, or the client may not have it. At QoS 2 the client may know its id,
    /// and would take the next message by it for the same: so it is told to forget the id.
    pub fn give_up(&mut self, sent: Sent, out: &mut BytesMut) {
        match sent.awaits {
            Awaits::Ack => {
                self.inflight.release(sent.id);
                self.changes += 1;
            }
            Awaits::Received | Awaits::Completed => {
                self.inflight.complete(sent.id);
                self.send_saved(Packet::PubRel(Ack::success(sent.id)), out);
            }
        }
    }

    /// Writes a PUBLISH by an id, if it has one, that may have been sent before; `false` when it is larger than the client takes.
    fn write(
        &mut self,
        offer: &Offer<'_>,
        packet_id: Option<(PacketId, bool)>,
        left_ns: Option<i64>,
        out: &mut BytesMut,
    ) -> bool {
        let is_again = packet_id.is_some_and(|(_, is_again)| is_again);
        let version = self.version();
        let mut alias = self.given.choose(offer.topic);
        let mut outgoing = Outgoing {
            dup: is_again,
            qos: offer.qos,
            retain: offer.retain,
            topic: match alias {
                Some(alias) if alias.is_known => "",
                Some(_) | None => offer.topic,
            },
            packet_id: packet_id.map(|(id, _)| id),
            // Rounded up: a message with some life left never arrives with none.
            message_expiry_s: left_ns
                .map(|left_ns| u32::try_from((left_ns - 1) / 1_000_000_000 + 1).unwrap_or(u32::MAX)),
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
        if is_too_large(&outgoing) {
            return false;
        }
        // Which message an id stands for must be known before the client knows it.
        let must_be_saved = offer.qos == QoS::ExactlyOnce && !is_again;
        if self
            .in_turn(must_be_saved, out, |out| outgoing.encode(version, out))
            .is_err()
        {
            return false;
        }
        if let Some(alias) = alias {
            self.given.used(offer.topic, alias);
        }
        true
    }
}

//! PUBLISH from the client and its PUBACK or PUBREC, which leaves in the order of arrival and never before the log has the message.

use bytes::BytesMut;
use trunkline_bus::log::AppendError;
use trunkline_gate::Denial;
use trunkline_mqtt_wire::{Ack, Packet, PacketId, PacketType, Publish, QoS, ReasonCode, Utf8Bytes, Version};

use super::{AckSlot, Cause, Machine, Step};
use crate::config::DeniedPublish;
use crate::reason;

impl Machine {
    pub(super) fn publish(&mut self, mut publish: Publish, out: &mut BytesMut) -> Step {
        if let Err((reason, cause)) = self.resolve_alias(&mut publish) {
            return self.disconnect(reason, cause, out);
        }
        if publish.payload.len() > self.settings.payload_bytes_max {
            return self.disconnect(ReasonCode::PacketTooLarge, Cause::OverLimit, out);
        }
        if let Some(step) = self.repeated(&publish, out) {
            return step;
        }
        if publish.packet_id.is_some() && self.is_at_receive_maximum() {
            return self.disconnect(ReasonCode::ReceiveMaximumExceeded, Cause::OverLimit, out);
        }
        let properties = publish.properties.as_deref();
        let is_text = properties.is_some_and(|properties| properties.payload_is_utf8 == Some(true));
        if is_text && std::str::from_utf8(&publish.payload).is_err() {
            self.has_refused_payload = true;
            return self.refuse(publish.packet_id, publish.qos, ReasonCode::PayloadFormatInvalid, out);
        }
        Step::Publish(publish)
    }

    /// Whether the client has as many messages under way as it was told that it may. 3.1.1 cannot tell, so there it is only held back.
    fn is_at_receive_maximum(&self) -> bool {
        let is_told = self.version() == Version::V5;
        is_told && self.acks.len() + self.received.len() >= usize::from(self.settings.receive_max)
    }

    /// Refuses a publish that the gate denied, or says nothing of it where that was chosen. What cannot be decided is no denial.
    pub fn deny(&mut self, publish: &Publish, denial: &Denial, out: &mut BytesMut) -> Step {
        let is_hidden = self.version() == Version::V3
            && self.settings.denied_publish == DeniedPublish::Acknowledge
            && *denial != Denial::Unavailable;
        match is_hidden {
            true => self.answer(publish.packet_id, publish.qos, ReasonCode::Success, out),
            false => self.refuse(publish.packet_id, publish.qos, reason::of_publish_denial(denial), out),
        }
    }

    /// Refuses a publish that the log would not even take.
    pub fn not_taken(&mut self, publish: &Publish, error: &AppendError, out: &mut BytesMut) -> Step {
        match reason::of_append_error(error) {
            Some(reason) => self.refuse(publish.packet_id, publish.qos, reason, out),
            None => self.unknown(error, out),
        }
    }

    /// Keeps a place for the PUBACK or PUBREC of a message that the log has taken and not yet acknowledged.
    pub fn awaiting(&mut self, packet_id: PacketId, qos: QoS) {
        self.acks.push_back(AckSlot {
            packet_id,
            qos,
            answer: None,
            success: ReasonCode::Success,
        });
    }

    /// Tells an MQTT 5 client that nobody subscribes to the message that [`Machine::appended`] is called for next, if the log has it.
    pub fn unheard(&mut self) {
        if let Some(slot) = self.acks.iter_mut().find(|slot| slot.answer.is_none()) {
            slot.success = ReasonCode::NoMatchingSubscribers;
        }
    }

    /// What came of the oldest message that [`Machine::awaiting`] was called for.
    pub fn appended(&mut self, outcome: Result<(), &AppendError>, out: &mut BytesMut) -> Step {
        if !self.is_open() {
            return Step::Wait;
        }
        let refused = match outcome {
            Ok(()) => None,
            Err(error) => match reason::of_append_error(error) {
                Some(reason) => Some(reason),
                None => return self.unknown(error, out),
            },
        };
        if let Some(reason) = refused.filter(|_| self.version() == Version::V3) {
            return self.disconnect(reason, Cause::PublishRefused, out);
        }
        if let Some(slot) = self.acks.iter_mut().find(|slot| slot.answer.is_none()) {
            slot.answer = Some(refused.unwrap_or(slot.success));
        }
        self.send_acks(out);
        Step::Continue
    }

    /// Whether a PUBACK or PUBREC is still owed.
    pub fn is_owing(&self) -> bool {
        !self.acks.is_empty()
    }

    /// Ends the connection over a publish whose outcome is unknown.
    fn unknown(&mut self, error: &AppendError, out: &mut BytesMut) -> Step {
        match error {
            AppendError::Unanswered => self.busy(out),
            _ => self.failed(out),
        }
    }

    /// Refuses a publish: by its answer in its turn, by silence at QoS 0, and on 3.1.1, which knows no refusal, by closing.
    fn refuse(&mut self, packet_id: Option<PacketId>, qos: QoS, reason: ReasonCode, out: &mut BytesMut) -> Step {
        if self.version() == Version::V3 {
            return self.disconnect(reason, Cause::PublishRefused, out);
        }
        self.answer(packet_id, qos, reason, out)
    }

    /// Answers a publish in its turn.
    fn answer(&mut self, packet_id: Option<PacketId>, qos: QoS, reason: ReasonCode, out: &mut BytesMut) -> Step {
        if let Some(packet_id) = packet_id {
            self.acks.push_back(AckSlot {
                packet_id,
                qos,
                answer: Some(reason),
                success: reason,
            });
            self.send_acks(out);
        }
        Step::Continue
    }

    /// Sends every PUBACK and PUBREC whose turn has come.
    pub(super) fn send_acks(&mut self, out: &mut BytesMut) {
        while let Some(&AckSlot {
            packet_id,
            qos,
            answer: Some(reason),
            ..
        }) = self.acks.front()
        {
            debug_assert!(reason.is_allowed_in(PacketType::PubAck), "{reason} in a PUBACK");
            let mut ack = Ack::with_reason(packet_id, reason);
            if reason.is_error() && self.peer.wants_words {
                ack.properties.reason_string = Utf8Bytes::try_from(reason.to_string()).ok();
            }
            let answer = match qos {
                QoS::AtMostOnce | QoS::AtLeastOnce => Packet::PubAck(ack),
                QoS::ExactlyOnce => Packet::PubRec(ack),
            };
            self.send(answer, out);
            self.acks.pop_front();
            if qos == QoS::ExactlyOnce && !reason.is_error() {
                self.received.hold(packet_id);
                self.changes += 1;
            }
        }
    }
}

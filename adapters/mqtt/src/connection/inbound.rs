//! What a client sends, once the machine has read it, and publishing.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use trunkline_bus::envelope::id_bytes;
use trunkline_bus::log::{AppendError, LogError, Quota, Receipt, TryAppendError, UNACKNOWLEDGED_WAIT_MAX};
use trunkline_bus::{Log, NewEntry};
use trunkline_gate::{Action, Denial, Gate, Permit, Publication, PublishTrace, Session, stamp};
use trunkline_mqtt_wire::{PropertyOrder, Publish, PublishProperties, QoS, ReasonCode, Subscribe, Utf8Bytes};
use trunkline_proto::messages::v1::{Protocol, UserProperty};
use trunkline_telemetry::traces::{TRACEPARENT, within};

use super::subscribe::Granted;
use super::{Connection, Taken, Unheard, ended};
use crate::limits::{COPIED_BYTES_MAX, OUTPUT_BYTES_STOP, RECHECK_PAUSE};
use crate::machine::{Cause, Step};
use crate::metrics::{Refused, of_qos};
use crate::retained::{Admission, Slot};
use crate::session::message_id;

/// What a message that its domain has no room to retain is refused with.
const RETAINED_FULL: AppendError = AppendError::Full {
    quota: Quota::Domain,
    retry_after: RECHECK_PAUSE,
};

/// What came of something that the next packet had to wait for.
pub(super) enum Done {
    /// Whether the message may be published is decided.
    Permitted(Publish, Result<Permit, Denial>),
    /// The log has room again and took the message, or did not.
    Taken(Publish, Result<Receipt, AppendError>),
    /// The log has room again and took the message at QoS 0, or that took too long.
    LetGo(Unanswered),
    /// It is known what the log has of the session.
    Earlier(Publish, Result<BTreeMap<Bytes, u64>, LogError>),
    /// Each filter is decided.
    Filters(Subscribe, Vec<Result<Granted, ReasonCode>>),
}

/// What came of a message at QoS 0.
pub(super) enum Unanswered {
    Taken,
    /// It is retained once this receipt resolves.
    Retaining(Receipt),
    Dropped(Refused),
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Does all that can be done without waiting: packets that have arrived, messages that may be sent.
    pub(super) fn advance(&mut self) -> Result<(), Cause> {
        while self.work.is_none() && self.machine.may_read() && self.output_bytes() < OUTPUT_BYTES_STOP {
            let now = self.opened.elapsed();
            let step = self.machine.next(&mut self.input, now, &mut self.output);
            self.note_refused();
            self.asked = self.opened + now;
            match step {
                Step::Wait => break,
                Step::Continue => {}
                Step::Publish(publish) => self.publish(publish)?,
                Step::Subscribe(subscribe) => self.subscribe(subscribe),
                Step::Unsubscribe { packet_id, filters } => self.unsubscribe(packet_id, &filters),
                Step::Admit(_) => return Err(Cause::Malformed),
                Step::Close(cause) => return Err(cause),
            }
        }
        self.done_with_shares();
        // A client that hears itself has its answer before the message.
        self.settle_ready()?;
        self.fill();
        self.tell_room();
        self.keep();
        Ok(())
    }

    pub(super) fn done(&mut self, done: Done) -> Result<(), Cause> {
        match done {
            Done::Permitted(publish, answer) => self.decided(publish, answer),
            Done::Taken(publish, Ok(receipt)) => {
                self.taken(&publish, receipt);
                Ok(())
            }
            Done::Taken(publish, Err(error)) => self.not_taken(&publish, &error),
            Done::LetGo(unanswered) => {
                self.let_go(unanswered);
                Ok(())
            }
            Done::Earlier(publish, known) => self.read_earlier(publish, known),
            Done::Filters(subscribe, answers) => {
                self.subscribed(&subscribe, answers);
                Ok(())
            }
        }
    }

    pub(super) fn publish(&mut self, publish: Publish) -> Result<(), Cause> {
        if self.waits_for_earlier(&publish) {
            return Ok(());
        }
        let Some(member) = &self.member else {
            return Err(Cause::Failed);
        };
        self.trace = PublishTrace::begin(&self.adapter.tracer, "mqtt publish", || traceparent_of(&publish));
        let gate = &self.adapter.gate;
        if let Some(answer) = gate.may_warm(&member.session, Action::Publish, &publish.topic) {
            return self.decided(publish, answer);
        }
        let (gate, session) = (Arc::clone(gate), member.session.clone());
        self.work = Some(Box::pin(within(self.trace.scope(), async move {
            let answer = decide(gate.as_ref(), &session, Action::Publish, &publish.topic).await;
            Done::Permitted(publish, answer)
        })));
        Ok(())
    }

    /// Appends a message that may be published. At QoS 0 nobody waits for the log.
    fn decided(&mut self, publish: Publish, answer: Result<Permit, Denial>) -> Result<(), Cause> {
        let metrics = Arc::clone(&self.adapter.metrics);
        let permit = match answer {
            Ok(permit) => permit,
            Err(denial) => {
                metrics.publish_refused.count(&denial);
                self.trace.refused(denial.reason());
                let step = self.machine.deny(&publish, &denial, &mut self.output);
                return ended(&step);
            }
        };
        self.head = self.member.as_ref().map_or(0, |member| member.head(&self.adapter));
        self.unheard = self.unheard_of(&publish, &permit);
        if let Some(receipt) = self.receipt_of_earlier(&publish) {
            self.taken(&publish, receipt);
            return Ok(());
        }
        let entry = match self.seal(&publish, &permit)? {
            Ok(entry) => entry,
            Err(error) => return self.not_taken(&publish, &error),
        };
        if publish.retain {
            let slot = Slot::new(permit.domain_id(), permit.channel_id(), permit.subtopic(&publish.topic));
            match self.adapter.retained.admit(&slot, &entry) {
                Admission::Unknown => return self.wait_for_retained(publish, &slot),
                Admission::No => return self.not_taken(&publish, &RETAINED_FULL),
                Admission::Yes => {}
            }
        }
        if publish.qos == QoS::AtMostOnce {
            return self.append_unanswered(publish, permit, entry);
        }
        match self.adapter.log.try_append(entry) {
            Ok(receipt) => {
                self.taken(&publish, receipt);
                Ok(())
            }
            Err(TryAppendError::Refused(error)) => self.not_taken(&publish, &error),
            Err(TryAppendError::Busy(entry)) => self.wait_for_room(publish, permit, entry),
        }
    }

    /// Where a message goes to which nobody subscribes now, if its client may be told so.
    fn unheard_of(&self, publish: &Publish, permit: &Permit) -> Option<Box<Unheard>> {
        let (place, subtopic) = (
            (permit.domain_id(), permit.channel_id()),
            permit.subtopic(&publish.topic),
        );
        let is_unheard = publish.qos == QoS::AtLeastOnce && self.adapter.is_unheard(place, subtopic);
        is_unheard.then(|| {
            let subtopic = subtopic.into();
            Box::new(Unheard { place, subtopic })
        })
    }

    /// Appends a message at QoS 0, or has its client wait while there is no room. A retained one has a receipt: what the client
    /// subscribes to next waits for it, as it would for one at QoS 1.
    fn append_unanswered(&mut self, publish: Publish, permit: Permit, entry: NewEntry) -> Result<(), Cause> {
        let log = &self.adapter.log;
        let taken = if publish.retain {
            log.try_append(entry).map(Some)
        } else {
            log.try_append_unacknowledged(entry).map(|()| None)
        };
        match taken {
            Ok(None) => self.let_go(Unanswered::Taken),
            Ok(Some(receipt)) => self.let_go(Unanswered::Retaining(receipt)),
            Err(TryAppendError::Refused(error)) => self.let_go(Unanswered::Dropped(Refused::of_drop(&error))),
            Err(TryAppendError::Busy(entry)) => return self.wait_for_room(publish, permit, entry),
        }
        Ok(())
    }

    fn let_go(&mut self, unanswered: Unanswered) {
        of_qos(&self.adapter.metrics.published, QoS::AtMostOnce).increment();
        match unanswered {
            Unanswered::Taken => {}
            Unanswered::Retaining(receipt) => self.retaining = Some(receipt),
            Unanswered::Dropped(cause) => {
                self.adapter.metrics.publish_dropped.count(cause);
                self.trace.refused("DROPPED");
            }
        }
        self.trace = PublishTrace::default();
    }

    /// Publishes once it is known what the domain retains, if that may still be done then.
    fn wait_for_retained(&mut self, publish: Publish, slot: &Slot) -> Result<(), Cause> {
        let session = self.member.as_ref().ok_or(Cause::Failed)?.session.clone();
        let (gate, retained) = (Arc::clone(&self.adapter.gate), Arc::clone(&self.adapter.retained));
        let domain_id = slot.domain_id();
        self.work = Some(Box::pin(within(self.trace.scope(), async move {
            retained.prepare(domain_id).await;
            let answer = decide(gate.as_ref(), &session, Action::Publish, &publish.topic).await;
            Done::Permitted(publish, answer)
        })));
        Ok(())
    }

    /// The log has taken a message at QoS 1 or 2: it is answered when the receipt says what came of it.
    fn taken(&mut self, publish: &Publish, receipt: Receipt) {
        if let Some(packet_id) = publish.packet_id {
            self.machine.awaiting(packet_id, publish.qos);
            of_qos(&self.adapter.metrics.published, publish.qos).increment();
            self.receipts.push_back(Taken {
                receipt,
                head: self.head,
                asked: self.asked,
                trace: std::mem::take(&mut self.trace),
                unheard: self.unheard.take(),
            });
        }
    }

    /// Appends once the log has room; meanwhile nothing more is read from the client. A permission that lapsed by then counts for nothing:
    /// it is asked for again.
    fn wait_for_room(&mut self, publish: Publish, permit: Permit, entry: NewEntry) -> Result<(), Cause> {
        let session = self.member.as_ref().ok_or(Cause::Failed)?.session.clone();
        let (gate, log) = (Arc::clone(&self.adapter.gate), Arc::clone(&self.adapter.log));
        self.work = Some(Box::pin(within(self.trace.scope(), async move {
            // Looked at whenever there may be room, before that is taken; so it needs nobody to wake it.
            let lapsed = poll_fn(|_| match permit.grant.holds() {
                true => Poll::Pending,
                false => Poll::Ready(()),
            });
            tokio::select! {
                biased;
                () = lapsed => {}
                done = appended(log.as_ref(), publish.clone(), entry) => return done,
            }
            let answer = decide(gate.as_ref(), &session, Action::Publish, &publish.topic).await;
            Done::Permitted(publish, answer)
        })));
        Ok(())
    }

    fn seal(&mut self, publish: &Publish, permit: &Permit) -> Result<Result<NewEntry, AppendError>, Cause> {
        let member = self.member.as_ref().ok_or(Cause::Failed)?;
        let mut envelope = stamp(
            &member.session,
            permit,
            &publish.topic,
            publication(publish),
            self.adapter.clock.as_ref(),
        );
        let mut may_repeat = false;
        // The client may send it again after a crash, and the log knows it by its id then.
        if let Some(packet_id) = publish.packet_id
            && publish.qos == QoS::ExactlyOnce
            && self.machine.is_kept()
        {
            let id = message_id(member.session.id(), packet_id, self.machine.generation(packet_id));
            envelope.id = id_bytes(id.as_bytes());
            may_repeat = true;
        }
        self.trace.append(&mut envelope);
        let payload_bytes_max = self.adapter.settings.payload_bytes_max;
        let sealed = NewEntry::seal(envelope, payload_bytes_max);
        let sealed = sealed.map(|entry| if may_repeat { entry } else { entry.unrepeated() });
        Ok(sealed.map_err(|_| AppendError::TooLarge {
            bytes: payload_bytes_max.saturating_add(1),
            bytes_max: payload_bytes_max,
        }))
    }

    fn not_taken(&mut self, publish: &Publish, error: &AppendError) -> Result<(), Cause> {
        self.adapter.metrics.publish_refused.count(error);
        self.trace.settled(Err(error));
        let step = self.machine.not_taken(publish, error, &mut self.output);
        ended(&step)
    }

    /// Counts what the machine refused by itself.
    fn note_refused(&mut self) {
        if self.machine.take_invalid_payload() {
            self.adapter.metrics.publish_refused.count(Refused::InvalidPayload);
        }
        if let (Some(feature), Some(member)) = (self.machine.take_unsupported(), &self.member) {
            self.adapter.note_unsupported(member.session.client_id(), feature);
        }
    }
}

/// Appends `entry`, which `publish` became, once there is room.
async fn appended(log: &dyn Log, publish: Publish, entry: NewEntry) -> Done {
    if publish.qos != QoS::AtMostOnce {
        return Done::Taken(publish, log.append(entry).await);
    }
    Done::LetGo(if publish.retain {
        match timeout(UNACKNOWLEDGED_WAIT_MAX, log.append(entry)).await {
            Ok(Ok(receipt)) => Unanswered::Retaining(receipt),
            Ok(Err(error)) => Unanswered::Dropped(Refused::of_drop(&error)),
            Err(_) => Unanswered::Dropped(Refused::Busy),
        }
    } else {
        match log.append_unacknowledged(entry).await {
            Ok(()) => Unanswered::Taken,
            Err(error) => Unanswered::Dropped(Refused::of_drop(&error)),
        }
    })
}

/// Asks until it can be answered. Whoever waits for it bounds the time.
pub(super) async fn decide(gate: &dyn Gate, session: &Session, action: Action, topic: &str) -> Result<Permit, Denial> {
    loop {
        match gate.may(session, action, topic).await {
            Err(Denial::Unavailable) => tokio::time::sleep(RECHECK_PAUSE).await,
            answer => return answer,
        }
    }
}

/// The trace that the client says its message belongs to. Two of them count as none.
fn traceparent_of(publish: &Publish) -> Option<&str> {
    let properties = publish.properties.as_deref()?;
    let mut said = properties
        .user_properties
        .iter()
        .filter(|property| &*property.name == TRACEPARENT);
    let first = said.next()?;
    said.next().is_none().then_some(&*first.value)
}

/// What the client says of its message, in the words of all protocols.
pub(crate) fn publication(publish: &Publish) -> Publication {
    let none = PublishProperties::default();
    let properties = publish.properties.as_deref().unwrap_or(&none);
    let text = |text: &Option<Utf8Bytes>| text.as_deref().unwrap_or_default().to_owned();
    let user_property = |property: &trunkline_mqtt_wire::UserProperty| UserProperty {
        name: property.name.to_string(),
        value: property.value.to_string(),
    };
    Publication {
        protocol: Protocol::Mqtt,
        qos: publish.qos as u8,
        retain: publish.retain,
        content_type: text(&properties.content_type),
        expires_after_s: properties.message_expiry_s,
        response_topic: text(&properties.response_topic),
        correlation_data: properties.correlation_data.as_ref().map(detached).unwrap_or_default(),
        user_properties: properties.user_properties.iter().map(user_property).collect(),
        payload_is_text: properties.payload_is_utf8.unwrap_or_default(),
        property_order: PropertyOrder::of(properties).to_bytes(),
        payload: detached(&publish.payload),
    }
}

/// `bytes` for keeping: a small part of a buffer is copied out of it, since it would keep all of the buffer.
fn detached(bytes: &Bytes) -> Bytes {
    match bytes.len() {
        0..=COPIED_BYTES_MAX => Bytes::copy_from_slice(bytes),
        _ => bytes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_message_does_not_keep_the_buffer_that_it_came_in() {
        let buffer = Bytes::from(vec![7; 256 * 1024]);
        let properties = PublishProperties {
            correlation_data: Some(buffer.slice(..8)),
            ..PublishProperties::default()
        };
        let publish = Publish {
            payload: buffer.slice(8..100),
            properties: Some(Box::new(properties)),
            ..Publish::default()
        };
        let kept = publication(&publish);
        drop(publish);
        assert_eq!((kept.payload.len(), kept.correlation_data.len()), (92, 8));
        assert!(buffer.is_unique());
    }
}

//! What a client gets: messages from its mailbox or, when it fell behind, from the log, each only as long as it may have it.

use std::future::poll_fn;
use std::task::{Poll, ready};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use trunkline_bus::log::{LogError, Page};
use trunkline_mqtt_wire::QoS;

use super::keeping::{Saved, saved};
use super::member::{Found, Member};
use super::recheck::Recheck;
use super::resend::{Fetched, fetched};
use super::{Connection, Ending, ended};
use crate::limits::OUTPUT_BYTES_MAX;
use crate::machine::{Cause, Delivered, Offer, Source};
use crate::mailbox::Item;
use crate::metrics::of_qos;
use crate::retained::Slot;

/// What woke up a connection that concerns what its client gets.
pub(super) enum Outbound {
    /// Another connection has the session.
    Taken,
    /// A change of authorization may concern the client.
    Disturbed,
    /// The permissions of the session were asked for again.
    Rechecked(Recheck),
    /// The session was saved, or was not.
    Saved(Saved),
    /// What an earlier connection sent was looked for.
    Fetched(Fetched),
    /// A page of the log was read.
    Page(Result<Page, LogError>),
    /// Retained messages of a subscription were read; `None` when shared state did not answer.
    Retained(Option<Found>),
    /// There is a message in the mailbox.
    News,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Whether a message from the mailbox could be sent on.
    pub(super) fn has_room(&self) -> bool {
        self.may_write() && self.member.as_ref().is_some_and(|member| member.held.is_none())
    }

    /// Whether one more message may be written.
    pub(super) fn may_write(&self) -> bool {
        self.output_bytes() < OUTPUT_BYTES_MAX && self.untaken.has_room()
    }

    /// Bytes that wait for the socket, now or once the session is saved.
    pub(super) fn output_bytes(&self) -> usize {
        self.output.len() + self.machine.held_bytes()
    }

    /// Writes messages until there are none, or the socket or the client has enough.
    pub(super) fn fill(&mut self) {
        if !self.resend() {
            return;
        }
        let mut now_ns = None;
        while self.may_write() {
            let Some(item) = self.member.as_mut().and_then(|member| member.next(&self.adapter)) else {
                return;
            };
            let now_ns = *now_ns.get_or_insert_with(|| self.adapter.clock.now_ns());
            if let Some(item) = self.send(item, now_ns) {
                if let Some(member) = &mut self.member {
                    member.held = Some(item);
                }
                return;
            }
        }
    }

    /// Writes a message, or drops it for good; gives it back when it must wait.
    fn send(&mut self, item: Item, now_ns: i64) -> Option<Item> {
        let member = self.member.as_mut()?;
        let metrics = &self.adapter.metrics;
        if item.subscription.is_ended() {
            match item.subscription.group() {
                // It is another member's already.
                Some(_) => member.shares_taken += 1,
                None => metrics.lost_revoked.increment(),
            }
            member.passed(&item);
            return None;
        }
        if !item.is_retained && !item.subscription.is_news(&item.message) {
            return None;
        }
        if !member.session.is_undisturbed() || !item.subscription.holds() {
            self.recheck();
            return Some(item);
        }
        let offer = offer_of(&item, &mut member.topic);
        let qos = offer.qos;
        let delivered = self.machine.deliver(&offer, now_ns, &mut self.output);
        match delivered {
            Delivered::Sent => {
                of_qos(&metrics.delivered, offer.qos).increment();
                let is_saved_first = self.machine.held_bytes() > 0;
                self.untaken.add(&item.subscription, self.output.len(), is_saved_first);
            }
            Delivered::TooLarge => metrics.lost_too_large.increment(),
            Delivered::Expired => metrics.lost_expired.increment(),
            Delivered::WindowFull => return Some(item),
        }
        member.passed(&item);
        if let Some(group) = item.subscription.group() {
            member.shares_taken += 1;
            let is_kept = qos == QoS::ExactlyOnce && self.machine.is_kept();
            // What waits for an acknowledgement is done with it, and what a session keeps once that is saved.
            if delivered != Delivered::Sent || !(is_kept || qos == QoS::AtLeastOnce) {
                group.done(item.message.sequence().unwrap_or_default());
            }
        }
        None
    }

    pub(super) fn handle_outbound(&mut self, outbound: Outbound) -> Result<(), Cause> {
        let Some(member) = &mut self.member else {
            return Ok(());
        };
        match outbound {
            Outbound::News => {}
            Outbound::Taken => self.ending = Some(Ending::HandOver),
            Outbound::Disturbed => {
                let is_current = member.is_current();
                self.forget_taken();
                if !is_current || !self.untaken.is_granted() {
                    self.recheck();
                }
            }
            Outbound::Rechecked(recheck) => return self.rechecked(recheck),
            Outbound::Saved(saved) => return self.saved(saved),
            Outbound::Fetched(fetched) => return self.fetched(fetched),
            Outbound::Page(Ok(page)) => {
                self.adapter.metrics.lost_trimmed.add(page.skipped);
                member.catch_up(page);
            }
            Outbound::Page(Err(LogError::Damaged { sequence, .. })) => {
                member.subscriber.mailbox.has_caught_up(sequence + 1);
            }
            Outbound::Page(Err(_)) => return Err(Cause::Failed),
            Outbound::Retained(Some(found)) => member.take_retained(found),
            Outbound::Retained(None) => {
                let step = self.machine.busy(&mut self.output);
                return ended(&step);
            }
        }
        Ok(())
    }
}

/// The delivery of `item`, whose topic is written to `topic`.
pub(super) fn offer_of<'item>(item: &'item Item, topic: &'item mut String) -> Offer<'item> {
    let (message, options) = (&item.message, item.subscription.options());
    let envelope = message.envelope();
    item.subscription.spell(&envelope.subtopic, topic);
    let sequence = message.sequence().unwrap_or_default();
    let retained_at = message.place().filter(|_| item.is_retained);
    let source = match (item.subscription.group(), retained_at) {
        (Some(group), _) => Source::Shared {
            group: group.id(),
            sequence,
        },
        (None, Some((domain_id, channel_id))) => Source::Retained {
            channel_id,
            digest: Slot::new(domain_id, channel_id, &envelope.subtopic).digest(),
            sequence,
        },
        (None, None) => Source::Log(sequence),
    };
    Offer {
        topic,
        qos: message.qos_for(options.qos),
        retain: item.is_retained || (options.retain_as_published && envelope.retain),
        expires_at_ns: envelope.expires_at,
        subscription_ids: &item.ids,
        shared: message.shared(),
        payload: &envelope.payload,
        source,
    }
}

/// Waits for something that concerns what the client gets. Cancel safe.
pub(super) async fn wait(member: &mut Option<Box<Member>>, has_room: bool) -> Outbound {
    let Some(member) = member else {
        return std::future::pending().await;
    };
    let Member {
        seat,
        disturbances,
        page,
        lookup,
        recheck,
        subscriber,
        keeping,
        resending,
        ..
    } = &mut **member;
    let may_take = has_room && page.is_none() && lookup.is_none() && resending.is_none();
    tokio::select! {
        biased;
        () = seat.taken() => Outbound::Taken,
        () = disturbances.changed() => Outbound::Disturbed,
        answer = finished(recheck) => Outbound::Rechecked(answer),
        answer = saved(keeping) => Outbound::Saved(answer),
        answer = fetched(resending) => Outbound::Fetched(answer),
        answer = finished(page), if has_room => Outbound::Page(answer),
        answer = finished(lookup), if has_room => Outbound::Retained(answer),
        () = subscriber.mailbox.news(), if may_take => Outbound::News,
    }
}

/// The outcome of `future`; never, while there is none. Cancel safe.
pub(super) fn finished<T>(future: &mut Option<BoxFuture<'static, T>>) -> impl Future<Output = T> {
    poll_fn(move |context| {
        let Some(pending) = future else {
            return Poll::Pending;
        };
        let outcome = ready!(pending.as_mut().poll(context));
        *future = None;
        Poll::Ready(outcome)
    })
}

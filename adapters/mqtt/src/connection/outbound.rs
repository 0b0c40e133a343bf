//! What a client gets: messages from its mailbox or, when it fell behind, from the log, each only as long as it may have it.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use trunkline_bus::log::{LogError, Page, ReadLimit};
use trunkline_gate::{Action, Denial, Gate, Permit, Refusal, Session};
use trunkline_mqtt_wire::QoS;

use super::will::Testament;
use super::{Connection, ended};
use crate::adapter::Adapter;
use crate::directory::Seat;
use crate::limits::{
    ACK_TIME_MAX, CATCH_UP_BYTES_MAX, CATCH_UP_ENTRIES_MAX, OUTPUT_BYTES_MAX, READ_ATTEMPTS_MAX, RECHECK_PAUSE,
};
use crate::machine::{Cause, Delivered, Offer};
use crate::mailbox::{Item, Next};
use crate::message::Message;
use crate::metrics::of_qos;
use crate::retained::{Lookup, Retained};
use crate::retry::retry;
use crate::router::Router;
use crate::subscription::{Subscriber, Subscription};

/// An admitted client on its connection.
pub(super) struct Member {
    pub(super) session: Session,
    pub(super) subscriber: Arc<Subscriber>,
    seat: Seat,
    /// What is published when the connection ends without a goodbye.
    pub(super) testament: Option<Box<Testament>>,
    disturbances: watch::Receiver<u64>,
    /// What must be sent before anything else: it did not fit, or its permission is being asked for.
    held: Option<Item>,
    /// Messages that were read from the log because the client was behind.
    caught: VecDeque<Item>,
    page: Option<BoxFuture<'static, Result<Page, LogError>>>,
    /// Subscriptions whose retained messages are to be read before anything else is sent.
    pub(super) lookups: VecDeque<Lookup>,
    lookup: Option<BoxFuture<'static, Option<Found>>>,
    recheck: Option<BoxFuture<'static, Recheck>>,
    /// Since when it is not known what the client may have; nothing is sent to it meanwhile.
    pub(super) uncertain_since: Option<Instant>,
    /// The topic of the message being sent.
    topic: String,
}

/// What woke up a connection that concerns what its client gets.
pub(super) enum Outbound {
    /// Another connection has the session.
    Taken,
    /// A change of authorization may concern the client.
    Disturbed,
    /// The permissions of the session were asked for again.
    Rechecked(Recheck),
    /// A page of the log was read.
    Page(Result<Page, LogError>),
    /// Retained messages of a subscription were read; `None` when shared state did not answer.
    Retained(Option<Found>),
    /// There is a message in the mailbox.
    News,
}

/// Retained messages for a subscription, and what is left to be read.
pub(super) struct Found {
    subscription: Arc<Subscription>,
    messages: Vec<Arc<Message>>,
    rest: Option<Lookup>,
}

/// What the permissions of a session are now.
pub(super) struct Recheck {
    session: Result<(), Refusal>,
    subscriptions: Vec<(Arc<Subscription>, Result<Permit, Denial>)>,
}

impl Member {
    pub(super) fn new(session: Session, seat: Seat, testament: Option<Box<Testament>>) -> Self {
        Self {
            subscriber: Arc::new(Subscriber::new(session.id())),
            disturbances: session.disturbances(),
            session,
            seat,
            testament,
            held: None,
            caught: VecDeque::new(),
            page: None,
            lookups: VecDeque::new(),
            lookup: None,
            recheck: None,
            uncertain_since: None,
            topic: String::new(),
        }
    }

    /// Ends a subscription.
    pub(super) fn remove(&self, router: &Router, subscription: &Arc<Subscription>) {
        subscription.end();
        self.subscriber.remove(subscription);
        router.index.remove(&self.subscriber, subscription);
    }

    /// Ends every subscription.
    pub(super) fn leave(&self, adapter: &Adapter) {
        for subscription in self.subscriber.all() {
            self.remove(&adapter.router, &subscription);
        }
    }

    /// The next message, if there is one at hand. Starts to read the log when the client is behind.
    fn next(&mut self, adapter: &Adapter) -> Option<Item> {
        if let Some(item) = self.held.take().or_else(|| self.caught.pop_front()) {
            return Some(item);
        }
        if self.page.is_some() || self.lookup.is_some() {
            return None;
        }
        if let Some(lookup) = self.lookups.pop_front() {
            let retained = Arc::clone(&adapter.retained);
            self.lookup = Some(Box::pin(look(retained, lookup)));
            return None;
        }
        match self.subscriber.mailbox.take() {
            Next::Item(item) => Some(item),
            Next::Behind(from) => {
                let shard = adapter.log.shard_of(self.session.domain_id());
                let log = Arc::clone(&adapter.log);
                let limit = ReadLimit {
                    entries: CATCH_UP_ENTRIES_MAX,
                    bytes: CATCH_UP_BYTES_MAX,
                };
                self.page = Some(Box::pin(async move {
                    retry(READ_ATTEMPTS_MAX, || log.read(shard, from, limit)).await
                }));
                None
            }
            Next::Nothing => None,
        }
    }

    /// Takes from a page of the log what the client asked for and did not get because it was behind.
    fn catch_up(&mut self, page: Page) {
        for entry in page.entries {
            if self.subscriber.mailbox.has_caught_up(entry.sequence) {
                return;
            }
            let message = Arc::new(Message::new(entry.envelope, Some(entry.sequence)));
            let Some(item) = self.subscriber.choose(&message) else {
                continue;
            };
            if message.qos_for(item.subscription.options().qos) != QoS::AtMostOnce {
                self.caught.push_back(item);
            }
        }
        self.subscriber.mailbox.has_caught_up(page.next);
    }

    /// Takes the retained messages of a subscription.
    fn take_retained(&mut self, found: Found) {
        let Found {
            subscription,
            messages,
            rest,
        } = found;
        let ids: Vec<_> = subscription.options().id.into_iter().collect();
        self.caught.extend(messages.into_iter().map(|message| Item {
            message,
            subscription: Arc::clone(&subscription),
            ids: ids.clone(),
            is_retained: true,
        }));
        if let Some(rest) = rest {
            self.lookups.push_front(rest);
        }
    }

    /// Asks again whether the client and each of its subscriptions are allowed, unless that is being done.
    fn start_recheck(&mut self, gate: &Arc<dyn Gate>) {
        if self.recheck.is_some() {
            return;
        }
        self.uncertain_since.get_or_insert_with(Instant::now);
        let (gate, session) = (Arc::clone(gate), self.session.clone());
        let lapsed = self
            .subscriber
            .all()
            .into_iter()
            .filter(|subscription| !subscription.holds())
            .collect();
        self.recheck = Some(Box::pin(recheck(gate, session, lapsed)));
    }

    fn is_current(&self) -> bool {
        self.session.is_undisturbed() && self.subscriber.all().iter().all(|subscription| subscription.holds())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Whether a message from the mailbox could be sent on.
    pub(super) fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_BYTES_MAX && self.member.as_ref().is_some_and(|member| member.held.is_none())
    }

    /// Writes messages until there are none, or the socket or the client has enough.
    pub(super) fn fill(&mut self) {
        let Some(member) = &mut self.member else {
            return;
        };
        let metrics = &self.adapter.metrics;
        let mut now_ns = None;
        while self.output.len() < OUTPUT_BYTES_MAX {
            let Some(item) = member.next(&self.adapter) else {
                break;
            };
            if item.subscription.is_ended() {
                metrics.lost_revoked.increment();
                continue;
            }
            if !item.is_retained && !item.subscription.is_news(&item.message) {
                continue;
            }
            if !member.session.is_undisturbed() || !item.subscription.holds() {
                member.held = Some(item);
                member.start_recheck(&self.adapter.gate);
                break;
            }
            let (message, options) = (&item.message, item.subscription.options());
            let envelope = message.envelope();
            item.subscription.spell(&envelope.subtopic, &mut member.topic);
            let offer = Offer {
                topic: &member.topic,
                qos: message.qos_for(options.qos),
                retain: item.is_retained || (options.retain_as_published && envelope.retain),
                expires_at_ns: envelope.expires_at,
                subscription_ids: &item.ids,
                shared: message.shared(),
                payload: &envelope.payload,
            };
            let now_ns = *now_ns.get_or_insert_with(|| self.adapter.clock.now_ns());
            match self.machine.deliver(&offer, now_ns, &mut self.output) {
                Delivered::Sent => of_qos(&metrics.delivered, offer.qos).increment(),
                Delivered::TooLarge => metrics.lost_too_large.increment(),
                Delivered::Expired => metrics.lost_expired.increment(),
                Delivered::WindowFull => {
                    member.held = Some(item);
                    break;
                }
            }
        }
    }

    pub(super) fn handle_outbound(&mut self, outbound: Outbound) -> Result<(), Cause> {
        let Some(member) = &mut self.member else {
            return Ok(());
        };
        match outbound {
            Outbound::News => {}
            Outbound::Taken => {
                let step = self.machine.taken_over(&mut self.output);
                return ended(&step);
            }
            Outbound::Disturbed => {
                if !member.is_current() {
                    member.start_recheck(&self.adapter.gate);
                }
            }
            Outbound::Rechecked(recheck) => return self.rechecked(recheck),
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

    fn rechecked(&mut self, recheck: Recheck) -> Result<(), Cause> {
        let Some(member) = &mut self.member else {
            return Ok(());
        };
        match recheck.session {
            Ok(()) | Err(Refusal::Unavailable) => {}
            Err(Refusal::Disabled | Refusal::BadCredentials) => {
                let step = self.machine.revoked(&mut self.output);
                return ended(&step);
            }
        }
        for (subscription, answer) in recheck.subscriptions {
            match answer {
                Ok(permit) if subscription.renew(&permit) => {}
                Ok(_) | Err(Denial::NotAuthorized | Denial::InvalidTopic(_)) => {
                    member.remove(&self.adapter.router, &subscription);
                }
                Err(Denial::Unavailable) => {}
            }
        }
        if member.is_current() {
            member.uncertain_since = None;
        } else {
            member.start_recheck(&self.adapter.gate);
        }
        Ok(())
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
        ..
    } = &mut **member;
    let may_take = has_room && page.is_none() && lookup.is_none();
    tokio::select! {
        biased;
        () = seat.taken() => Outbound::Taken,
        Ok(()) = disturbances.changed() => Outbound::Disturbed,
        answer = finished(recheck) => Outbound::Rechecked(answer),
        answer = finished(page), if has_room => Outbound::Page(answer),
        answer = finished(lookup), if has_room => Outbound::Retained(answer),
        () = subscriber.mailbox.news(), if may_take => Outbound::News,
        else => std::future::pending().await,
    }
}

/// Reads what is retained for a subscription, within [`ACK_TIME_MAX`].
async fn look(retained: Arc<Retained>, lookup: Lookup) -> Option<Found> {
    let subscription = Arc::clone(&lookup.subscription);
    match timeout(ACK_TIME_MAX, retained.read(lookup)).await {
        Ok(Ok((messages, rest))) => Some(Found {
            subscription,
            messages,
            rest,
        }),
        Ok(Err(error)) => {
            tracing::warn!(%error, "retained messages could not be read for a subscriber");
            None
        }
        Err(_) => None,
    }
}

/// The outcome of `future`; never, while there is none. Cancel safe.
async fn finished<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(pending) = future else {
        return std::future::pending().await;
    };
    let outcome = pending.await;
    *future = None;
    outcome
}

/// Asks whether `session` and its `lapsed` subscriptions are allowed. What cannot be answered, or not be relied on for want of a lease, is
/// not asked again at once.
async fn recheck(gate: Arc<dyn Gate>, session: Session, lapsed: Vec<Arc<Subscription>>) -> Recheck {
    let answer = gate.recheck(&session).await;
    let mut subscriptions = Vec::with_capacity(lapsed.len());
    if answer.is_ok() {
        for subscription in lapsed {
            let answer = gate.may(&session, Action::Subscribe, subscription.filter()).await;
            subscriptions.push((subscription, answer));
        }
    }
    let holds = |(_, answer): &(_, Result<Permit, Denial>)| match answer {
        Ok(permit) => permit.grant.holds(),
        Err(denial) => *denial != Denial::Unavailable,
    };
    let is_settled = match answer {
        Ok(()) => session.is_undisturbed() && subscriptions.iter().all(holds),
        Err(refusal) => refusal != Refusal::Unavailable,
    };
    if !is_settled {
        tokio::time::sleep(RECHECK_PAUSE).await;
    }
    Recheck {
        session: answer,
        subscriptions,
    }
}

#[cfg(test)]
mod tests {
    use trunkline_bus::StoredEntry;
    use trunkline_bus::log::{Incarnation, Shard};
    use trunkline_core::Secret;
    use trunkline_gate::{Credentials, OpenGate};
    use trunkline_mqtt_wire::Utf8Bytes;
    use trunkline_proto::messages::v1::Envelope;

    use super::*;
    use crate::limits::QUEUE_ENTRIES_MAX;
    use crate::subscription::Options;

    /// A member, and its subscription at QoS 1.
    async fn member() -> (Member, Arc<Subscription>) {
        let gate = OpenGate::new(Vec::new());
        let anybody = Credentials::of_client("", Secret::new(String::new()));
        let session = gate.connect(anybody).await.unwrap();
        let permit = gate.may(&session, Action::Subscribe, "a").await.unwrap();
        let options = Options {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            id: None,
        };
        let directory = Arc::new(crate::directory::Directory::default());
        let seat = directory.take(session.client_id(), Utf8Bytes::default());
        let member = Member::new(session, seat, None);
        let subscription = Arc::new(Subscription::new("a", &permit, options));
        member.subscriber.add(Arc::clone(&subscription));
        (member, subscription)
    }

    fn envelope(subscription: &Subscription) -> Arc<Envelope> {
        let (domain_id, channel_id) = subscription.place();
        Arc::new(Envelope {
            domain_id: trunkline_bus::envelope::id_bytes(domain_id.as_bytes()),
            channel_id: trunkline_bus::envelope::id_bytes(channel_id.as_bytes()),
            subtopic: "a".to_owned(),
            qos: 1,
            ..Envelope::default()
        })
    }

    #[tokio::test]
    async fn what_was_trimmed_does_not_take_what_follows_it_along() {
        let (mut member, subscription) = member().await;
        let mailbox = &member.subscriber.mailbox;
        let last = QUEUE_ENTRIES_MAX as u64 + 10;
        for sequence in 1..=last {
            let message = Arc::new(Message::new(envelope(&subscription), Some(sequence)));
            let subscription = Arc::clone(&subscription);
            let ids = Vec::new();
            assert!(mailbox.put(Item {
                message,
                subscription,
                ids,
                is_retained: false,
            }));
        }
        while matches!(mailbox.take(), Next::Item(_)) {}
        let trimmed = Page {
            entries: Vec::new(),
            next: last - 1,
            skipped: 8,
        };
        member.catch_up(trimmed);
        assert!(matches!(member.subscriber.mailbox.take(), Next::Behind(from) if from == last - 1));
        let entries = [last - 1, last].map(|sequence| StoredEntry {
            shard: Shard(0),
            sequence,
            incarnation: Incarnation(1),
            envelope: envelope(&subscription),
        });
        member.catch_up(Page {
            entries: entries.into(),
            next: last + 1,
            skipped: 0,
        });
        let caught: Vec<_> = member.caught.iter().map(|item| item.message.sequence()).collect();
        assert_eq!(caught, [Some(last - 1), Some(last)]);
        assert!(matches!(member.subscriber.mailbox.take(), Next::Nothing));
    }
}

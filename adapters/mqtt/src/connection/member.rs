//! An admitted client on its connection: what it is to get, in the order in which it gets it.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};
use trunkline_bus::log::{LogError, Page, ReadLimit, Shard};
use trunkline_gate::{Disturbances, Session};
use trunkline_mqtt_wire::QoS;

use super::earlier::Earlier;
use super::keeping::Keeping;
use super::owing::Owing;
use super::recheck::Recheck;
use super::resend::Resending;
use crate::adapter::Adapter;
use crate::directory::Seat;
use crate::limits::{ACK_TIME_MAX, CATCH_UP_BYTES_MAX, CATCH_UP_ENTRIES_MAX, READ_ATTEMPTS_MAX};
use crate::mailbox::Item;
use crate::message::Message;
use crate::queue::Next;
use crate::retained::{Lookup, Retained};
use crate::retry::retry;
use crate::router::Router;
use crate::session::Owned;
use crate::shared::{KeptMember, Ticket};
use crate::subscription::{Subscriber, Subscription};
use crate::will::Testament;

/// How much is read of the log at a time for one session.
const PAGE: ReadLimit = ReadLimit {
    entries: CATCH_UP_ENTRIES_MAX,
    bytes: CATCH_UP_BYTES_MAX,
};

/// An admitted client on its connection.
pub(super) struct Member {
    pub(super) session: Session,
    pub(super) subscriber: Arc<Subscriber>,
    pub(super) seat: Seat,
    /// What is published when the connection ends without a goodbye.
    pub(super) will: Option<Arc<Testament>>,
    /// The record of a session that has one for the sake of its will alone.
    pub(super) owned: Option<Box<Owned>>,
    /// How the session is saved, if it outlives the connection.
    pub(super) keeping: Option<Box<Keeping>>,
    /// What a connection that ended without a word brought into the log.
    pub(super) earlier: Earlier,
    /// What an earlier connection sent and this one has still to send.
    pub(super) resending: Option<Box<Resending>>,
    pub(super) disturbances: Disturbances,
    /// What must be sent before anything else: it did not fit, or its permission is being asked for.
    pub(super) held: Option<Item>,
    /// Messages that were read from the log because the client was behind.
    pub(super) caught: VecDeque<Item>,
    pub(super) page: Option<BoxFuture<'static, Result<Page, LogError>>>,
    /// Subscriptions whose retained messages are to be read before anything else is sent.
    pub(super) lookups: VecDeque<Lookup>,
    /// What of that was not given to the client yet.
    pub(super) owing: Vec<Owing>,
    pub(super) lookup: Option<BoxFuture<'static, Option<Found>>>,
    pub(super) recheck: Option<BoxFuture<'static, Recheck>>,
    /// Since when it is not known what the client may have; nothing is sent to it meanwhile.
    pub(super) uncertain_since: Option<Instant>,
    /// The session as groups know it that wait for it, if it outlives the connection.
    pub(super) kept: Option<KeptMember>,
    /// How often that session was taken.
    pub(super) epoch: u64,
    /// The groups that it is or was a member of.
    pub(super) tickets: Vec<Ticket>,
    /// The change of its subscriptions by which it had left the groups that it unsubscribed from.
    pub(super) left_at: u64,
    /// Messages that groups dealt to it and that were sent, or dropped, since they were told of its room.
    pub(super) shares_taken: usize,
    /// Messages at QoS 1 and 2 up to this place of the log were given to the client, or are not for it.
    position: u64,
    /// The topic of the message being sent.
    pub(super) topic: String,
}

/// Retained messages for a subscription, and what is left to be read.
pub(super) struct Found {
    subscription: Arc<Subscription>,
    messages: Vec<Arc<Message>>,
    rest: Option<Lookup>,
}

impl Member {
    pub(super) fn new(session: Session, seat: Seat, will: Option<Arc<Testament>>) -> Self {
        Self {
            subscriber: Arc::new(Subscriber::new(session.id())),
            disturbances: session.disturbances(),
            session,
            seat,
            will,
            owned: None,
            keeping: None,
            earlier: Earlier::default(),
            resending: None,
            held: None,
            caught: VecDeque::new(),
            page: None,
            lookups: VecDeque::new(),
            owing: Vec::new(),
            lookup: None,
            recheck: None,
            uncertain_since: None,
            kept: None,
            epoch: 0,
            tickets: Vec::new(),
            left_at: 0,
            shares_taken: 0,
            position: 0,
            topic: String::new(),
        }
    }

    /// Ends a subscription; its group is not told.
    pub(super) fn remove(&self, router: &Router, subscription: &Arc<Subscription>) {
        subscription.end();
        self.subscriber.remove(subscription);
        if subscription.group().is_none() {
            router.index.remove(&self.subscriber, subscription);
        }
    }

    /// Ends every subscription.
    pub(super) fn leave(&self, adapter: &Adapter) {
        for subscription in self.subscriber.all() {
            self.remove(&adapter.router, &subscription);
        }
    }

    /// Goes on after `position` of the log.
    pub(super) fn begin_after(&mut self, position: u64) {
        self.position = position;
        self.subscriber.mailbox.begin_after(position);
    }

    /// Notes that an item was given to the client, or is not for it any more.
    pub(super) fn passed(&mut self, item: &Item) {
        if item.is_retained {
            self.retained_passed(item);
        }
        // What comes at QoS 0 comes before its turn, what is retained out of it, and what a group deals in the group's own.
        if let Some(sequence) = item.message.sequence()
            && !item.is_retained
            && item.subscription.group().is_none()
            && item.message.qos_for(item.subscription.options().qos) != QoS::AtMostOnce
        {
            self.position = self.position.max(sequence);
        }
    }

    /// The place up to which all was given to the client or is not for it.
    pub(super) fn position(&self, adapter: &Adapter) -> u64 {
        // Read first: what was routed by then has been put into the mailbox.
        let routed = adapter.router.routed(self.shard(adapter));
        let is_idle = self.held.is_none() && self.caught.is_empty() && self.page.is_none();
        match is_idle && self.subscriber.mailbox.is_idle() && self.subscriber.len() > 0 {
            true => self.position.max(routed),
            false => self.position,
        }
    }

    /// Where the log ends, as far as this node knows.
    pub(super) fn head(&self, adapter: &Adapter) -> u64 {
        adapter.log.head(self.shard(adapter)).unwrap_or_default()
    }

    /// The shard that holds the messages for the client: all of its domain's.
    pub(super) fn shard(&self, adapter: &Adapter) -> Shard {
        adapter.log.shard_of(self.session.domain_id())
    }

    /// The next message, if there is one at hand. Starts to read the log when the client is behind.
    pub(super) fn next(&mut self, adapter: &Adapter) -> Option<Item> {
        if let Some(item) = self.held.take().or_else(|| self.caught.pop_front()) {
            return Some(item);
        }
        if self.page.is_some() || self.lookup.is_some() {
            return None;
        }
        if let Some(lookup) = self.lookups.pop_front() {
            self.was_read(&lookup.subscription, false);
            let retained = Arc::clone(&adapter.retained);
            self.lookup = Some(Box::pin(look(retained, lookup)));
            return None;
        }
        match self.subscriber.mailbox.take() {
            Next::Item(item) => Some(item),
            Next::Behind(from) => {
                self.page = Some(read(adapter, self.shard(adapter), from));
                None
            }
            Next::Nothing => None,
        }
    }

    /// Takes from a page of the log what the client asked for and did not get because it was behind.
    pub(super) fn catch_up(&mut self, page: Page) {
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
    pub(super) fn take_retained(&mut self, found: Found) {
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
        match rest {
            Some(_) if subscription.is_ended() => {}
            Some(rest) => self.lookups.push_front(rest),
            None => self.was_read(&subscription, true),
        }
    }
}

/// Reads a page of the log, when it is this session's turn.
pub(super) fn read(adapter: &Adapter, shard: Shard, from: u64) -> BoxFuture<'static, Result<Page, LogError>> {
    let (log, replays) = (Arc::clone(&adapter.log), Arc::clone(&adapter.replays));
    Box::pin(async move {
        let _turn = replays.acquire_owned().await;
        retry(READ_ATTEMPTS_MAX, || log.read(shard, from, PAGE)).await
    })
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

#[cfg(test)]
mod tests {
    use trunkline_bus::StoredEntry;
    use trunkline_bus::log::{Incarnation, Shard};
    use trunkline_core::Secret;
    use trunkline_gate::{Action, Credentials, Gate as _, OpenGate};
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
        let seat = directory.take(session.client_id(), Utf8Bytes::default(), session.id());
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

    #[tokio::test]
    async fn what_ended_subscriptions_were_owed_is_not_kept() {
        let (mut member, first) = member().await;
        let gate = OpenGate::new(Vec::new());
        let permit = gate.may(&member.session, Action::Subscribe, "a").await.unwrap();
        let unsent = || crate::session::Unsent { up_to: 1, after: None };
        for _ in 0..10 {
            let subscription = Arc::new(Subscription::new("a", &permit, first.options()));
            for _ in 0..2 {
                member.owe(Arc::clone(&subscription), unsent());
            }
            assert_eq!(member.lookups.len(), 1);
            subscription.end();
        }
    }

    #[tokio::test]
    async fn of_the_subscriptions_that_are_owed_one_alone_goes_on_where_it_was() {
        let (mut member, _) = member().await;
        let gate = OpenGate::new(Vec::new());
        let mut owed = Vec::new();
        for filter in ["a", "b", "c"] {
            let permit = gate.may(&member.session, Action::Subscribe, filter).await.unwrap();
            let (_, first) = self::member().await;
            let subscription = Arc::new(Subscription::new(filter, &permit, first.options()));
            let after = (filter != "a").then(|| filter.into());
            member.owe(Arc::clone(&subscription), crate::session::Unsent { up_to: 1, after });
            owed.push(subscription);
        }
        let after = |member: &Member| {
            let unsent = owed.iter().map(|subscription| member.unsent(subscription));
            unsent
                .map(|unsent| unsent.and_then(|unsent| unsent.after))
                .collect::<Vec<_>>()
        };
        assert_eq!(after(&member), [None, Some("b".into()), None]);
        member.was_read(&owed[1], true);
        assert_eq!(after(&member), [None, None, Some("c".into())]);
    }
}

//! A group on this node: its members that are connected here, and what they are dealt.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use trunkline_bus::log::Page;
use trunkline_core::digest::{DigestKey, KEY_BYTES};
use trunkline_core::{ChannelId, DomainId, SessionId};
use trunkline_gate::Permit;

use super::dealer::{Deal, Dealer, Read};
use crate::limits::SHARED_MEMBERS_MAX;
use crate::mailbox::Item;
use crate::message::Message;
use crate::subscription::{Subscriber, Subscription, matches};

/// What a group is known by: equal names stand for different groups on different filters, and in different channels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct GroupKey {
    pub(crate) place: (DomainId, ChannelId),
    pub(crate) name: Box<str>,
    /// What its filter asks for below the channel.
    pub(crate) pattern: Box<str>,
    /// Whether topics are free, and the pattern is the whole filter.
    pub(crate) is_free: bool,
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) key: GroupKey,
    id: u64,
    inner: Mutex<Inner>,
    /// Whether there is something that nobody had room for.
    is_waiting: AtomicBool,
    /// Whether messages are dealt.
    is_open: watch::Sender<bool>,
    /// There is something to be done by the group's task.
    pub(super) work: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    dealer: Dealer,
    presences: HashMap<SessionId, Presence>,
    read: Option<Read>,
}

/// A connection that has the group.
#[derive(Debug, Default)]
struct Presence {
    tickets: usize,
    seat: Option<Seat>,
}

/// A member that has its turns.
#[derive(Debug)]
struct Seat {
    subscriber: Arc<Subscriber>,
    subscription: Arc<Subscription>,
}

/// A connection's stay with a group. Once it is dropped, what the connection has of the group is another member's.
#[derive(Debug)]
pub(crate) struct Ticket {
    group: Arc<Group>,
    member: SessionId,
}

impl Ticket {
    pub(crate) const fn group(&self) -> &Arc<Group> {
        &self.group
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.group.give_back(self.member);
    }
}

impl GroupKey {
    /// The group `name` on the filter `asked`, for which `permit` was given.
    pub(crate) fn new(name: &str, asked: &str, permit: &Permit) -> Self {
        Self {
            place: (permit.domain_id(), permit.channel_id()),
            name: name.into(),
            pattern: permit.subtopic(asked).into(),
            is_free: permit.subtopic_at == 0,
        }
    }

    /// What stands for it in the record of a session.
    fn id(&self) -> u64 {
        let parts: [&[u8]; 4] = [
            self.place.0.as_bytes(),
            self.place.1.as_bytes(),
            self.name.as_bytes(),
            self.pattern.as_bytes(),
        ];
        let digest = DigestKey::new([0; KEY_BYTES]).digest(&parts);
        let (first, _) = digest.split_first_chunk().expect("a digest has more than 8 bytes");
        u64::from_be_bytes(*first)
    }
}

impl Group {
    pub(super) fn new(key: GroupKey) -> Self {
        Self {
            id: key.id(),
            key,
            inner: Mutex::default(),
            is_waiting: AtomicBool::new(false),
            is_open: watch::Sender::new(false),
            work: Notify::new(),
        }
    }

    /// What stands for it in the record of a session.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// Waits until messages are dealt. Cancel safe.
    pub(super) async fn opened(&self) {
        let _ = self.is_open.subscribe().wait_for(|is_open| *is_open).await;
    }

    /// Deals what is in the log after `position`, and what comes by from now on; to be followed by [`Group::reaches`].
    pub(super) fn begin_after(&self, position: u64) {
        self.lock().dealer.begin_after(position);
        self.is_open.send_replace(true);
    }

    /// As [`crate::queue::Queue::reaches`].
    pub(super) fn reaches(&self, head: u64) {
        let mut inner = self.lock();
        inner.dealer.reaches(head);
        self.deal(&mut inner);
    }

    /// A connection of `member` stays with the group; `None` when there are too many.
    pub(super) fn admit(self: &Arc<Self>, member: SessionId) -> Option<Ticket> {
        let mut inner = self.lock();
        if inner.presences.len() >= SHARED_MEMBERS_MAX && !inner.presences.contains_key(&member) {
            return None;
        }
        inner.presences.entry(member).or_default().tickets += 1;
        let group = Arc::clone(self);
        Some(Ticket { group, member })
    }

    fn give_back(&self, member: SessionId) {
        let mut inner = self.lock();
        let Some(presence) = inner.presences.get_mut(&member) else {
            return;
        };
        presence.tickets -= 1;
        if presence.tickets == 0 {
            inner.presences.remove(&member);
            inner.dealer.leave(member);
            self.deal(&mut inner);
            self.work.notify_one();
        }
    }

    /// Whether no connection here has the group.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().presences.is_empty()
    }

    /// From now on a connection that stays with the group has its turns.
    pub(crate) fn enter(&self, subscriber: &Arc<Subscriber>, subscription: &Arc<Subscription>) {
        let mut inner = self.lock();
        let Some(presence) = inner.presences.get_mut(&subscriber.key) else {
            return;
        };
        presence.seat = Some(Seat {
            subscriber: Arc::clone(subscriber),
            subscription: Arc::clone(subscription),
        });
        inner.dealer.enter(subscriber.key);
        self.deal(&mut inner);
    }

    /// From now on it has none. What was sent to it stays its own.
    pub(crate) fn step_out(&self, subscriber: &Subscriber, is_sent: impl Fn(u64) -> bool) {
        let mut inner = self.lock();
        if let Some(presence) = inner.presences.get_mut(&subscriber.key) {
            presence.seat = None;
        }
        inner.dealer.step_out(subscriber.key, is_sent);
        self.deal(&mut inner);
    }

    /// Takes a message of its channel that came by in the log.
    pub(super) fn route(&self, message: &Arc<Message>) {
        if *self.is_open.borrow() && self.matches(message) {
            let mut inner = self.lock();
            inner.dealer.put(Arc::clone(message));
            self.deal(&mut inner);
        }
    }

    /// Nobody is to have these messages any more.
    pub(crate) fn done(&self, sequence: u64) {
        self.lock().dealer.done(sequence);
    }

    /// Looks again who has room, if something waits for that.
    pub(crate) fn has_room_again(&self) {
        if self.is_waiting.load(Ordering::SeqCst) {
            self.deal(&mut self.lock());
        }
    }

    /// What is to be read from the log for the group.
    pub(super) fn to_read(&self) -> Option<Read> {
        self.lock().read
    }

    /// Takes a page of the log that was to be read. Gives how many messages the log has no longer.
    pub(super) fn was_read(&self, read: Read, page: Page) -> u64 {
        let is_asked_for = |message: &Arc<Message>| message.place() == Some(self.key.place) && self.matches(message);
        let next = page.next;
        let messages = page.entries.into_iter();
        let mut messages = messages.map(|entry| Arc::new(Message::new(entry.envelope, Some(entry.sequence))));
        let mut inner = self.lock();
        inner.read = None;
        let lost = match read {
            Read::From(_) => {
                inner.dealer.catch_up(messages.filter(is_asked_for), next);
                page.skipped
            }
            Read::One(sequence) => {
                let found = messages.find(|message| message.sequence() == Some(sequence));
                let lost = found.is_none();
                inner.dealer.read_again(sequence, found);
                lost.into()
            }
        };
        self.deal(&mut inner);
        lost
    }

    fn matches(&self, message: &Message) -> bool {
        matches(&self.key.pattern, &message.envelope().subtopic, self.key.is_free)
    }

    /// Deals as long as there are messages and room.
    fn deal(&self, inner: &mut Inner) {
        // Said before looking: who has room after that asks again.
        self.is_waiting.store(true, Ordering::SeqCst);
        let Inner {
            dealer,
            presences,
            read,
        } = inner;
        if read.is_some() {
            return;
        }
        let seat = |member: &SessionId| presences.get(member)?.seat.as_ref();
        loop {
            match dealer.deal(|member, message| seat(&member).is_some_and(|seat| seat.has_room(message))) {
                Deal::To(member, message) => {
                    if let Some(seat) = seat(&member) {
                        seat.give(message);
                    }
                }
                Deal::Read(what) => {
                    *read = Some(what);
                    self.work.notify_one();
                    return;
                }
                Deal::Full => return,
                Deal::Nothing => {
                    self.is_waiting.store(false, Ordering::SeqCst);
                    return;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn has_room(&self, message: &Message) -> bool {
        let qos = message.qos_for(self.subscription.options().qos);
        self.subscription.holds() && self.subscriber.room.has(qos)
    }

    fn give(&self, message: Arc<Message>) {
        self.subscriber.room.take();
        self.subscriber.mailbox.deal(Item {
            message,
            subscription: Arc::clone(&self.subscription),
            ids: self.subscription.options().id.into_iter().collect(),
            is_retained: false,
        });
    }
}

//! A group on this node: its members that are connected here, and what they are dealt.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use trunkline_bus::log::Page;
use trunkline_bus::state::Key;
use trunkline_core::{ChannelId, DomainId, NodeId, SessionId};
use trunkline_gate::Permit;
use trunkline_mqtt_wire::QoS;

use super::dealer::{Deal, Dealer, Read};
use super::record::{KeptMember, id_of, key_of};
use super::shares::Shares;
use super::standing::Standing;
use crate::limits::SHARED_MEMBERS_MAX;
use crate::mailbox::Item;
use crate::message::Message;
use crate::subscription::{Subscriber, Subscription, matches};

/// What a group is known by: equal names stand for different groups on different filters, and in different channels. A channel has an id and
/// a name, so two filters may ask for the same and are two.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct GroupKey {
    pub(crate) place: (DomainId, ChannelId),
    pub(crate) name: Box<str>,
    /// Its filter as it is spelled.
    pub(crate) filter: Box<str>,
    /// What its filter asks for below the channel.
    pub(crate) pattern: Box<str>,
    /// Whether topics are free, and the pattern is the whole filter.
    pub(crate) is_free: bool,
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) key: GroupKey,
    /// Where its record is.
    pub(super) state_key: Key,
    id: u64,
    standing: Arc<Standing>,
    inner: Mutex<Inner>,
    /// Whether a member that has room again is to say so.
    is_waiting: AtomicBool,
    /// The last change here that is in the record, or has no place in it.
    pub(super) saved: watch::Sender<u64>,
    /// There is something to be done by the group's task.
    pub(super) work: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) dealer: Dealer,
    pub(super) presences: HashMap<SessionId, Presence>,
    /// What is to be read from the log, for the turn that this node has.
    pub(super) read: Option<Read>,
    pub(super) shares: Shares,
}

/// A connection that has the group.
#[derive(Debug, Default)]
pub(super) struct Presence {
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
            filter: asked.into(),
            pattern: permit.subtopic(asked).into(),
            is_free: permit.subtopic_at == 0,
        }
    }
}

impl Group {
    pub(super) fn new(key: GroupKey, standing: Arc<Standing>) -> Self {
        let state_key = key_of(&key);
        Self {
            id: id_of(&state_key),
            state_key,
            key,
            standing,
            inner: Mutex::default(),
            is_waiting: AtomicBool::new(false),
            saved: watch::Sender::new(0),
            work: Notify::new(),
        }
    }

    /// What stands for it in the record of a session.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// As [`Dealer::reaches`].
    pub(super) fn reaches(&self, head: u64, was_asleep: bool) {
        let mut inner = self.lock();
        inner.dealer.reaches(head, was_asleep);
        self.deal(&mut inner);
    }

    /// A connection of `member` stays with the group; `None` when there are too many.
    pub(super) fn admit(self: &Arc<Self>, member: SessionId) -> Option<Ticket> {
        let mut inner = self.lock();
        if inner.presences.len() >= SHARED_MEMBERS_MAX && !inner.presences.contains_key(&member) {
            return None;
        }
        inner.presences.entry(member).or_default().tickets += 1;
        self.change(&mut inner);
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
            self.change(&mut inner);
        }
    }

    /// The group waits for a member while it is away, or does so no more. Gives the number of the change.
    pub(crate) fn keep(&self, member: KeptMember, is_kept: bool) -> u64 {
        let mut inner = self.lock();
        inner.shares.wishes.insert(member, is_kept);
        self.change(&mut inner)
    }

    /// Waits until these messages at QoS 2, which are in the record of a session, are dealt to nobody else whatever happens. Cancel safe.
    pub(crate) async fn settle(&self, sequences: &[u64]) {
        let number = {
            let mut inner = self.lock();
            // An earlier connection of the session may not have left yet.
            sequences.iter().for_each(|sequence| inner.dealer.forget(*sequence));
            if inner.shares.are_past(sequences) {
                return;
            }
            inner.shares.settling.extend(sequences);
            self.change(&mut inner)
        };
        self.is_saved(number).await;
    }

    /// Waits until a change is in the record, or has no place in it. Cancel safe.
    pub(super) async fn is_saved(&self, number: u64) {
        let mut saved = self.saved.subscribe();
        // It ends with the group, which whoever waits has.
        let _ = saved.wait_for(|saved| *saved >= number).await;
    }

    /// Whether the record says that this node has members, and that the group waits for the `kept` one.
    pub(super) fn has(&self, kept: Option<&KeptMember>) -> bool {
        self.lock().shares.has(kept)
    }

    /// Whether the record is to be looked at now.
    pub(super) fn is_urgent(&self) -> bool {
        self.lock().shares.is_urgent
    }

    /// Once a while: whether something may wait for the record to be looked at, as far as it is known who `runs`.
    pub(super) fn is_due(&self, routed: u64, runs: impl Fn(NodeId) -> bool) -> bool {
        let mut inner = self.lock();
        let is_behind = inner.shares.is_behind(routed);
        let is_lapsed = !self.standing.holds_since(inner.shares.comeback);
        inner.shares.is_due(runs) || is_behind || is_lapsed
    }

    /// The record was changed by `revision`.
    pub(super) fn heard(&self, revision: u64) {
        let mut inner = self.lock();
        if revision > inner.shares.revision() {
            inner.shares.is_urgent = true;
            self.work.notify_one();
        }
    }

    /// The number of the last change.
    pub(super) fn changes(&self) -> u64 {
        self.lock().shares.changes
    }

    /// Notes a change that is to be in the record at once.
    pub(super) fn change(&self, inner: &mut Inner) -> u64 {
        inner.shares.changes += 1;
        inner.shares.is_urgent = true;
        self.work.notify_one();
        inner.shares.changes
    }

    /// There may not be another group, or none that is understood.
    pub(super) fn refuse(&self) {
        let mut inner = self.lock();
        inner.stop();
        inner.shares.give_up();
        self.saved.send_replace(inner.shares.changes);
    }

    /// Whether no connection here has the group, and the record says so.
    pub(super) fn is_over(&self) -> bool {
        let inner = self.lock();
        inner.presences.is_empty() && inner.shares.is_saved()
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
        if self.matches(message) {
            let mut inner = self.lock();
            inner.dealer.put(Arc::clone(message));
            self.deal(&mut inner);
        }
    }

    /// Nobody is to have these messages any more.
    pub(crate) fn done(&self, sequence: u64) {
        let mut inner = self.lock();
        if inner.dealer.done(sequence) {
            inner.shares.changes += 1;
        }
    }

    /// Takes over what other nodes wrote up to now. Cancel safe.
    pub(super) async fn catch_up(&self) {
        let number = self.change(&mut self.lock());
        self.is_saved(number).await;
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

    /// Deals as long as there are messages and room, and it is the turn of this node.
    pub(super) fn deal(&self, inner: &mut Inner) {
        // Said before looking: who has room after that asks again.
        self.is_waiting.store(true, Ordering::SeqCst);
        if !self.deal_all(inner) {
            self.is_waiting.store(false, Ordering::SeqCst);
        }
        let has_room_again = !inner.shares.says_room() && inner.has_room();
        if has_room_again || (inner.dealer.is_on() && inner.shares.wants_to_pass(inner.dealer.dealt())) {
            inner.shares.is_urgent = true;
            self.work.notify_one();
        }
    }

    /// The same; says whether something waits, for room or for being told of it.
    fn deal_all(&self, inner: &mut Inner) -> bool {
        let Inner {
            dealer,
            presences,
            read,
            shares,
        } = inner;
        if read.is_some() || shares.is_passing || !self.standing.holds_since(shares.comeback) {
            return true;
        }
        let seat = |member: &SessionId| presences.get(member)?.seat.as_ref();
        shares.is_full = false;
        loop {
            match dealer.deal(|member, message| seat(&member).is_some_and(|seat| seat.has_room(message))) {
                Deal::To(member, message) => {
                    shares.changes += 1;
                    if let Some(seat) = seat(&member) {
                        seat.give(message);
                    }
                }
                Deal::Read(what) => {
                    *read = Some(what);
                    self.work.notify_one();
                    return true;
                }
                Deal::Full => {
                    shares.is_full = true;
                    return true;
                }
                Deal::Nothing => return !shares.says_room(),
            }
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether a member here has room for a message that is to be acknowledged, and may have one more.
    pub(super) fn has_room(&self) -> bool {
        let mut seats = self.presences.values().filter_map(|presence| presence.seat.as_ref());
        !self.dealer.is_full()
            && seats.any(|seat| seat.subscription.holds() && seat.subscriber.room.has(QoS::AtLeastOnce))
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

//! Which member of a group gets which message: the next in turn that has room. It has no lock, no log and no members of its own.
//!
//! What a member was dealt is its own until it is done: sent at QoS 0, acknowledged at QoS 1, in the keeping of its session at QoS 2. What a
//! member leaves undone goes to another, before anything else. Its place is remembered, and not the message, which the log has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use trunkline_core::SessionId;

use crate::limits::SHARED_HELD_MAX;
use crate::message::Message;
use crate::queue::{Next, Queue};

/// The messages of a group, and who has which.
#[derive(Debug, Default)]
pub(super) struct Dealer {
    /// Whether it deals: it is the turn of its node.
    is_on: bool,
    /// What is from this place on was not dealt, but what was returned.
    next: u64,
    /// Messages that were dealt in this turn of its node.
    dealt: usize,
    feed: Queue<Arc<Message>>,
    /// What was read from the log because the group was behind.
    caught: VecDeque<Arc<Message>>,
    /// Places of what a member has left undone; with the message, once that was read again.
    returned: BTreeMap<u64, Option<Arc<Message>>>,
    /// Places from `next` on of what is not to be dealt: it is in the record of a session.
    passed: BTreeSet<u64>,
    /// Messages at QoS 0 up to this place are not read from the log: they wait for nobody.
    quiet_to: u64,
    /// Places of what members have and are not done with.
    held: BTreeMap<u64, SessionId>,
    /// The next in turn is first.
    turns: VecDeque<SessionId>,
}

/// What is to be done for the next message.
#[derive(Debug)]
pub(super) enum Deal {
    /// This member gets it.
    To(SessionId, Arc<Message>),
    /// It must be read from the log first.
    Read(Read),
    /// Nobody has room for it.
    Full,
    /// There is none.
    Nothing,
}

/// What is to be read from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// The message at this place.
    One(u64),
    /// All from this place on.
    From(u64),
}

impl Dealer {
    /// Deals what is in the log from `next` on, except what was `passed`, and before that what was `returned`. To be followed by
    /// [`Dealer::reaches`].
    pub(super) fn start(&mut self, next: u64, returned: &BTreeSet<u64>, passed: &BTreeSet<u64>) {
        self.stop();
        (self.is_on, self.next, self.dealt, self.quiet_to) = (true, next, 0, u64::MAX);
        self.feed.begin_after(next.saturating_sub(1));
        for sequence in returned {
            self.again(*sequence);
        }
        self.passed.clone_from(passed);
    }

    /// As [`Queue::reaches`]; whether nobody was there for what is read from the log.
    pub(super) fn reaches(&mut self, head: u64, was_asleep: bool) {
        self.feed.reaches(head);
        self.quiet_to = if was_asleep { head } else { 0 };
    }

    /// Deals nothing any more. What members have stays theirs.
    pub(super) fn stop(&mut self) {
        self.is_on = false;
        self.feed = Queue::default();
        self.caught.clear();
        self.passed.clear();
    }

    pub(super) const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Messages that were dealt in this turn.
    pub(super) const fn dealt(&self) -> usize {
        self.dealt
    }

    /// What is from this place on was not dealt, where everything up to `routed` came by before this is asked.
    pub(super) fn next(&mut self, routed: u64) -> u64 {
        if self.is_on && self.caught.is_empty() && self.feed.is_idle() {
            self.next = self.next.max(routed + 1);
        }
        let next = self.next;
        self.passed.retain(|sequence| *sequence >= next);
        next
    }

    pub(super) fn returned(&self) -> BTreeSet<u64> {
        self.returned.keys().copied().collect()
    }

    pub(super) const fn passed(&self) -> &BTreeSet<u64> {
        &self.passed
    }

    pub(super) fn held(&self) -> BTreeSet<u64> {
        self.held.keys().copied().collect()
    }

    /// What was returned is for another node to deal.
    pub(super) fn was_taken(&mut self, returned: &BTreeSet<u64>) {
        self.returned.retain(|sequence, _| !returned.contains(sequence));
    }

    /// What members have was taken from this node, and what they gave back since: others deal it, or have dealt it.
    pub(super) fn was_robbed(&mut self) {
        self.held.clear();
        self.returned.clear();
    }

    /// A message that a member here had is in the record of a session.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.held.remove(&sequence);
        self.pass(sequence);
    }

    /// Somebody left a message undone.
    pub(super) fn again(&mut self, sequence: u64) {
        if !self.held.contains_key(&sequence) {
            self.returned.entry(sequence).or_default();
        }
    }

    /// A message is in the record of a session, and not to be dealt.
    pub(super) fn pass(&mut self, sequence: u64) {
        self.returned.remove(&sequence);
        if sequence >= self.next {
            self.passed.insert(sequence);
        }
    }

    /// Takes a message that came by; one without a place in the log is for nobody here.
    pub(super) fn put(&mut self, message: Arc<Message>) {
        let (bytes, place) = (message.bytes(), message.sequence());
        if place.is_some() && self.is_on {
            self.feed.put(message, bytes, place);
        }
    }

    /// Takes what the log has from a place that was to be read up to but without `next`: what the group asks for of it.
    pub(super) fn catch_up(&mut self, messages: impl IntoIterator<Item = Arc<Message>>, next: u64) {
        for message in messages {
            if self.feed.has_caught_up(message.sequence().unwrap_or_default()) {
                return;
            }
            let waits = message.envelope().qos > 0 || message.sequence() > Some(self.quiet_to);
            if waits && message.sequence() >= Some(self.next) {
                self.caught.push_back(message);
            }
        }
        self.feed.has_caught_up(next);
    }

    /// Takes a message that was to be read once more; `None` when the log has it no longer.
    pub(super) fn read_again(&mut self, sequence: u64, message: Option<Arc<Message>>) {
        match (self.returned.get_mut(&sequence), message) {
            (Some(returned), Some(message)) => *returned = Some(message),
            (Some(_), None) => drop(self.returned.remove(&sequence)),
            (None, _) => {}
        }
    }

    /// From now on a member has its turns.
    pub(super) fn enter(&mut self, member: SessionId) {
        if !self.turns.contains(&member) {
            self.turns.push_back(member);
        }
    }

    /// A member has no turns any more. What was sent to it stays its own, and the rest is another's.
    pub(super) fn step_out(&mut self, member: SessionId, is_sent: impl Fn(u64) -> bool) {
        self.turns.retain(|other| *other != member);
        let back = self
            .held
            .extract_if(.., |sequence, holder| *holder == member && !is_sent(*sequence));
        self.returned.extend(back.map(|(sequence, _)| (sequence, None)));
    }

    /// A member is gone, and what it has is another's.
    pub(super) fn leave(&mut self, member: SessionId) {
        self.step_out(member, |_| false);
    }

    /// Nobody is to have the message any more; says whether somebody had it.
    pub(super) fn done(&mut self, sequence: u64) -> bool {
        self.held.remove(&sequence).is_some()
    }

    /// Whether members have as many messages as they may have.
    pub(super) fn is_full(&self) -> bool {
        self.held.len() >= SHARED_HELD_MAX
    }

    /// Whether there is a message to be dealt.
    pub(super) fn is_waiting(&self) -> bool {
        !self.returned.is_empty() || !self.caught.is_empty() || !self.feed.is_idle()
    }

    /// Deals the next message to the first in turn that `has_room` for it.
    pub(super) fn deal(&mut self, has_room: impl Fn(SessionId, &Message) -> bool) -> Deal {
        if !self.is_on {
            return Deal::Nothing;
        }
        if self.is_full() || self.turns.is_empty() {
            return if self.is_waiting() { Deal::Full } else { Deal::Nothing };
        }
        loop {
            let (message, is_again) = match (self.returned.first_key_value(), self.caught.front()) {
                (Some((_, Some(message))), _) => (Arc::clone(message), true),
                (Some((sequence, None)), _) => return Deal::Read(Read::One(*sequence)),
                (None, Some(message)) => (Arc::clone(message), false),
                (None, None) => match self.feed.peek() {
                    Next::Item(message) => (Arc::clone(message), false),
                    Next::Behind(from) => return Deal::Read(Read::From(from)),
                    Next::Nothing => return Deal::Nothing,
                },
            };
            let sequence = message.sequence().unwrap_or_default();
            if !is_again && self.passed.remove(&sequence) {
                self.take_next(sequence, is_again);
                continue;
            }
            let Some(turn) = self.turns.iter().position(|member| has_room(*member, &message)) else {
                return Deal::Full;
            };
            self.take_next(sequence, is_again);
            let member = self.turns.remove(turn).expect("the position was found");
            self.turns.push_back(member);
            self.held.insert(sequence, member);
            self.dealt += 1;
            return Deal::To(member, message);
        }
    }

    fn take_next(&mut self, sequence: u64, is_again: bool) {
        if is_again {
            self.returned.remove(&sequence);
            return;
        }
        if self.caught.pop_front().is_none() {
            self.feed.take();
        }
        self.next = self.next.max(sequence + 1);
    }
}

#[cfg(test)]
mod tests;

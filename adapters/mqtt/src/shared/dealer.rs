//! Which member of a group gets which message: the next in turn that has room. It has no lock, no log and no members of its own.
//!
//! What a member was dealt is its own until it is done: sent at QoS 0, acknowledged at QoS 1, in the keeping of its session at QoS 2. What a
//! member leaves undone goes to another, before anything else. Its place is remembered, and not the message, which the log has.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use trunkline_core::SessionId;

use crate::limits::SHARED_HELD_MAX;
use crate::message::Message;
use crate::queue::{Next, Queue};

/// The messages of a group, and who has which.
#[derive(Debug, Default)]
pub(super) struct Dealer {
    feed: Queue<Arc<Message>>,
    /// What was read from the log because the group was behind.
    caught: VecDeque<Arc<Message>>,
    /// Places of what a member has left undone; with the message, once that was read again.
    returned: BTreeMap<u64, Option<Arc<Message>>>,
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
    /// As [`Queue::begin_after`]; to be followed by [`Dealer::reaches`].
    pub(super) fn begin_after(&mut self, position: u64) {
        self.feed.begin_after(position);
    }

    /// As [`Queue::reaches`].
    pub(super) fn reaches(&mut self, head: u64) {
        self.feed.reaches(head);
    }

    /// Takes a message that came by; one without a place in the log is for nobody here.
    pub(super) fn put(&mut self, message: Arc<Message>) {
        let (bytes, place) = (message.bytes(), message.sequence());
        if place.is_some() {
            self.feed.put(message, bytes, place);
        }
    }

    /// Takes what the log has from a place that was to be read up to but without `next`: what the group asks for of it.
    pub(super) fn catch_up(&mut self, messages: impl IntoIterator<Item = Arc<Message>>, next: u64) {
        for message in messages {
            if self.feed.has_caught_up(message.sequence().unwrap_or_default()) {
                return;
            }
            self.caught.push_back(message);
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

    /// Nobody is to have the message any more.
    pub(super) fn done(&mut self, sequence: u64) {
        self.held.remove(&sequence);
    }

    /// Whether there is a message to be dealt.
    pub(super) fn is_waiting(&self) -> bool {
        !self.returned.is_empty() || !self.caught.is_empty() || !self.feed.is_idle()
    }

    /// Deals the next message to the first in turn that `has_room` for it.
    pub(super) fn deal(&mut self, has_room: impl Fn(SessionId, &Message) -> bool) -> Deal {
        if self.held.len() >= SHARED_HELD_MAX || self.turns.is_empty() {
            return if self.is_waiting() { Deal::Full } else { Deal::Nothing };
        }
        let next = match (self.returned.first_key_value(), self.caught.front()) {
            (Some((_, Some(message))), _) | (None, Some(message)) => message,
            (Some((sequence, None)), _) => return Deal::Read(Read::One(*sequence)),
            (None, None) => match self.feed.peek() {
                Next::Item(message) => message,
                Next::Behind(from) => return Deal::Read(Read::From(from)),
                Next::Nothing => return Deal::Nothing,
            },
        };
        let Some(turn) = self.turns.iter().position(|member| has_room(*member, next)) else {
            return Deal::Full;
        };
        let message = Arc::clone(next);
        let sequence = message.sequence().unwrap_or_default();
        match (self.returned.pop_first(), self.caught.is_empty()) {
            (Some(_), _) => {}
            (None, false) => drop(self.caught.pop_front()),
            (None, true) => drop(self.feed.take()),
        }
        let member = self.turns.remove(turn).expect("the position was found");
        self.turns.push_back(member);
        self.held.insert(sequence, member);
        Deal::To(member, message)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;
    use trunkline_proto::messages::v1::Envelope;

    use super::*;

    fn message(sequence: u64) -> Arc<Message> {
        Arc::new(Message::new(Arc::new(Envelope::default()), Some(sequence)))
    }

    /// Deals to whoever is next, and gives who got what.
    fn next(dealer: &mut Dealer) -> Option<(SessionId, u64)> {
        match dealer.deal(|_, _| true) {
            Deal::To(member, message) => message.sequence().map(|sequence| (member, sequence)),
            Deal::Read(Read::One(sequence)) => {
                dealer.read_again(sequence, Some(message(sequence)));
                next(dealer)
            }
            Deal::Read(Read::From(_)) | Deal::Full | Deal::Nothing => None,
        }
    }

    fn dealer(members: &[SessionId], messages: std::ops::RangeInclusive<u64>) -> Dealer {
        let mut dealer = Dealer::default();
        for member in members {
            dealer.enter(*member);
        }
        for sequence in messages {
            dealer.put(message(sequence));
        }
        dealer
    }

    #[test]
    fn members_have_their_turns_and_a_full_one_is_passed_over() {
        let [one, two, three] = [(); 3].map(|()| SessionId::new());
        let mut dealer = dealer(&[one, two, three], 1..=7);
        for (member, sequence) in [(one, 1), (two, 2), (three, 3), (one, 4)] {
            assert_eq!(next(&mut dealer), Some((member, sequence)));
        }
        let Deal::To(member, _) = dealer.deal(|member, _| member != two) else {
            panic!("somebody has room");
        };
        assert_eq!(member, three);
        // Who was passed over is the first that gets one when it has room.
        assert_eq!(next(&mut dealer), Some((two, 6)));
        assert!(matches!(dealer.deal(|_, _| false), Deal::Full));
        assert_eq!(next(&mut dealer), Some((one, 7)));
        assert!(matches!(dealer.deal(|_, _| true), Deal::Nothing));
    }

    #[test]
    fn what_a_member_leaves_undone_goes_to_another_before_anything_else() {
        let [one, two] = [(); 2].map(|()| SessionId::new());
        let mut dealer = dealer(&[one, two], 1..=5);
        for _ in 0..4 {
            next(&mut dealer);
        }
        dealer.done(3);
        dealer.leave(one);
        assert_eq!(next(&mut dealer), Some((two, 1)));
        assert_eq!(next(&mut dealer), Some((two, 5)));
        dealer.leave(two);
        assert!(matches!(dealer.deal(|_, _| true), Deal::Full), "nobody is there");
        dealer.enter(one);
        let again: Vec<_> = std::iter::from_fn(|| next(&mut dealer)).collect();
        assert_eq!(again, [1, 2, 4, 5].map(|sequence| (one, sequence)));
    }

    #[test]
    fn who_steps_out_keeps_what_it_was_sent() {
        let [one, two] = [(); 2].map(|()| SessionId::new());
        let mut dealer = dealer(&[one], 1..=2);
        while next(&mut dealer).is_some() {}
        dealer.step_out(one, |sequence| sequence == 1);
        dealer.enter(two);
        assert_eq!(next(&mut dealer), Some((two, 2)));
        assert_eq!(next(&mut dealer), None);
        dealer.leave(one);
        assert_eq!(next(&mut dealer), Some((two, 1)));
    }

    #[test]
    fn what_the_log_has_no_longer_is_not_waited_for() {
        let [one, two] = [(); 2].map(|()| SessionId::new());
        let mut dealer = dealer(&[one], 1..=2);
        while next(&mut dealer).is_some() {}
        dealer.leave(one);
        dealer.enter(two);
        dealer.read_again(1, None);
        assert_eq!(next(&mut dealer), Some((two, 2)));
    }

    #[test]
    fn a_group_has_a_bounded_number_of_messages_under_way() {
        let member = SessionId::new();
        let mut dealer = Dealer::default();
        dealer.enter(member);
        for sequence in 1..=SHARED_HELD_MAX as u64 {
            dealer.put(message(sequence));
            assert!(next(&mut dealer).is_some());
        }
        dealer.put(message(u64::MAX));
        assert!(matches!(dealer.deal(|_, _| true), Deal::Full));
        dealer.done(7);
        assert_eq!(next(&mut dealer), Some((member, u64::MAX)));
    }

    /// What happens to a group.
    #[derive(Debug, Clone)]
    enum Happening {
        Stored(u8),
        Entered(usize),
        SteppedOut(usize),
        Left(usize),
        Dealt(usize),
        Done(usize),
    }

    fn happenings() -> impl Strategy<Value = Happening> {
        let member = || 0..4_usize;
        prop_oneof![
            3 => (1..40_u8).prop_map(Happening::Stored),
            1 => member().prop_map(Happening::Entered),
            1 => member().prop_map(Happening::SteppedOut),
            1 => member().prop_map(Happening::Left),
            6 => member().prop_map(Happening::Dealt),
            6 => (0..10_usize).prop_map(Happening::Done),
        ]
    }

    proptest! {
        #[test]
        fn each_message_is_had_by_one_member_at_a_time_until_it_is_done_and_none_is_lost(
            happenings in proptest::collection::vec(happenings(), 1..300), (small, start) in (1..50_u64, 0..100_u64),
        ) {
            let members: Vec<_> = (0..4).map(|_| SessionId::new()).collect();
            let (mut dealer, mut head) = (Dealer::default(), start);
            let (mut has, mut done) = (HashMap::new(), BTreeSet::new());
            dealer.begin_after(0);
            dealer.reaches(start);
            for happening in happenings.into_iter().chain([Happening::Entered(0), Happening::Dealt(usize::MAX)]) {
                match happening {
                    Happening::Stored(count) => for _ in 0..count {
                        head += 1;
                        dealer.put(message(head));
                    },
                    Happening::Entered(member) => dealer.enter(members[member]),
                    Happening::SteppedOut(member) => dealer.step_out(members[member], |_| true),
                    Happening::Left(member) => {
                        dealer.leave(members[member]);
                        has.retain(|_, holder| *holder != members[member]);
                    }
                    Happening::Done(nth) => if let Some(sequence) = has.keys().copied().nth(nth) {
                        has.remove(&sequence);
                        done.insert(sequence);
                        dealer.done(sequence);
                    },
                    Happening::Dealt(full) => loop {
                        match dealer.deal(|member, _| members.get(full) != Some(&member)) {
                            Deal::To(member, message) => {
                                let sequence = message.sequence().unwrap();
                                prop_assert!(!done.contains(&sequence), "{sequence} is done");
                                prop_assert_eq!(has.insert(sequence, member), None, "{} is had", sequence);
                            }
                            Deal::Read(Read::One(sequence)) => dealer.read_again(sequence, Some(message(sequence))),
                            Deal::Read(Read::From(from)) => {
                                let to = head.min(from + small);
                                dealer.catch_up((from..=to).map(message), to + 1);
                            }
                            Deal::Full | Deal::Nothing => break,
                        }
                    },
                }
            }
            prop_assert_eq!(done.len() + has.len(), usize::try_from(head).unwrap());
        }
    }
}

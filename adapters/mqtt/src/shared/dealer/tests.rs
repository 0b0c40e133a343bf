//! Who gets what, over members that come and go and two nodes that have their turns.

use std::collections::HashMap;

use proptest::prelude::*;
use trunkline_proto::messages::v1::Envelope;

use super::*;

fn message(sequence: u64) -> Arc<Message> {
    let envelope = Envelope {
        qos: 1,
        ..Envelope::default()
    };
    Arc::new(Message::new(Arc::new(envelope), Some(sequence)))
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

/// A dealer that has the turn, of a new group.
fn on() -> Dealer {
    let mut dealer = Dealer::default();
    dealer.start(1, &BTreeSet::new(), &BTreeSet::new());
    dealer.reaches(0, false);
    dealer
}

fn dealer(members: &[SessionId], messages: std::ops::RangeInclusive<u64>) -> Dealer {
    let mut dealer = on();
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
    let mut dealer = on();
    dealer.enter(member);
    for sequence in 1..=SHARED_HELD_MAX as u64 {
        dealer.put(message(sequence));
        assert!(next(&mut dealer).is_some());
    }
    dealer.put(message(1_000_000));
    assert!(matches!(dealer.deal(|_, _| true), Deal::Full));
    dealer.done(7);
    assert_eq!(next(&mut dealer), Some((member, 1_000_000)));
}

#[test]
fn what_a_session_keeps_is_dealt_to_nobody() {
    let member = SessionId::new();
    let mut dealer = Dealer::default();
    dealer.enter(member);
    dealer.start(5, &BTreeSet::from([2, 3]), &BTreeSet::from([6]));
    dealer.reaches(4, false);
    dealer.pass(3);
    for sequence in 5..=7 {
        dealer.put(message(sequence));
    }
    let dealt: Vec<_> = std::iter::from_fn(|| next(&mut dealer)).collect();
    assert_eq!(dealt, [2, 5, 7].map(|sequence| (member, sequence)));
}

#[test]
fn the_next_place_follows_what_came_by_only_when_nothing_waits() {
    let member = SessionId::new();
    let mut dealer = dealer(&[member], 1..=2);
    assert_eq!(dealer.next(9), 1);
    while next(&mut dealer).is_some() {}
    assert_eq!(dealer.next(9), 10);
    dealer.stop();
    assert_eq!(dealer.next(20), 10, "it is another node's turn");
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
    Turn,
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
        1 => Just(Happening::Turn),
    ]
}

/// What a record would say between two turns.
fn pass_the_turn(from: &mut Dealer, to: &mut Dealer, head: u64) {
    let (next, returned, passed) = (from.next(head), from.returned(), from.passed().clone());
    from.stop();
    from.was_taken(&returned);
    to.start(next, &returned, &passed);
    to.reaches(head, false);
}

proptest! {
    #[test]
    fn each_message_is_had_by_one_member_at_a_time_until_it_is_done_and_none_is_lost_over_two_nodes(
        happenings in proptest::collection::vec(happenings(), 1..300), (page, start) in (1..50_u64, 0..100_u64),
    ) {
        let members: Vec<_> = (0..4).map(|_| SessionId::new()).collect();
        // Members 0 and 1 are on one node, and the others on another.
        let (mut dealers, mut turn, mut head) = ([Dealer::default(), Dealer::default()], 0, start);
        let (mut has, mut done) = (HashMap::<u64, usize>::new(), BTreeSet::new());
        dealers[0].start(1, &BTreeSet::new(), &BTreeSet::new());
        dealers[0].reaches(start, false);
        let end = [Happening::Entered(0), Happening::Entered(2), Happening::Turn, Happening::Turn, Happening::Dealt(usize::MAX)];
        for happening in happenings.into_iter().chain(end) {
            match happening {
                Happening::Stored(count) => for _ in 0..count {
                    head += 1;
                    for dealer in &mut dealers { dealer.put(message(head)); }
                },
                Happening::Entered(member) => dealers[member / 2].enter(members[member]),
                Happening::SteppedOut(member) => dealers[member / 2].step_out(members[member], |_| true),
                Happening::Left(member) => {
                    dealers[member / 2].leave(members[member]);
                    has.retain(|_, holder| *holder != member);
                }
                Happening::Turn => {
                    let [one, other] = &mut dealers;
                    let (from, to) = if turn == 0 { (one, other) } else { (other, one) };
                    // What the other node's members left undone is in the record, too.
                    for sequence in to.returned() { from.again(sequence); }
                    to.was_taken(&to.returned());
                    pass_the_turn(from, to, head);
                    turn = 1 - turn;
                }
                Happening::Done(nth) => if let Some((sequence, holder)) = has.iter().map(|(sequence, holder)| (*sequence, *holder)).nth(nth) {
                    has.remove(&sequence);
                    done.insert(sequence);
                    prop_assert!(dealers[holder / 2].done(sequence));
                },
                Happening::Dealt(full) => for dealer in &mut dealers {
                    loop {
                        match dealer.deal(|member, _| members.get(full) != Some(&member)) {
                            Deal::To(member, message) => {
                                let sequence = message.sequence().unwrap();
                                let holder = members.iter().position(|other| *other == member).unwrap();
                                prop_assert!(!done.contains(&sequence), "{sequence} is done");
                                prop_assert_eq!(has.insert(sequence, holder), None, "{} is had", sequence);
                            }
                            Deal::Read(Read::One(sequence)) => dealer.read_again(sequence, Some(message(sequence))),
                            Deal::Read(Read::From(from)) => {
                                let to = head.min(from + page);
                                let entries = (from..=to).map(message);
                                dealer.catch_up(entries, to + 1);
                            }
                            Deal::Full | Deal::Nothing => break,
                        }
                    }
                },
            }
        }
        prop_assert_eq!(done.len() + has.len(), usize::try_from(head).unwrap());
    }
}

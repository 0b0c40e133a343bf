//! What a node takes over from the record of a group, and when.

use std::sync::Arc;

use trunkline_bus::log::Incarnation;
use trunkline_core::SessionId;

use super::*;
use crate::message::Message;
use crate::shared::dealer::{Deal, Read};

/// A node with a member in a group.
struct Scene {
    node: NodeId,
    member: SessionId,
    inner: Inner,
    /// What the record says.
    record: Record,
    revision: u64,
    /// Everything up to this place came by.
    routed: u64,
}

impl Scene {
    /// It has the turn, and nothing was dealt.
    fn start() -> Self {
        let member = SessionId::new();
        let mut inner = Inner::default();
        inner.presences.entry(member).or_default();
        inner.dealer.enter(member);
        let mut scene = Self {
            node: NodeId::new(),
            member,
            inner,
            record: Record::new(Incarnation(1), 5),
            revision: 0,
            routed: 4,
        };
        let draft = scene.draft(|_| {});
        scene.write(draft);
        scene.inner.dealer.reaches(4, false);
        scene
    }

    /// What is to be written, where `clear` is done for nodes that are gone.
    fn draft(&mut self, clear: impl FnOnce(&mut Record)) -> Draft {
        let read = self.record.clone();
        let mut cleared = read.clone();
        clear(&mut cleared);
        let base = Base {
            read,
            revision: self.revision,
            cleared,
            changes: self.inner.shares.look(),
        };
        self.inner.draft(base, (self.node, 0, self.routed))
    }

    fn write(&mut self, draft: Draft) {
        self.revision += 1;
        self.record = draft.record.clone();
        self.inner.adopt(draft, self.node, self.revision);
    }

    /// It was written, and the answer was lost.
    fn write_unheard(&mut self, draft: Draft) {
        self.revision += 1;
        self.record = draft.record;
    }

    /// Another node wrote what `change` does.
    fn hear(&mut self, change: impl FnOnce(&mut Record)) {
        self.revision += 1;
        change(&mut self.record);
    }

    /// The place that is to be dealt again next, if there is one.
    fn again(&mut self) -> Option<u64> {
        match self.inner.dealer.deal(|_, _| true) {
            Deal::Read(Read::One(sequence)) => Some(sequence),
            _ => None,
        }
    }

    /// Deals a message that comes by at `sequence` to the member.
    fn deal(&mut self, sequence: u64) {
        let message = Message::new(Arc::default(), Some(sequence));
        self.inner.dealer.put(Arc::new(message));
        self.give();
    }

    /// The same for one that was to be dealt again.
    fn deal_again(&mut self, sequence: u64) {
        assert_eq!(self.again(), Some(sequence));
        let message = Message::new(Arc::default(), Some(sequence));
        self.inner.dealer.read_again(sequence, Some(Arc::new(message)));
        self.give();
    }

    fn give(&mut self) {
        assert!(matches!(self.inner.dealer.deal(|_, _| true), Deal::To(..)));
        self.inner.shares.changes += 1;
    }

    /// The member is gone.
    fn leave(&mut self) {
        self.inner.presences.clear();
        self.inner.dealer.leave(self.member);
        self.inner.shares.changes += 1;
    }

    /// Another node has these.
    fn share(&mut self, held: impl Into<BTreeSet<u64>>) -> NodeId {
        let node = NodeId::new();
        self.record.nodes.push(NodeShare {
            node,
            writes: 1,
            has_room: true,
            held: held.into(),
        });
        node
    }
}

#[test]
fn what_a_node_had_that_is_gone_is_dealt_once_the_record_says_so() {
    let mut scene = Scene::start();
    let gone = scene.share([2]);
    scene.draft(|record| record.remove(gone));
    assert_eq!(scene.again(), None, "that was not written");
    // It was heard of again, and wrote.
    scene.hear(|_| {});
    let draft = scene.draft(|_| {});
    assert!(draft.record.returned.is_empty());
    scene.write(draft);
    assert_eq!(scene.again(), None);
    let draft = scene.draft(|record| record.remove(gone));
    scene.write(draft);
    assert_eq!(scene.again(), Some(2));
}

#[test]
fn what_another_node_has_had_completed_is_not_dealt_again() {
    let mut scene = Scene::start();
    scene.inner.dealer.again(2);
    let draft = scene.draft(|_| {});
    scene.write(draft);
    assert_eq!(scene.again(), Some(2));
    scene.record.pass(2);
    let draft = scene.draft(|_| {});
    scene.write(draft);
    assert_eq!((scene.again(), scene.record.is_past(2)), (None, true));
}

#[test]
fn what_a_session_went_on_with_elsewhere_is_not_held_here_any_more() {
    let mut scene = Scene::start();
    scene.deal(5);
    // The record does not say yet that it was dealt.
    scene.record.pass(5);
    let draft = scene.draft(|_| {});
    scene.write(draft);
    assert!(scene.record.is_past(5));
}

#[test]
fn what_was_written_without_an_answer_is_not_taken_for_what_others_wrote() {
    let mut scene = Scene::start();
    let gone = scene.share([2]);
    scene.inner.dealer.again(3);
    let draft = scene.draft(|record| record.remove(gone));
    assert_eq!(draft.record.returned, BTreeSet::from([2, 3]));
    scene.write_unheard(draft);
    // It was dealt meanwhile, and a session has it.
    scene.inner.dealer.forget(3);
    let draft = scene.draft(|_| {});
    scene.write(draft);
    assert!(scene.record.is_past(3) && !scene.record.is_past(2));
    assert_eq!(scene.again(), Some(2));
}

#[test]
fn what_was_taken_from_a_node_is_not_given_back_by_it_as_well() {
    let mut scene = Scene::start();
    for sequence in [5, 6] {
        scene.deal(sequence);
    }
    let draft = scene.draft(|_| {});
    scene.write(draft);
    let other = scene.share([]);
    scene.record.remove(scene.node);
    scene.record.turn = Some(other);
    // Others have dealt one of them, and it is done.
    scene.record.returned.remove(&5);
    scene.inner.dealer.leave(scene.member);
    let draft = scene.draft(|_| {});
    assert_eq!(draft.record.returned, BTreeSet::from([6]));
}

#[test]
fn what_was_to_be_read_in_one_turn_is_not_taken_for_what_the_next_one_asks_for() {
    let mut scene = Scene::start();
    scene.inner.read = Some(Read::From(40));
    scene.record.turn = Some(scene.share([]));
    let draft = scene.draft(|_| {});
    scene.write(draft);
    assert_eq!(scene.inner.read, None);
}

#[test]
fn a_group_that_has_nothing_to_say_writes_nothing_and_looks_at_nothing() {
    let mut scene = Scene::start();
    let other = scene.share([]);
    let draft = scene.draft(|_| {});
    scene.write(draft);
    scene.routed = SAVE_LAG_MAX;
    assert_eq!(scene.draft(|_| {}).record, scene.record);
    let shares = &mut scene.inner.shares;
    assert!(!shares.is_due(|node| node == other) && shares.is_due(|_| false));
    // Far behind, a node that begins to deal would have much to read.
    scene.routed = SAVE_LAG_MAX + 5;
    let draft = scene.draft(|_| {});
    assert_eq!(draft.record.next, SAVE_LAG_MAX + 6);
    scene.write(draft);
    scene.inner.shares.changes += 1;
    scene.routed += 1;
    assert_eq!(scene.draft(|_| {}).record.next, SAVE_LAG_MAX + 7);
    assert!(scene.inner.shares.is_due(|_| true));
}

#[test]
fn what_is_heard_or_changes_while_the_record_is_read_is_looked_at_again() {
    let mut scene = Scene::start();
    let base = Base {
        read: scene.record.clone(),
        revision: scene.revision,
        cleared: scene.record.clone(),
        changes: scene.inner.shares.look(),
    };
    scene.inner.shares.is_urgent = true;
    scene.inner.shares.changes += 1;
    let draft = scene.inner.draft(base, (scene.node, 0, scene.routed));
    scene.write(draft);
    assert!(scene.inner.shares.is_urgent && !scene.inner.shares.is_saved());
}

#[test]
fn what_was_acknowledged_just_before_the_last_member_left_is_not_dealt_again() {
    let mut scene = Scene::start();
    scene.deal(5);
    let draft = scene.draft(|_| {});
    scene.write(draft);
    scene.share([]);
    assert!(scene.inner.dealer.done(5));
    scene.leave();
    let draft = scene.draft(|_| {});
    scene.write(draft);
    assert!(scene.record.is_past(5), "{:?}", scene.record);
}

#[test]
fn what_was_dealt_again_is_not_lost_when_that_was_written_unheard_and_another_wrote() {
    let mut scene = Scene::start();
    scene.inner.dealer.again(2);
    let draft = scene.draft(|_| {});
    scene.write(draft);
    scene.deal_again(2);
    let draft = scene.draft(|_| {});
    scene.write_unheard(draft);
    scene.hear(|_| {});
    let draft = scene.draft(|_| {});
    scene.write(draft);
    assert_eq!(scene.record.held(scene.node), Some(&BTreeSet::from([2])));
    scene.leave();
    assert_eq!(scene.inner.dealer.returned(), BTreeSet::from([2]));
}

#[test]
fn what_was_passed_on_with_the_turn_is_not_given_back_once_more_when_that_was_written_unheard() {
    let mut scene = Scene::start();
    let other = scene.share([]);
    let draft = scene.draft(|_| {});
    scene.write(draft);
    scene.inner.dealer.again(2);
    scene.inner.shares.is_full = true;
    let draft = scene.draft(|_| {});
    assert_eq!((draft.record.turn, draft.record.returned.len()), (Some(other), 1));
    scene.write_unheard(draft);
    // It deals that, and its member is done.
    scene.hear(|record| record.returned.clear());
    let draft = scene.draft(|_| {});
    scene.write(draft);
    assert!(scene.record.is_past(2), "{:?}", scene.record);
}

#[test]
fn a_node_that_gets_back_a_turn_which_it_passed_on_unheard_deals_nothing_of_what_was_dealt_meanwhile() {
    let mut scene = Scene::start();
    let other = scene.share([]);
    let draft = scene.draft(|_| {});
    scene.write(draft);
    scene.inner.shares.is_full = true;
    let draft = scene.draft(|_| {});
    assert_eq!(draft.record.turn, Some(other));
    scene.write_unheard(draft);
    let node = scene.node;
    scene.hear(|record| (record.turn, record.next) = (Some(node), 9));
    for sequence in 5..=9 {
        let message = Message::new(Arc::default(), Some(sequence));
        scene.inner.dealer.put(Arc::new(message));
    }
    scene.routed = 9;
    let draft = scene.draft(|_| {});
    assert_eq!(scene.inner.adopt(draft, node, 9), Follows::Turn);
    scene.inner.dealer.reaches(9, false);
    assert!(matches!(
        scene.inner.dealer.deal(|_, _| true),
        Deal::Read(Read::From(9))
    ));
}

#[test]
fn what_a_session_went_on_with_elsewhere_is_not_held_here_though_that_it_was_dealt_was_written_unheard() {
    let mut scene = Scene::start();
    scene.deal(5);
    let draft = scene.draft(|_| {});
    scene.write_unheard(draft);
    scene.hear(|record| record.pass(5));
    let draft = scene.draft(|_| {});
    scene.write(draft);
    assert!(scene.record.is_past(5), "{:?}", scene.record);
}

#[test]
fn a_turn_that_was_taken_unheard_of_a_group_without_nodes_is_one_of_a_group_that_slept() {
    let mut scene = Scene::start();
    scene.leave();
    let draft = scene.draft(|_| {});
    scene.write(draft);
    assert_eq!(scene.record.turn, None);
    scene.inner.presences.entry(scene.member).or_default();
    let draft = scene.draft(|_| {});
    scene.write_unheard(draft);
    scene.share([]);
    scene.hear(|_| {});
    let draft = scene.draft(|_| {});
    assert_eq!(draft.record.turn, Some(scene.node));
    assert_eq!(scene.inner.adopt(draft, scene.node, 9), Follows::Turn);
    assert!(scene.inner.shares.was_asleep);
}

#[test]
fn while_a_write_may_be_on_its_way_no_other_is_made_in_its_place() {
    let mut scene = Scene::start();
    scene.deal(5);
    let first = scene.draft(|_| {});
    scene.deal(6);
    let again = scene.draft(|_| {});
    assert_eq!(again.record, first.record);
    // The first one arrives before the second, which is refused.
    scene.write_unheard(first);
    scene.hear(|record| record.pass(5));
    let draft = scene.draft(|_| {});
    scene.write(draft);
    assert_eq!(scene.record.held(scene.node), Some(&BTreeSet::from([6])));
}

#[test]
fn a_write_that_was_overtaken_is_not_taken_for_done() {
    let mut scene = Scene::start();
    scene.deal(5);
    let kept = KeptMember {
        key: trunkline_bus::state::Key::durable("kept"),
        session_id: SessionId::new(),
    };
    scene.inner.shares.wishes.insert(kept.clone(), true);
    scene.draft(|_| {});
    scene.hear(|_| {});
    let draft = scene.draft(|_| {});
    assert_eq!(draft.record.held(scene.node), Some(&BTreeSet::from([5])));
    scene.write(draft);
    assert!(scene.record.kept.contains(&kept));
}

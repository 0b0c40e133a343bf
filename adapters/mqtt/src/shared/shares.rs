//! What a node knows of a group beside its own members: what the record said last, and what is to be written to it.

use std::collections::{BTreeSet, HashMap};

use trunkline_core::NodeId;

use super::group::Inner;
use super::record::{KeptMember, NOBODY, NodeShare, Record};
use crate::limits::{SAVE_LAG_MAX, SHARED_KEPT_MAX, SHARED_NODES_MAX, SHARED_TURN_MAX};

/// The part of a group that is shared with other nodes.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// The record as it was read or written last, and the change that wrote it.
    known: Option<(Record, u64)>,
    /// What was to be written last, until that is known to be done or overtaken.
    pending: Option<Draft>,
    node: Option<NodeId>,
    /// Counts what changed here.
    pub(super) changes: u64,
    /// The last change that is in the record.
    saved: u64,
    /// Whether the record is to be looked at now.
    pub(super) is_urgent: bool,
    /// Members that the group waits for from now on, and those that it waits for no more.
    pub(super) wishes: HashMap<KeptMember, bool>,
    /// Messages at QoS 2 that are in records of sessions, which wait until this one says that nobody else gets them.
    pub(super) settling: BTreeSet<u64>,
    /// Whether the turn is being passed to another node.
    pub(super) is_passing: bool,
    /// Whether the group had no node when this one took the turn that it has, or is about to.
    pub(super) was_asleep: bool,
    /// Since when this node counts for running, as the record was read.
    pub(super) comeback: u64,
    /// Whether it is time for another node.
    is_late: bool,
    /// Whether no member here had room when one was looked for last.
    pub(super) is_full: bool,
}

/// The record of a group as it was read.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) read: Record,
    /// The change that wrote it; 0 for none.
    pub(super) revision: u64,
    /// The same without the nodes that are gone.
    pub(super) cleared: Record,
    /// What [`Shares::look`] gave before it was read.
    pub(super) changes: u64,
}

/// What is to be written, and the changes that are in it.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) record: Record,
    /// The change that it is written over; 0 for none.
    revision: u64,
    /// Whether it says anything else than the record that was read.
    pub(super) is_news: bool,
    /// What nodes that are gone had. It is to be dealt once the record says so.
    left: BTreeSet<u64>,
    pub(super) changes: u64,
    wishes: HashMap<KeptMember, bool>,
    settling: BTreeSet<u64>,
    comeback: u64,
}

/// What follows from what was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// Nothing.
    Nothing,
    /// The turn of this node begins.
    Turn,
}

impl Shares {
    pub(super) fn revision(&self) -> u64 {
        self.known.as_ref().map_or(0, |(_, revision)| *revision)
    }

    /// Whether the record says that these are nobody's to deal.
    pub(super) fn are_past(&self, sequences: &[u64]) -> bool {
        let known = self.known.as_ref();
        known.is_some_and(|(record, _)| sequences.iter().all(|sequence| record.is_past(*sequence)))
    }

    /// Whether the record says that a member here has room, if it says anything of this node.
    pub(super) fn says_room(&self) -> bool {
        let mut shares = self.known.iter().flat_map(|(record, _)| &record.nodes);
        let share = shares.find(|share| Some(share.node) == self.node);
        share.is_none_or(|share| share.has_room)
    }

    /// Whether the record says all that is to be said.
    pub(super) const fn is_saved(&self) -> bool {
        self.changes == self.saved
    }

    /// The record is about to be read: gives the number of the last change here. What changes or is heard from now on may be missing in what
    /// is read, so it has to be looked at again.
    pub(super) const fn look(&mut self) -> u64 {
        self.is_urgent = false;
        self.changes
    }

    /// What was to be written last never will be.
    pub(super) fn abandon(&mut self) {
        self.pending = None;
    }

    /// Whether the first record of the group was written from here, as far as is known: it may be on its way still.
    pub(super) fn may_have_begun(&self) -> bool {
        self.pending.as_ref().is_some_and(|draft| draft.revision == 0)
    }

    /// There is no record to say anything in.
    pub(super) fn give_up(&mut self) {
        self.saved = self.changes;
        self.is_urgent = false;
        self.wishes.clear();
        self.settling.clear();
        (self.known, self.pending) = (None, None);
    }

    /// Whether the record says that this node has members, and that the group waits for the `kept` one, or is about to say so again.
    pub(super) fn has(&self, kept: Option<&KeptMember>) -> bool {
        let known = self.known.iter().map(|(record, _)| record);
        let mut records = known.chain(self.pending.iter().map(|draft| &draft.record));
        let is_here = |record: &Record| self.node.is_some_and(|node| record.held(node).is_some());
        records.any(|record| is_here(record) && kept.is_none_or(|kept| record.kept.contains(kept)))
    }

    /// Whether the record is far behind what came by.
    pub(super) fn is_behind(&self, routed: u64) -> bool {
        let known = self.known.as_ref();
        known.is_some_and(|(record, _)| routed.saturating_sub(record.next) >= SAVE_LAG_MAX)
    }

    /// The other nodes with members.
    pub(super) fn others(&self) -> impl Iterator<Item = NodeId> {
        let shares = self.known.iter().flat_map(|(record, _)| &record.nodes);
        shares.map(|share| share.node).filter(|node| Some(*node) != self.node)
    }

    /// Whether another node is to have the turn after `dealt` messages: this one has had it for long enough, or has no room.
    pub(super) fn wants_to_pass(&self, dealt: usize) -> bool {
        let shares = self.known.iter().flat_map(|(record, _)| &record.nodes);
        let mut others = shares.filter(|share| Some(share.node) != self.node);
        (self.is_full || dealt >= SHARED_TURN_MAX || (self.is_late && dealt > 0)) && others.any(|share| share.has_room)
    }

    /// Once a while: whether something is to be saved that could wait, or another node may be gone as far as `runs` knows.
    pub(super) fn is_due(&mut self, runs: impl Fn(NodeId) -> bool) -> bool {
        self.is_late = true;
        !self.is_saved() || !self.has(None) || self.others().any(|node| !runs(node))
    }
}

impl Inner {
    /// The record as it is to be after `base`, which others may have written. While that is not known to be written, nothing is dealt that
    /// another node may deal then.
    pub(super) fn draft(&mut self, base: Base, (node, comeback, routed): (NodeId, u64, u64)) -> Draft {
        self.shares.node = Some(node);
        if let Some(pending) = self.drafted_before(&base, node) {
            return pending;
        }
        self.learn(&base, node);
        if base.read.turn != Some(node) {
            self.shares.was_asleep = base.revision > 0 && base.cleared.turn.is_none();
        }
        let Base {
            read,
            revision,
            cleared: mut record,
            changes,
        } = base;
        let left = record.returned.difference(&read.returned).copied().collect();
        let before = read.clone();
        self.shares.known = Some((read, revision));
        if self.dealer.is_on() {
            for sequence in &self.shares.settling {
                self.dealer.pass(*sequence);
            }
            // While nothing is dealt, only others' messages come by. To say so is not worth a write.
            if !self.shares.is_saved() || self.shares.is_behind(routed) {
                record.next = self.dealer.next(routed);
                record.passed.clone_from(self.dealer.passed());
            }
            record.returned = &self.dealer.returned() | &left;
        } else {
            record.returned.extend(self.dealer.returned());
        }
        for sequence in &self.shares.settling {
            if !record.is_past(*sequence) {
                record.pass(*sequence);
            }
        }
        for (member, is_kept) in &self.shares.wishes {
            match is_kept {
                true if record.kept.len() < SHARED_KEPT_MAX => drop(record.kept.insert(member.clone())),
                true => {}
                false => drop(record.kept.remove(member)),
            }
        }
        self.write_share(&mut record, node);
        self.shares.is_passing = self.dealer.is_on() && record.turn != Some(node);
        let is_news = record != before;
        if is_news {
            record.count(node);
        }
        let draft = Draft {
            record,
            revision,
            is_news,
            left,
            changes,
            wishes: self.shares.wishes.clone(),
            settling: self.shares.settling.clone(),
            comeback,
        };
        self.shares.pending = is_news.then(|| draft.clone());
        draft
    }

    /// What was drafted before and is to be written again, since it may be on its way still: another one could be taken after it. Where it
    /// was taken and the answer was lost, that is known here from now on.
    fn drafted_before(&mut self, base: &Base, node: NodeId) -> Option<Draft> {
        let pending = self.shares.pending.take()?;
        if pending.revision == base.revision {
            self.shares.pending = Some(pending.clone());
            // What changed since is not in it.
            self.shares.is_urgent = true;
            return Some(pending);
        }
        let writes = pending.record.writes(node);
        if writes.is_some() && writes == base.read.writes(node) {
            self.was_written(pending, node, base.revision);
        }
        None
    }

    /// Deals nothing any more, and has no use for what was to be read.
    pub(super) fn stop(&mut self) {
        self.dealer.stop();
        self.read = None;
    }

    /// Takes over what other nodes wrote, and what sessions have.
    fn learn(&mut self, base: &Base, node: NodeId) {
        let (read, cleared) = (&base.read, &base.cleared);
        if let Some((known, _)) = &self.shares.known {
            match (known.held(node), cleared.held(node)) {
                // It was taken for gone, and what its members have is others'.
                (Some(_), None) => self.dealer.was_robbed(),
                // Sessions that went on elsewhere have it.
                (Some(before), Some(held)) => before
                    .difference(held)
                    .for_each(|sequence| self.dealer.forget(*sequence)),
                (None, _) => {}
            }
            if self.dealer.is_on() && read.turn == Some(node) {
                for sequence in read.returned.difference(&known.returned) {
                    self.dealer.again(*sequence);
                }
                let passed = cleared.passed.difference(&known.passed);
                // Another node had it completed: its client was told that nobody else gets it.
                for sequence in passed.chain(known.returned.difference(&cleared.returned)) {
                    self.dealer.forget(*sequence);
                }
            }
        }
        if self.dealer.is_on() && read.turn != Some(node) {
            self.stop();
        }
    }

    fn write_share(&self, record: &mut Record, node: NodeId) {
        let known = record.nodes.iter().position(|share| share.node == node);
        let is_leaving = self.presences.is_empty();
        let has_had_its_turn = self.dealer.is_on() && self.shares.wants_to_pass(self.dealer.dealt());
        if record.turn == Some(node) && (is_leaving || has_had_its_turn) {
            let after = known.map_or(0, |known| known + 1);
            let mut turns = record.nodes.iter().cycle().skip(after).take(record.nodes.len());
            let next = turns.find(|share| ![node, NOBODY].contains(&share.node) && (share.has_room || is_leaving));
            record.turn = next.map(|share| share.node).or(record.turn);
        }
        if is_leaving {
            // What its members had is done with or given back by now, whatever the record said last.
            if let Some(known) = known {
                record.nodes[known].held = self.dealer.held();
            }
            return record.remove(node);
        }
        let share = NodeShare {
            node,
            writes: record.writes(node).unwrap_or(0),
            has_room: self.has_room(),
            held: self.dealer.held(),
        };
        match known {
            Some(known) => record.nodes[known] = share,
            None if record.nodes.len() < SHARED_NODES_MAX => record.nodes.push(share),
            None => return,
        }
        record.turn.get_or_insert(node);
    }

    /// The record says what was drafted since `revision`.
    pub(super) fn adopt(&mut self, draft: Draft, node: NodeId, revision: u64) -> Follows {
        self.was_written(draft, node, revision);
        let Self { dealer, shares, .. } = self;
        match &shares.known {
            Some((record, _)) if record.turn == Some(node) && !dealer.is_on() => {
                shares.is_full = false;
                dealer.start(record.next, &record.returned, &record.passed);
                Follows::Turn
            }
            Some(_) | None => Follows::Nothing,
        }
    }

    /// The same where others may have written the record since, so that a turn is not begun by it.
    fn was_written(&mut self, draft: Draft, node: NodeId, revision: u64) {
        let Draft {
            record,
            left,
            changes,
            wishes,
            settling,
            comeback,
            ..
        } = draft;
        let shares = &mut self.shares;
        shares.pending = None;
        shares
            .wishes
            .retain(|member, is_kept| wishes.get(member) != Some(is_kept));
        shares.settling.retain(|sequence| !settling.contains(sequence));
        (shares.saved, shares.comeback) = (changes, comeback);
        (shares.is_passing, shares.is_late) = (false, false);
        if record.turn == Some(node) && self.dealer.is_on() {
            left.iter().for_each(|sequence| self.dealer.again(*sequence));
        } else {
            self.stop();
            self.dealer.was_taken(&record.returned);
        }
        self.shares.known = Some((record, revision));
    }
}

#[cfg(test)]
mod tests;

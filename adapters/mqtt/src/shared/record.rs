//! The record of a group as `State` keeps it: how far it is in the log, and which node has what.
//!
//! Each node writes what it knows best: the one that has the turn how far the group is, every node what its own members have.

use std::collections::BTreeSet;

use bytes::{BufMut as _, Bytes};
use trunkline_bus::log::Incarnation;
use trunkline_bus::state::Key;
use trunkline_core::digest::{DigestKey, KEY_BYTES};
use trunkline_core::{DomainId, NodeId, SessionId};
use uuid::Uuid;

use super::group::GroupKey;
use crate::limits::{SHARED_HELD_MAX, SHARED_KEPT_MAX, SHARED_NODES_MAX};
use crate::session::bytes::{Reader, put_long, put_number};

/// The layout of a value, which begins with this byte.
const FORMAT: u8 = 2;
/// The one before, in which nodes did not count their writes.
const UNCOUNTED: u8 = 1;
/// Places that a record names at most in one list.
const PLACES_MAX: usize = SHARED_HELD_MAX * SHARED_NODES_MAX;

/// Stands for a node that never runs. What it has is dealt to nobody until it is known whether sessions have it.
pub(super) const NOBODY: NodeId = NodeId::from_uuid(Uuid::nil());

/// A group while nobody looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The log that its places are of.
    pub(super) incarnation: Incarnation,
    /// The node whose turn it is to deal; none while no node has members.
    pub(super) turn: Option<NodeId>,
    /// Everything before this place was dealt or is not for the group. After a crash more may have been.
    pub(super) next: u64,
    /// What members left undone, to be dealt again.
    pub(super) returned: BTreeSet<u64>,
    /// What is not to be dealt though it is not before `next`: it is in the record of a session.
    pub(super) passed: BTreeSet<u64>,
    /// The nodes with members, in the order of their turns.
    pub(super) nodes: Vec<NodeShare>,
    /// The members that the group waits for while they are away.
    pub(super) kept: BTreeSet<KeptMember>,
}

/// What the members on one node have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeShare {
    pub(super) node: NodeId,
    /// How often the node wrote the record since it is in it: by that it knows whether a write was taken whose answer was lost.
    pub(super) writes: u64,
    /// Whether one of them has room for more.
    pub(super) has_room: bool,
    /// What they have and are not done with.
    pub(super) held: BTreeSet<u64>,
}

/// A member whose session outlives its connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeptMember {
    /// The key of the session.
    pub(crate) key: Key,
    /// The session: another one may come to be under the key.
    pub(crate) session_id: SessionId,
}

/// The prefix of all groups.
pub(super) fn all_key() -> Key {
    Key::durable("mqtt.shared")
}

/// The prefix of the groups of a domain.
pub(super) fn domain_key(domain_id: DomainId) -> Key {
    Key::durable(format!("{}.{domain_id}", all_key().name()))
}

/// The key of a group. Names and filters may have any character, so a digest stands for them.
pub(super) fn key_of(group: &GroupKey) -> Key {
    let (domain_id, channel_id) = group.place;
    let parts = [group.name.as_bytes(), group.filter.as_bytes()];
    let digest = DigestKey::new([0; KEY_BYTES]).digest(&parts);
    let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Key::durable(format!("{}.{channel_id}.{name}", domain_key(domain_id).name()))
}

/// What stands for a group in the records of sessions.
pub(super) fn id_of(key: &Key) -> u64 {
    let digest = DigestKey::new([0; KEY_BYTES]).digest(&[key.name().as_bytes()]);
    let (first, _) = digest.split_first_chunk().expect("a digest has more than 8 bytes");
    u64::from_be_bytes(*first)
}

impl Record {
    /// A group that deals from `next` on.
    pub(super) const fn new(incarnation: Incarnation, next: u64) -> Self {
        Self {
            incarnation,
            turn: None,
            next,
            returned: BTreeSet::new(),
            passed: BTreeSet::new(),
            nodes: Vec::new(),
            kept: BTreeSet::new(),
        }
    }

    /// The same group in the log of now: in another one everything is new to it.
    pub(super) fn adopted(self, incarnation: Incarnation) -> Self {
        if self.incarnation == incarnation {
            return self;
        }
        let Self { kept, .. } = self;
        Self {
            kept,
            ..Self::new(incarnation, 1)
        }
    }

    /// Takes a node out. What its members have is to be dealt again.
    pub(super) fn remove(&mut self, node: NodeId) {
        let Self { nodes, returned, .. } = self;
        for share in nodes.extract_if(.., |share| share.node == node) {
            returned.extend(share.held);
        }
        if self.turn == Some(node) {
            self.turn = None;
        }
    }

    /// Takes nodes out whose members have what is not to be dealt again yet: it is [`NOBODY`]'s. Where that is too much, what is beyond it is
    /// dealt again, as better twice than never.
    pub(super) fn set_aside(&mut self, nodes: &[NodeId]) {
        let is_gone = |share: &mut NodeShare| nodes.contains(&share.node);
        let gone = self.nodes.extract_if(.., is_gone).flat_map(|share| share.held);
        let mut held: BTreeSet<u64> = gone.collect();
        while held.len() > SHARED_HELD_MAX {
            self.returned.extend(held.pop_first());
        }
        if !held.is_empty() {
            self.nodes.push(NodeShare {
                node: NOBODY,
                writes: 0,
                has_room: false,
                held,
            });
        }
        self.turn = self.turn.filter(|turn| !nodes.contains(turn));
    }

    /// Whether a message is another's to deliver, for as long as this record lasts: no node deals it again.
    pub(super) fn is_past(&self, sequence: u64) -> bool {
        let is_dealt = sequence < self.next || self.passed.contains(&sequence);
        let is_held = self.nodes.iter().any(|share| share.held.contains(&sequence));
        is_dealt && !is_held && !self.returned.contains(&sequence)
    }

    /// A message is in the record of a session, and nobody's to deal.
    pub(super) fn pass(&mut self, sequence: u64) {
        self.returned.remove(&sequence);
        // The node that dealt it may be gone without being taken out yet. One that runs sees it missing.
        for share in &mut self.nodes {
            share.held.remove(&sequence);
        }
        if sequence >= self.next {
            self.passed.insert(sequence);
        }
    }

    /// What the members on `node` have.
    pub(super) fn held(&self, node: NodeId) -> Option<&BTreeSet<u64>> {
        self.share(node).map(|share| &share.held)
    }

    /// How often `node` wrote it; `None` where it has no part in it.
    pub(super) fn writes(&self, node: NodeId) -> Option<u64> {
        self.share(node).map(|share| share.writes)
    }

    fn share(&self, node: NodeId) -> Option<&NodeShare> {
        self.nodes.iter().find(|share| share.node == node)
    }

    /// It is about to be written by `node`.
    pub(super) fn count(&mut self, node: NodeId) {
        let mut shares = self.nodes.iter_mut();
        if let Some(share) = shares.find(|share| share.node == node) {
            share.writes += 1;
        }
    }

    /// Whether nobody is in the group any more.
    pub(super) fn is_over(&self) -> bool {
        self.nodes.is_empty() && self.kept.is_empty()
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut value = Vec::with_capacity(128);
        value.put_u8(FORMAT);
        value.put_i64(self.incarnation.0);
        value.put_slice(self.turn.as_ref().map_or(&[0; 16], NodeId::as_bytes).as_slice());
        put_number(&mut value, self.next);
        put_places(&mut value, &self.returned);
        put_places(&mut value, &self.passed);
        put_number(&mut value, self.nodes.len() as u64);
        for share in &self.nodes {
            value.put_slice(share.node.as_bytes());
            put_number(&mut value, share.writes);
            value.put_u8(share.has_room.into());
            put_places(&mut value, &share.held);
        }
        put_number(&mut value, self.kept.len() as u64);
        for member in &self.kept {
            put_long(&mut value, member.key.name().as_bytes());
            value.put_slice(member.session_id.as_bytes());
        }
        value.into()
    }

    /// `None` for a value of another format, or one that is damaged.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let mut reader = Reader(value);
        let is_counted = match reader.u8()? {
            FORMAT => true,
            UNCOUNTED => false,
            _ => return None,
        };
        let record = Self {
            incarnation: Incarnation(reader.i64()?),
            turn: match reader.bytes(16)? {
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => None,
                node => Some(NodeId::from_slice(node)?),
            },
            next: reader.number()?,
            returned: places(&mut reader)?,
            passed: places(&mut reader)?,
            nodes: reader.list(SHARED_NODES_MAX, |reader| {
                Some(NodeShare {
                    node: NodeId::from_slice(reader.bytes(16)?)?,
                    writes: if is_counted { reader.number()? } else { 0 },
                    has_room: reader.u8()? == 1,
                    held: places(reader)?,
                })
            })?,
            kept: reader.list(SHARED_KEPT_MAX, kept_member)?.into_iter().collect(),
        };
        reader.0.is_empty().then_some(record)
    }
}

fn kept_member(reader: &mut Reader<'_>) -> Option<KeptMember> {
    let name = reader.long(trunkline_bus::state::KEY_BYTES_MAX)?;
    Some(KeptMember {
        key: Key::durable(std::str::from_utf8(name).ok()?),
        session_id: SessionId::from_slice(reader.bytes(16)?)?,
    })
}

/// Each as its distance from the one before.
fn put_places(value: &mut Vec<u8>, places: &BTreeSet<u64>) {
    put_number(value, places.len() as u64);
    let mut before = 0;
    for place in places {
        put_number(value, place - before);
        before = *place;
    }
}

fn places(reader: &mut Reader<'_>) -> Option<BTreeSet<u64>> {
    let mut place = 0_u64;
    let distances = reader.list(PLACES_MAX, Reader::number)?;
    let places = distances.into_iter().map(|distance| {
        place = place.checked_add(distance)?;
        Some(place)
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;

    fn node() -> impl Strategy<Value = NodeId> {
        any::<[u8; 16]>().prop_map(|bytes| NodeId::from_uuid(Uuid::from_bytes(bytes)))
    }

    fn places() -> impl Strategy<Value = BTreeSet<u64>> {
        btree_set(any::<u64>(), 0..20)
    }

    prop_compose! {
        fn record()(
            incarnation in any::<i64>(), next in any::<u64>(), turn in proptest::option::of(node()),
            returned in places(), passed in places(),
            nodes in vec((node(), any::<u64>(), any::<bool>(), places()), 0..4),
            kept in btree_set(("[a-z.]{1,40}", any::<[u8; 16]>()), 0..10),
        ) -> Record {
            Record {
                incarnation: Incarnation(incarnation), turn, next, returned, passed,
                nodes: nodes.into_iter().map(|(node, writes, has_room, held)| {
                    NodeShare { node, writes, has_room, held }
                }).collect(),
                kept: kept.into_iter().map(|(name, session)| KeptMember {
                    key: Key::durable(name),
                    session_id: SessionId::from_uuid(Uuid::from_bytes(session)),
                }).collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn a_record_reads_back_and_no_part_of_it_does(record in record(), cut in any::<prop::sample::Index>()) {
            let value = record.encode();
            prop_assert_eq!(Record::decode(&value[..cut.index(value.len())]), None);
            prop_assert_eq!(Record::decode(&value), Some(record));
        }

        #[test]
        fn any_bytes_are_a_record_or_not(value in vec(any::<u8>(), 0..200)) {
            Record::decode(&value);
        }
    }

    #[test]
    fn a_record_of_an_earlier_version_reads_as_one_whose_nodes_have_not_written() {
        let node = NodeId::new();
        let mut record = Record::new(Incarnation(1), 8);
        record.nodes.push(NodeShare {
            node,
            writes: 0,
            has_room: true,
            held: BTreeSet::from([6, 7]),
        });
        let value = record.encode();
        let mut earlier = vec![UNCOUNTED];
        // Incarnation, turn, next, returned and passed; one node; then its writes, which are not there.
        let before_writes = 1 + 8 + 16 + 1 + 1 + 1 + 1 + 16;
        earlier.extend(&value[1..before_writes]);
        earlier.extend(&value[before_writes + 1..]);
        assert_eq!(Record::decode(&earlier), Some(record));
    }

    #[test]
    fn what_is_in_the_record_of_a_session_is_not_given_back_by_the_node_that_had_dealt_it() {
        let gone = NodeId::new();
        let mut record = Record::new(Incarnation(1), 8);
        record.nodes.push(NodeShare {
            node: gone,
            writes: 1,
            has_room: true,
            held: BTreeSet::from([6, 7]),
        });
        record.pass(7);
        assert!(record.is_past(7) && !record.is_past(6));
        record.remove(gone);
        assert_eq!(record.returned, BTreeSet::from([6]));
    }

    #[test]
    fn what_is_dealt_to_nobody_has_an_end_and_what_is_beyond_it_is_dealt_again() {
        let mut record = Record::new(Incarnation(1), u64::MAX);
        let half = SHARED_HELD_MAX as u64 / 2;
        for death in 0..4 {
            let lost = NodeId::new();
            record.nodes.push(NodeShare {
                node: lost,
                writes: 1,
                has_room: true,
                held: (death * half..(death + 1) * half).collect(),
            });
            record.set_aside(&[lost, NOBODY]);
        }
        assert_eq!(record.returned, (0..2 * half).collect());
        assert_eq!(record.held(NOBODY), Some(&(2 * half..4 * half).collect()));
        assert!(Record::decode(&record.encode()) == Some(record));
    }

    #[test]
    fn what_the_members_of_a_lost_node_had_is_dealt_again_and_what_sessions_keep_is_not() {
        let (node, other) = (NodeId::new(), NodeId::new());
        let share = |node, held: [u64; 2]| NodeShare {
            node,
            writes: 1,
            has_room: true,
            held: held.into(),
        };
        let mut record = Record {
            turn: Some(node),
            nodes: vec![share(node, [3, 7]), share(other, [4, 9])],
            ..Record::new(Incarnation(1), 10)
        };
        assert!(record.is_past(5) && !record.is_past(3) && !record.is_past(12));
        record.remove(node);
        record.pass(7);
        record.pass(12);
        assert_eq!((record.turn, &record.returned), (None, &BTreeSet::from([3])));
        assert!(record.is_past(7) && record.is_past(12) && !record.is_past(3) && !record.is_past(4));
    }
}

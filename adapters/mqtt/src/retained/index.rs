//! What is needed to find retained messages: of every domain that was loaded, its subtopics and what they count towards its quota.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use trunkline_bus::log::Incarnation;
use trunkline_core::{ChannelId, DomainId};

use super::Room;
use super::record::{Record, Slot};
use crate::limits::{RETAINED_DOMAIN_BYTES_MAX, RETAINED_DOMAIN_ENTRIES_MAX, RETAINED_GONE_AGE_MAX};

/// The domains that were loaded.
#[derive(Debug, Default)]
pub(super) struct Index(HashMap<DomainId, Domain>);

#[derive(Debug, Default)]
struct Domain {
    channels: HashMap<ChannelId, BTreeMap<Box<str>, Known>>,
    /// Messages, and their bytes as `State` has them.
    entries: usize,
    bytes: usize,
    reserved: HashMap<(ChannelId, Box<str>), Reserved>,
    /// What all of `reserved` takes.
    reserved_entries: usize,
    reserved_bytes: usize,
}

/// Room for what this node has admitted to one subtopic and not yet put there.
#[derive(Debug, Clone, Copy)]
struct Reserved {
    /// 1 for a subtopic that has no message yet, else 0.
    entries: usize,
    /// Bytes by which the largest of the messages is larger than the one that is there.
    bytes: usize,
    /// Messages that were admitted.
    messages: usize,
    /// When the last one was.
    at_ns: i64,
}

/// What is known of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) place: (Incarnation, u64),
    /// The change of `State` that wrote it.
    pub(super) revision: u64,
    is_set: bool,
    bytes: usize,
    received_at_ns: i64,
    /// 0 for never.
    expires_at_ns: i64,
}

impl Known {
    pub(super) fn of(record: &Record, revision: u64, bytes: usize) -> Self {
        Self {
            place: record.place(),
            revision,
            is_set: record.is_set(),
            bytes,
            received_at_ns: record.envelope.received_at,
            expires_at_ns: record.envelope.expires_at,
        }
    }

    /// Whether nobody needs it any more: a message that lapsed, or the mark of a removed one that every node has seen by now.
    fn is_over(&self, now_ns: i64) -> bool {
        let gone_ns = i64::try_from(RETAINED_GONE_AGE_MAX.as_nanos()).unwrap_or(i64::MAX);
        match self.is_set {
            true => self.expires_at_ns != 0 && self.expires_at_ns <= now_ns,
            false => self.received_at_ns.saturating_add(gone_ns) <= now_ns,
        }
    }
}

/// A record that nobody needs any more.
pub(super) struct Over {
    pub(super) slot: Slot,
    pub(super) revision: u64,
    /// Whether it is a message that lapsed.
    pub(super) is_message: bool,
}

impl Index {
    pub(super) fn has(&self, domain_id: DomainId) -> bool {
        self.0.contains_key(&domain_id)
    }

    /// Begins a domain; what it retains is put next.
    pub(super) fn begin(&mut self, domain_id: DomainId) {
        self.0.entry(domain_id).or_default();
    }

    pub(super) fn find(&self, slot: &Slot) -> Option<Known> {
        let channel = self.0.get(&slot.domain_id)?.channels.get(&slot.channel_id)?;
        channel.get(&slot.subtopic).copied()
    }

    pub(super) fn put(&mut self, slot: &Slot, known: Known) {
        self.remove(slot);
        let domain = self.0.entry(slot.domain_id).or_default();
        if known.is_set {
            domain.entries += 1;
            domain.bytes += known.bytes;
        }
        let channel = domain.channels.entry(slot.channel_id).or_default();
        channel.insert(slot.subtopic.clone(), known);
    }

    pub(super) fn remove(&mut self, slot: &Slot) {
        let Some(domain) = self.0.get_mut(&slot.domain_id) else {
            return;
        };
        let Some(channel) = domain.channels.get_mut(&slot.channel_id) else {
            return;
        };
        if let Some(known) = channel.remove(&slot.subtopic)
            && known.is_set
        {
            domain.entries -= 1;
            domain.bytes -= known.bytes;
        }
        if channel.is_empty() {
            domain.channels.remove(&slot.channel_id);
        }
    }

    /// Whether a message of `bytes` may be put into `slot`, 0 for one that removes what is there. If so, there is room for it until it is
    /// [released](Index::release), or until it was admitted too long ago to come.
    pub(super) fn reserve(&mut self, slot: &Slot, bytes: usize, now_ns: i64) -> Room {
        let before = self.find(slot).filter(|known| known.is_set);
        let Some(domain) = self.0.get_mut(&slot.domain_id) else {
            return Room::Unknown;
        };
        if bytes == 0 {
            return Room::Yes;
        }
        let key = (slot.channel_id, slot.subtopic.clone());
        let (entries, freed) = before.map_or((1_usize, 0), |known| (0, known.bytes));
        let mut reserved = domain.reserved.get(&key).copied().unwrap_or(Reserved {
            entries: 0,
            bytes: 0,
            messages: 0,
            at_ns: now_ns,
        });
        let more_entries = entries.saturating_sub(reserved.entries);
        let more_bytes = bytes.saturating_sub(freed).saturating_sub(reserved.bytes);
        let is_within = domain.entries + domain.reserved_entries + more_entries <= RETAINED_DOMAIN_ENTRIES_MAX
            && domain.bytes + domain.reserved_bytes + more_bytes <= RETAINED_DOMAIN_BYTES_MAX;
        if !is_within && (more_entries, more_bytes) != (0, 0) {
            return Room::No;
        }
        domain.reserved_entries += more_entries;
        domain.reserved_bytes += more_bytes;
        reserved.entries += more_entries;
        reserved.bytes += more_bytes;
        reserved.messages += 1;
        reserved.at_ns = now_ns;
        domain.reserved.insert(key, reserved);
        Room::Yes
    }

    /// A message to `slot` was put there, or will not be.
    pub(super) fn release(&mut self, slot: &Slot) {
        let Some(domain) = self.0.get_mut(&slot.domain_id) else {
            return;
        };
        let key = (slot.channel_id, slot.subtopic.clone());
        let Some(reserved) = domain.reserved.get_mut(&key) else {
            return;
        };
        reserved.messages -= 1;
        if reserved.messages == 0 {
            domain.reserved_entries -= reserved.entries;
            domain.reserved_bytes -= reserved.bytes;
            domain.reserved.remove(&key);
        }
    }

    /// Gives up the room for messages that were admitted before `before_ns`: the log did not take them.
    pub(super) fn release_all(&mut self, before_ns: i64) {
        for domain in self.0.values_mut() {
            let (entries, bytes) = (&mut domain.reserved_entries, &mut domain.reserved_bytes);
            domain.reserved.retain(|_, reserved| {
                let is_kept = reserved.at_ns >= before_ns;
                if !is_kept {
                    *entries -= reserved.entries;
                    *bytes -= reserved.bytes;
                }
                is_kept
            });
        }
    }

    /// The first subtopic of a channel after `after` that has a message and that `wants` wants.
    pub(super) fn next(
        &self,
        (domain_id, channel_id): (DomainId, ChannelId),
        after: Option<&str>,
        wants: impl Fn(&str) -> bool,
    ) -> Option<Box<str>> {
        let channel = self.0.get(&domain_id)?.channels.get(&channel_id)?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = channel.range::<str, _>((from, Bound::Unbounded));
        rest.find(|(subtopic, known)| known.is_set && wants(subtopic))
            .map(|(subtopic, _)| subtopic.clone())
    }

    /// Up to `limit` records that nobody needs any more.
    pub(super) fn over(&self, now_ns: i64, limit: usize) -> Vec<Over> {
        let mut over = Vec::new();
        for (domain_id, domain) in &self.0 {
            for (channel_id, channel) in &domain.channels {
                for (subtopic, known) in channel.iter().filter(|(_, known)| known.is_over(now_ns)) {
                    over.push(Over {
                        slot: Slot::new(*domain_id, *channel_id, subtopic),
                        revision: known.revision,
                        is_message: known.is_set,
                    });
                    if over.len() >= limit {
                        return over;
                    }
                }
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(subtopic: &str) -> Slot {
        Slot::new(DomainId::new(), ChannelId::new(), subtopic)
    }

    fn known(bytes: usize, is_set: bool) -> Known {
        Known {
            place: (Incarnation(1), 1),
            revision: 1,
            is_set,
            bytes,
            received_at_ns: 0,
            expires_at_ns: 0,
        }
    }

    #[test]
    fn a_domain_may_fill_its_quota_and_no_more() {
        let mut index = Index::default();
        let first = slot("0");
        assert_eq!(index.reserve(&first, 1, 0), Room::Unknown);
        index.begin(first.domain_id);
        let other = |subtopic: usize| Slot::new(first.domain_id, first.channel_id, &subtopic.to_string());
        for subtopic in 0..RETAINED_DOMAIN_ENTRIES_MAX {
            assert_eq!(index.reserve(&other(subtopic), 1, 0), Room::Yes);
            index.put(&other(subtopic), known(1, true));
            index.release(&other(subtopic));
        }
        let one_more = other(RETAINED_DOMAIN_ENTRIES_MAX);
        assert_eq!(index.reserve(&one_more, 1, 0), Room::No);
        assert_eq!(index.reserve(&one_more, 0, 0), Room::Yes, "it removes what is there");
        assert_eq!(
            index.reserve(&first, 1, 0),
            Room::Yes,
            "it takes the place of one that is there"
        );
        index.put(&first, known(0, false));
        index.release(&first);
        assert_eq!(index.reserve(&one_more, RETAINED_DOMAIN_BYTES_MAX, 0), Room::No);
        assert_eq!(index.reserve(&one_more, 1, 0), Room::Yes);
    }

    #[test]
    fn what_was_admitted_counts_before_it_is_there_and_no_longer_than_it_may_come() {
        let mut index = Index::default();
        let first = slot("0");
        index.begin(first.domain_id);
        let other = |subtopic: usize| Slot::new(first.domain_id, first.channel_id, &subtopic.to_string());
        for subtopic in 0..RETAINED_DOMAIN_ENTRIES_MAX {
            // The same subtopic twice is one message.
            for at_ns in [1, 2] {
                assert_eq!(index.reserve(&other(subtopic), 1, at_ns), Room::Yes);
            }
        }
        let one_more = other(RETAINED_DOMAIN_ENTRIES_MAX);
        assert_eq!(index.reserve(&one_more, 1, 2), Room::No);
        index.release(&first);
        assert_eq!(index.reserve(&one_more, 1, 2), Room::No, "the other one is to come");
        index.release(&first);
        assert_eq!(index.reserve(&one_more, 1, 3), Room::Yes);
        assert_eq!(index.reserve(&first, 1, 3), Room::No);
        index.release_all(3);
        assert_eq!(
            index.reserve(&first, RETAINED_DOMAIN_BYTES_MAX, 3),
            Room::No,
            "one is to come"
        );
        assert_eq!(index.reserve(&first, RETAINED_DOMAIN_BYTES_MAX - 1, 3), Room::Yes);
    }

    #[test]
    fn subtopics_are_found_in_their_order_and_removed_ones_are_not() {
        let mut index = Index::default();
        let first = slot("a");
        let (domain_id, channel_id) = (first.domain_id, first.channel_id);
        for (subtopic, is_set) in [("c", true), ("a", true), ("b", false), ("d", true)] {
            index.put(&Slot::new(domain_id, channel_id, subtopic), known(1, is_set));
        }
        let place = (domain_id, channel_id);
        assert_eq!(index.next(place, None, |_| true).as_deref(), Some("a"));
        assert_eq!(index.next(place, Some("a"), |_| true).as_deref(), Some("c"));
        assert_eq!(
            index.next(place, Some("a"), |subtopic| subtopic == "d").as_deref(),
            Some("d")
        );
        assert_eq!(index.next(place, Some("d"), |_| true), None);
    }

    #[test]
    fn what_lapsed_and_what_was_removed_long_ago_is_over() {
        let mut index = Index::default();
        let lapsing = Known {
            expires_at_ns: 5,
            ..known(1, true)
        };
        index.put(&slot("lapses"), lapsing);
        index.put(&slot("stays"), known(1, true));
        index.put(&slot("gone"), known(0, false));
        let now_ns = i64::try_from(RETAINED_GONE_AGE_MAX.as_nanos()).unwrap();
        assert_eq!(index.over(4, 9).len(), 0);
        assert_eq!(index.over(5, 9).len(), 1);
        assert_eq!(index.over(now_ns, 9).len(), 2);
        assert_eq!(index.over(now_ns, 1).len(), 1);
    }
}

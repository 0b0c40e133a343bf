//! What is needed to find retained messages: of every domain that was loaded, its subtopics and what they count towards its quota.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use trunkline_bus::log::Incarnation;
use trunkline_core::{ChannelId, DomainId};

use super::record::{Record, Slot};
use super::room::Room;
use crate::limits::RETAINED_GONE_AGE_MAX;

/// The domains that were loaded.
#[derive(Debug, Default)]
pub(super) struct Index(HashMap<DomainId, Domain>);

#[derive(Debug, Default)]
struct Domain {
    channels: HashMap<ChannelId, BTreeMap<Box<str>, Known>>,
    /// Messages, and their bytes as `State` has them.
    entries: usize,
    bytes: usize,
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

/// What a message needs beside what its domain has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    pub(super) more: Room,
    pub(super) used: Room,
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

    /// What a message of `bytes` would take in `slot`; `None` while it is not known what its domain retains.
    pub(super) fn need(&self, slot: &Slot, bytes: usize) -> Option<Need> {
        let domain = self.0.get(&slot.domain_id)?;
        let before = self.find(slot).filter(|known| known.is_set);
        let (entries, freed) = before.map_or((1, 0), |known| (0, known.bytes));
        Some(Need {
            more: Room {
                entries,
                bytes: bytes.saturating_sub(freed),
            },
            used: Room {
                entries: domain.entries,
                bytes: domain.bytes,
            },
        })
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

//! What the log holds, counted: heads, and entries and bytes per domain. Pure; the owner keeps it in step with the file.

use std::collections::{HashMap, HashSet};

use trunkline_core::DomainId;

use super::recent::Recent;
use super::store::{Held, Removed};

/// The books of one shard.
#[derive(Debug)]
pub(super) struct Books {
    /// The last sequence given.
    pub(super) head: u64,
    /// The last sequence that is durable.
    pub(super) durable_head: u64,
    /// The head when holdings were written down last.
    pub(super) recorded_head: u64,
    /// Ids for de-duplication.
    pub(super) recent: Recent,
    held: HashMap<DomainId, Held>,
    unrecorded: HashSet<DomainId>,
    entries: u64,
    bytes: u64,
}

impl Books {
    /// Books of a shard that holds `held` up to `head`, of which `recorded_head` is on disk.
    pub(super) fn new(head: u64, recorded_head: u64, recent: Recent) -> Self {
        Self {
            head,
            durable_head: head,
            recorded_head,
            recent,
            held: HashMap::new(),
            unrecorded: HashSet::new(),
            entries: 0,
            bytes: 0,
        }
    }

    /// Adds what was found on disk.
    pub(super) fn load(&mut self, domain: DomainId, found: Held) {
        let held = self.held.entry(domain).or_insert(Held {
            first: found.first,
            ..Held::default()
        });
        held.entries += found.entries;
        held.bytes += found.bytes;
        held.first = held.first.min(found.first);
        self.entries += found.entries;
        self.bytes += found.bytes;
        if found.first > self.recorded_head {
            self.unrecorded.insert(domain);
        }
    }

    /// Gives the next sequence to an entry of `domain`.
    pub(super) fn append(&mut self, domain: DomainId, bytes: u64) -> u64 {
        self.head += 1;
        let held = self.held.entry(domain).or_insert(Held {
            first: self.head,
            ..Held::default()
        });
        held.entries += 1;
        held.bytes += bytes;
        self.entries += 1;
        self.bytes += bytes;
        self.unrecorded.insert(domain);
        self.head
    }

    /// Takes removed entries off.
    pub(super) fn remove(&mut self, removed: &[Removed]) {
        for entry in removed {
            if let Some(held) = self.held.get_mut(&entry.domain) {
                held.entries = held.entries.saturating_sub(1);
                held.bytes = held.bytes.saturating_sub(entry.bytes);
                held.first = held.first.max(entry.sequence + 1);
                if held.entries == 0 {
                    self.held.remove(&entry.domain);
                }
            }
            self.entries = self.entries.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            self.unrecorded.insert(entry.domain);
        }
    }

    /// Notes that no entry of `domain` is left up to `through`.
    pub(super) fn holds_nothing_through(&mut self, domain: DomainId, through: u64) {
        if let Some(held) = self.held.get_mut(&domain) {
            held.first = held.first.max(through + 1);
            self.unrecorded.insert(domain);
        }
    }

    /// What `domain` holds.
    pub(super) fn held(&self, domain: DomainId) -> Held {
        self.held.get(&domain).copied().unwrap_or_default()
    }

    /// Entries and bytes held in all.
    pub(super) const fn totals(&self) -> (u64, u64) {
        (self.entries, self.bytes)
    }

    /// The holdings that changed since this was asked last; from now on they count as written down.
    pub(super) fn take_unrecorded(&mut self) -> Vec<(DomainId, Held)> {
        self.recorded_head = self.head;
        let domains = std::mem::take(&mut self.unrecorded);
        domains.into_iter().map(|domain| (domain, self.held(domain))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_all_of_a_domain_leaves_nothing_counted() {
        let domain = DomainId::new();
        let mut books = Books::new(0, 0, Recent::new(None, 8));
        let sequences = [10, 20].map(|bytes| books.append(domain, bytes));
        assert_eq!(books.totals(), (2, 30));
        let removed = [10, 20].into_iter().zip(sequences).map(|(bytes, sequence)| Removed {
            sequence,
            domain,
            bytes,
        });
        books.remove(&removed.collect::<Vec<_>>());
        assert_eq!(books.totals(), (0, 0));
        assert_eq!(books.take_unrecorded(), [(domain, Held::default())]);
        assert!(books.take_unrecorded().is_empty());
    }
}

//! The newest entries of one shard in memory, so that consumers that keep up never read from disk.

use std::collections::VecDeque;

use crate::envelope::StoredEntry;
use crate::log::{Page, ReadLimit};

/// What an entry costs in memory beyond its envelope's bytes.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 768;

/// Entries from `start` on, without those trimmed since.
#[derive(Debug)]
pub(crate) struct Ring {
    entries: VecDeque<(StoredEntry, usize)>,
    bytes: usize,
    /// Every entry held by the log from this sequence on is here.
    start: u64,
    /// The last sequence appended.
    head: u64,
}

impl Ring {
    /// An empty ring of a shard whose last sequence is `head`.
    pub(crate) fn new(head: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            start: head + 1,
            head,
        }
    }

    /// Adds the next entry.
    pub(crate) fn push(&mut self, entry: StoredEntry, encoded_bytes: usize) {
        debug_assert_eq!(entry.sequence, self.head + 1, "sequences are given without holes");
        self.head = entry.sequence;
        self.bytes += encoded_bytes + ENTRY_OVERHEAD_BYTES;
        self.entries.push_back((entry, encoded_bytes));
    }

    /// The last sequence appended.
    pub(crate) const fn head(&self) -> u64 {
        self.head
    }

    /// Bytes that the ring takes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets the oldest entries go until the ring takes at most `bytes_max`.
    pub(crate) fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let Some((oldest, encoded_bytes)) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= encoded_bytes + ENTRY_OVERHEAD_BYTES;
            self.start = oldest.sequence + 1;
        }
    }

    /// Forgets entries that were trimmed; `sequences` rise.
    pub(crate) fn forget(&mut self, sequences: &[u64]) {
        let is_below = sequences.last().is_none_or(|last| *last < self.start);
        if is_below {
            return;
        }
        self.entries
            .retain(|(entry, _)| sequences.binary_search(&entry.sequence).is_err());
        self.bytes = self
            .entries
            .iter()
            .map(|(_, encoded_bytes)| encoded_bytes + ENTRY_OVERHEAD_BYTES)
            .sum();
    }

    /// The first sequence from which on this ring can answer.
    pub(crate) const fn start(&self) -> u64 {
        self.start
    }

    /// The page at `from`; `None` when the ring does not reach back that far.
    pub(crate) fn read(&self, from: u64, limit: ReadLimit) -> Option<Page> {
        if from > self.head {
            return Some(Page {
                entries: Vec::new(),
                next: from,
                skipped: 0,
            });
        }
        if from < self.start {
            return None;
        }
        let first = self.entries.partition_point(|(entry, _)| entry.sequence < from);
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut next = self.head + 1;
        for (entry, encoded_bytes) in self.entries.range(first..) {
            bytes += encoded_bytes;
            let is_full = entries.len() >= limit.entries || bytes > limit.bytes;
            if is_full && !entries.is_empty() {
                next = entries.last().map_or(next, |last: &StoredEntry| last.sequence + 1);
                break;
            }
            entries.push(entry.clone());
        }
        let skipped = next - from - entries.len() as u64;
        Some(Page { entries, next, skipped })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trunkline_proto::messages::v1::Envelope;

    use super::*;
    use crate::log::{Incarnation, Shard};

    const LIMIT: ReadLimit = ReadLimit {
        entries: 2,
        bytes: 1_000_000,
    };

    fn ring_of(count: u64, bytes_max: usize) -> Ring {
        let mut ring = Ring::new(10);
        for sequence in 11..11 + count {
            let entry = StoredEntry {
                shard: Shard(0),
                sequence,
                incarnation: Incarnation(1),
                envelope: Arc::new(Envelope::default()),
            };
            ring.push(entry, 232);
        }
        ring.shrink(bytes_max);
        ring
    }

    fn sequences(page: &Page) -> Vec<u64> {
        page.entries.iter().map(|entry| entry.sequence).collect()
    }

    #[test]
    fn a_ring_answers_from_its_start_and_no_earlier() {
        let ring = ring_of(5, 3_000);
        assert_eq!(ring.start(), 13);
        assert!(ring.read(12, LIMIT).is_none());
        let page = ring.read(13, LIMIT).unwrap();
        assert_eq!((sequences(&page), page.next, page.skipped), (vec![13, 14], 15, 0));
        let page = ring.read(16, LIMIT).unwrap();
        assert_eq!((sequences(&page), page.next), (vec![], 16));
    }

    #[test]
    fn what_was_trimmed_is_counted_as_skipped() {
        let mut ring = ring_of(5, 100_000);
        ring.forget(&[11, 13]);
        let page = ring.read(11, LIMIT).unwrap();
        assert_eq!((sequences(&page), page.next, page.skipped), (vec![12, 14], 15, 2));
        ring.forget(&[12, 14, 15]);
        let page = ring.read(12, LIMIT).unwrap();
        assert_eq!((sequences(&page), page.next, page.skipped), (vec![], 16, 4));
    }

    #[test]
    fn one_entry_is_given_however_small_the_limit() {
        let ring = ring_of(2, 100_000);
        let page = ring.read(11, ReadLimit { entries: 1, bytes: 1 }).unwrap();
        assert_eq!(sequences(&page), [11]);
    }
}

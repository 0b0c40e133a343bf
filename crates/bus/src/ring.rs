//! The newest entries of one shard in memory, so that consumers that keep up never read from disk.

use std::collections::VecDeque;

use crate::envelope::StoredEntry;
use crate::log::{Page, ReadLimit};

/// What an entry costs in memory beyond its envelope's bytes.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 768;

/// Entries that were trimmed and are remembered as such: beyond that, the oldest are read from the backend.
const GONE_MAX: usize = 4_096;

/// Entries from `start` on, and which of them were trimmed since.
#[derive(Debug)]
pub(crate) struct Ring {
    entries: VecDeque<Kept>,
    bytes: usize,
    gone: usize,
    /// Every entry held by the log from this sequence on is here.
    start: u64,
    /// The last sequence appended.
    head: u64,
    /// Entries up to this sequence can be read from the backend; later ones stay here whatever they take.
    backed: u64,
}

#[derive(Debug)]
struct Kept {
    sequence: u64,
    /// None once it was trimmed.
    entry: Option<StoredEntry>,
    encoded_bytes: usize,
}

impl Ring {
    /// An empty ring of a shard whose last sequence is `head`.
    pub(crate) fn new(head: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            gone: 0,
            start: head + 1,
            head,
            backed: u64::MAX,
        }
    }

    /// The same for a log that shows entries before its backend has them.
    pub(crate) fn of_committed(head: u64) -> Self {
        Self {
            backed: head,
            ..Self::new(head)
        }
    }

    /// From now on entries up to `sequence` can be read from the backend, and later ones cannot yet.
    pub(crate) const fn set_backed(&mut self, sequence: u64) {
        self.backed = sequence;
    }

    /// Adds the next entry: the log gave no sequence between the last one and this one.
    pub(crate) fn push(&mut self, entry: StoredEntry, encoded_bytes: usize) {
        debug_assert!(entry.sequence > self.head, "sequences rise");
        self.head = entry.sequence;
        self.bytes += encoded_bytes + ENTRY_OVERHEAD_BYTES;
        self.entries.push_back(Kept {
            sequence: entry.sequence,
            entry: Some(entry),
            encoded_bytes,
        });
    }

    /// The last sequence appended.
    pub(crate) const fn head(&self) -> u64 {
        self.head
    }

    /// Bytes that the ring takes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets the oldest entries go that the backend has until the ring takes at most `bytes_max`.
    pub(crate) fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max && self.drop_oldest() {}
    }

    /// Forgets the entries up to `last` that were trimmed.
    pub(crate) fn forget(&mut self, last: u64, was_trimmed: impl Fn(u64) -> bool) {
        for kept in self.entries.iter_mut().take_while(|kept| kept.sequence <= last) {
            if kept.entry.is_some() && was_trimmed(kept.sequence) {
                kept.entry = None;
                self.gone += 1;
                self.bytes -= kept.encoded_bytes + ENTRY_OVERHEAD_BYTES;
            }
        }
        while self.gone > GONE_MAX && self.drop_oldest() {}
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
        let first = self.entries.partition_point(|kept| kept.sequence < from);
        let mut page = Page {
            entries: Vec::new(),
            next: self.head + 1,
            skipped: 0,
        };
        let (mut bytes, mut skipped) = (0, 0);
        for kept in self.entries.range(first..) {
            let Some(entry) = &kept.entry else {
                skipped += 1;
                continue;
            };
            bytes += kept.encoded_bytes;
            let is_full = page.entries.len() >= limit.entries || bytes > limit.bytes;
            if let (true, Some(last)) = (is_full, page.entries.last()) {
                page.next = last.sequence + 1;
                return Some(page);
            }
            page.entries.push(entry.clone());
            page.skipped = skipped;
        }
        page.skipped = skipped;
        Some(page)
    }

    /// Says whether there was one that may go.
    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.entries.pop_front_if(|oldest| oldest.sequence <= self.backed) else {
            return false;
        };
        match oldest.entry {
            Some(_) => self.bytes -= oldest.encoded_bytes + ENTRY_OVERHEAD_BYTES,
            None => self.gone -= 1,
        }
        self.start = oldest.sequence + 1;
        true
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
        ring.forget(13, |sequence| [11, 13].contains(&sequence));
        let page = ring.read(11, LIMIT).unwrap();
        assert_eq!((sequences(&page), page.next, page.skipped), (vec![12, 14], 15, 2));
        ring.forget(15, |_| true);
        let page = ring.read(12, LIMIT).unwrap();
        assert_eq!((sequences(&page), page.next, page.skipped), (vec![], 16, 4));
    }

    #[test]
    fn what_was_trimmed_takes_no_bytes_and_is_remembered_up_to_a_limit() {
        let mut ring = ring_of(GONE_MAX as u64 + 10, usize::MAX);
        ring.forget(u64::MAX, |_| true);
        assert_eq!((ring.bytes(), ring.start()), (0, 21));
        assert!(ring.read(20, LIMIT).is_none());
        assert_eq!(ring.read(21, LIMIT).unwrap().skipped, GONE_MAX as u64);
    }

    #[test]
    fn what_the_backend_has_not_stays_whatever_it_takes() {
        let mut ring = ring_of(5, 100_000);
        ring.set_backed(12);
        ring.shrink(0);
        assert_eq!(ring.start(), 13);
        assert_eq!(sequences(&ring.read(13, LIMIT).unwrap()), [13, 14]);
        ring.set_backed(15);
        ring.shrink(0);
        assert_eq!((ring.start(), ring.bytes()), (16, 0));
    }

    #[test]
    fn one_entry_is_given_however_small_the_limit() {
        let ring = ring_of(2, 100_000);
        let page = ring.read(11, ReadLimit { entries: 1, bytes: 1 }).unwrap();
        assert_eq!(sequences(&page), [11]);
    }
}

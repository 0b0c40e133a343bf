//! The pace of publishers: while required consumers are far behind and moving, appends wait for them.
//!
//! A consumer that stays within the rings reads from memory; one that falls out of them reads from disk, which slows it down further.
//! So publishers are held back before that, for as long as it takes the consumers to come near again. Consumers that do not move at
//! all hold nobody back: to keep what they cannot take is what the log is for. Nor do those that work off an old backlog stop
//! publishers: for four entries that they take, three are let in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::log::Shard;
use crate::ring::ENTRY_OVERHEAD_BYTES;

/// How long one append may be held back, and how long consumers may stand still before they hold nobody back.
pub(super) const HOLD_MAX: Duration = Duration::from_secs(1);
/// Entries let in for [`CREDIT_OF`] that the slowest consumer took.
const CREDIT: u64 = 3;
const CREDIT_OF: u64 = 4;
/// The mean size of entries follows the last batches: each counts for a sixteenth.
const MEAN_OF: u64 = 16;

/// How far the slowest required consumers are behind, and whether publishers wait for them. Pure; the owner feeds it.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes of the rings that the entries ahead of consumers may take.
    ahead_bytes_max: u64,
    heads: Vec<u64>,
    /// By required group and shard, the sequence that it was done with when it was last heard of.
    done: BTreeMap<String, Vec<u64>>,
    /// Bytes that an entry takes in a ring, in the mean.
    entry_bytes: u64,
    /// Entries that may come in though consumers are far behind.
    credit: u64,
    moved_at: Instant,
}

impl Pace {
    /// The pace of a log whose shards end at `heads` and whose rings take `ring_bytes_max` in all.
    pub(super) fn new(heads: Vec<u64>, ring_bytes_max: usize) -> Self {
        Self {
            ahead_bytes_max: ring_bytes_max as u64 / 2,
            heads,
            done: BTreeMap::new(),
            entry_bytes: ENTRY_OVERHEAD_BYTES as u64,
            credit: 0,
            moved_at: Instant::now(),
        }
    }

    /// A required group is waited for from now on.
    pub(super) fn join(&mut self, group: &str, committed: &[u64]) {
        self.done.entry(group.to_owned()).or_insert_with(|| committed.to_vec());
    }

    /// Entries up to `head` were appended: `count` of `bytes` in all.
    pub(super) fn appended(&mut self, shard: Shard, head: u64, count: u64, bytes: u64) {
        self.heads[usize::from(shard.0)] = head;
        self.credit = self.credit.saturating_sub(count);
        if let Some(mean) = bytes.checked_div(count) {
            let mean = mean + ENTRY_OVERHEAD_BYTES as u64;
            self.entry_bytes = (self.entry_bytes * (MEAN_OF - 1) + mean) / MEAN_OF;
        }
    }

    /// `group` is done up to `sequence`; groups that nobody waits for are passed over.
    pub(super) fn moved(&mut self, group: &str, shard: Shard, sequence: u64, now: Instant) {
        let before = self.slowest(shard);
        if let Some(done) = self.done.get_mut(group) {
            let done = &mut done[usize::from(shard.0)];
            *done = sequence.max(*done);
        }
        let moved = self.slowest(shard).saturating_sub(before);
        if moved > 0 {
            self.moved_at = now;
            self.credit = (self.credit + moved * CREDIT / CREDIT_OF).min(self.ahead_max() / CREDIT_OF);
        }
    }

    /// Whether appends are taken without waiting.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.done.is_empty()
            || self.credit > 0
            || self.ahead() <= self.ahead_max()
            || now.duration_since(self.moved_at) >= HOLD_MAX
    }

    /// Entries that the slowest consumers have not taken.
    fn ahead(&self) -> u64 {
        let shards = self.heads.iter().enumerate();
        shards
            .map(|(number, head)| head.saturating_sub(self.slowest_at(number)))
            .sum()
    }

    fn ahead_max(&self) -> u64 {
        self.ahead_bytes_max / self.entry_bytes.max(1)
    }

    fn slowest(&self, shard: Shard) -> u64 {
        self.slowest_at(usize::from(shard.0))
    }

    fn slowest_at(&self, shard: usize) -> u64 {
        self.done.values().map(|done| done[shard]).min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: Shard = Shard(0);

    /// A pace that lets consumers be 100 entries behind; `writer` is one of them.
    fn pace_of_100(now: Instant) -> Pace {
        let mut pace = Pace::new(vec![0], 200 * ENTRY_OVERHEAD_BYTES);
        pace.join("writer", &[0]);
        pace.moved_at = now;
        pace
    }

    #[test]
    fn publishers_wait_while_consumers_are_far_behind_and_move() {
        let now = Instant::now();
        let mut pace = pace_of_100(now);
        pace.appended(SHARD, 100, 100, 0);
        assert!(pace.is_open(now));
        pace.appended(SHARD, 101, 1, 0);
        assert!(!pace.is_open(now));
        pace.moved("writer", SHARD, 1, now);
        assert!(pace.is_open(now));
    }

    #[test]
    fn consumers_that_stand_still_hold_nobody_back() {
        let now = Instant::now();
        let mut pace = pace_of_100(now);
        pace.appended(SHARD, 1_000, 1_000, 0);
        assert!(!pace.is_open(now));
        assert!(pace.is_open(now + HOLD_MAX));
    }

    #[test]
    fn an_old_backlog_lets_in_three_for_four_that_are_taken() {
        let now = Instant::now();
        let mut pace = pace_of_100(now);
        pace.appended(SHARD, 1_000, 1_000, 0);
        pace.moved("writer", SHARD, 4, now);
        pace.appended(SHARD, 1_002, 2, 0);
        assert!(pace.is_open(now));
        pace.appended(SHARD, 1_003, 1, 0);
        assert!(!pace.is_open(now));
    }

    #[test]
    fn the_slowest_of_the_required_groups_counts() {
        let now = Instant::now();
        let mut pace = pace_of_100(now);
        pace.join("rules", &[0]);
        pace.appended(SHARD, 200, 200, 0);
        pace.moved("writer", SHARD, 200, now);
        pace.moved("a group that is not required", SHARD, 200, now);
        assert!(!pace.is_open(now));
        pace.moved("rules", SHARD, 100, now);
        assert!(pace.is_open(now));
    }

    #[test]
    fn large_entries_let_consumers_be_fewer_behind() {
        let now = Instant::now();
        let mut pace = pace_of_100(now);
        for head in 1..=64 {
            pace.appended(SHARD, head, 1, 9 * ENTRY_OVERHEAD_BYTES as u64);
        }
        assert!(!pace.is_open(now));
    }
}

//! What the log's owner and its users share: queue room, rings, heads, groups, counters, and how the log ended.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::warn;
use trunkline_core::{Clock, DomainId};
use trunkline_proto::messages::v1::Envelope;

use super::books::Books;
use super::opened::Opened;
use super::pace::HOLD_MAX;
use crate::embedded::{Config, DiskProbe};
use crate::envelope::{NewEntry, StoredEntry};
use crate::feed::{FeedLimit, Source, locked};
use crate::log::{AppendError, Incarnation, LogStats, ReceiptSender, Shard, Tier};
use crate::ring::Ring;

/// What an entry costs in the queue beyond its bytes; so a queue holds at most its bytes over this in entries.
pub(super) const QUEUE_ENTRY_BYTES: u32 = 1_024;

/// Bounds of what a holder of `Log::tap` may be behind.
const TAP_LIMIT: FeedLimit = FeedLimit {
    items: 16_384,
    bytes: 8 * 1024 * 1024,
};

/// A consumer group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) is_required: bool,
    /// By shard, the last sequence that it is durably done with.
    pub(super) committed: Vec<u64>,
}

/// How the log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Open,
    Closed,
    Failed(String),
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) appended: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) trimmed: AtomicU64,
    pub(super) queued: AtomicU64,
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
}

pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) shards: u16,
    pub(super) tier: Tier,
    pub(super) incarnation: Incarnation,
    pub(super) dir: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) disk_free: DiskProbe,
    /// Bytes of the queue that are free.
    pub(super) room: Semaphore,
    pub(super) rings: Vec<Mutex<Ring>>,
    pub(super) heads: Vec<watch::Sender<u64>>,
    pub(super) groups: Mutex<BTreeMap<String, Group>>,
    pub(super) tap: Source<Arc<Envelope>>,
    pub(super) counters: Counters,
    pub(super) ending: watch::Sender<Ending>,
    pub(super) disk_low: AtomicBool,
    /// Whether appends are taken without waiting for consumers.
    pub(super) is_open: watch::Sender<bool>,
}

/// Held by the owner's thread: however that ends, the log is not left open without an owner.
pub(super) struct Watch(pub(super) Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abandoned();
    }
}

/// What `entry` takes of the queue's room.
pub(super) fn cost(entry: &NewEntry) -> u32 {
    let bytes = u32::try_from(entry.encoded().len()).unwrap_or(u32::MAX / 2);
    bytes.saturating_add(QUEUE_ENTRY_BYTES)
}

impl Shared {
    /// What is shared of the log in `dir` that was `opened`.
    pub(super) fn new(
        dir: &Path,
        config: Config,
        opened: &Opened,
        clock: Arc<dyn Clock>,
        disk_free: DiskProbe,
    ) -> Arc<Self> {
        let books = &opened.books;
        let shared = Self {
            room: Semaphore::new(usize::try_from(config.queue_bytes_max).unwrap_or(usize::MAX >> 4)),
            rings: books
                .iter()
                .map(|books| Mutex::new(Ring::of_committed(books.head)))
                .collect(),
            heads: books.iter().map(|books| watch::Sender::new(books.head)).collect(),
            groups: Mutex::new(opened.groups.clone()),
            tap: Source::new(TAP_LIMIT),
            counters: Counters::default(),
            ending: watch::Sender::new(Ending::Open),
            disk_low: false.into(),
            is_open: watch::Sender::new(true),
            dir: dir.to_owned(),
            shards: opened.shards,
            tier: Tier::from(config.tier),
            incarnation: opened.incarnation,
            config,
            clock,
            disk_free,
        };
        shared.count_held(books);
        shared.look_at_disk();
        Arc::new(shared)
    }

    pub(super) fn all_shards(&self) -> impl Iterator<Item = Shard> + use<> {
        (0..self.shards).map(Shard)
    }

    pub(super) fn shard_of(&self, domain: DomainId) -> Shard {
        Shard::of(domain, self.shards)
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ns().div_euclid(1_000_000)
    }

    /// Entries appended before this may go.
    pub(super) fn keep_from_ms(&self) -> i64 {
        let keep_ms = i64::try_from(self.config.keep().as_millis()).unwrap_or(i64::MAX);
        self.now_ms().saturating_sub(keep_ms)
    }

    /// Shows durable entries to consumers that look. Those that wait are not told yet: [`Shared::tell`] does that.
    pub(super) fn show(&self, shard: Shard, stored: Vec<(StoredEntry, usize)>) {
        let mut head = None;
        {
            let mut ring = locked(&self.rings[usize::from(shard.0)]);
            for (entry, encoded_bytes) in stored {
                head = Some(entry.sequence);
                ring.push(entry, encoded_bytes);
            }
        }
        self.shrink_rings();
        if let Some(head) = head {
            self.heads[usize::from(shard.0)].send_if_modified(|shown| {
                *shown = head;
                false
            });
        }
    }

    /// Tells consumers that wait of entries that were shown.
    pub(super) fn tell(&self, shard: Shard) {
        self.heads[usize::from(shard.0)].send_modify(|_| {});
    }

    /// Keeps the rings within their bytes: the largest gives up the most, so that a busy shard has what idle ones leave.
    fn shrink_rings(&self) {
        let sizes: Vec<usize> = self.rings.iter().map(|ring| locked(ring).bytes()).collect();
        let excess = sizes.iter().sum::<usize>().saturating_sub(self.config.ring_bytes_max);
        let largest = sizes.iter().enumerate().max_by_key(|(_, bytes)| **bytes);
        if let (1.., Some((index, bytes))) = (excess, largest) {
            locked(&self.rings[index]).shrink(bytes - excess.min(*bytes));
        }
    }

    /// Tells a publisher that its entry was refused, or counts it as dropped when it wanted no answer.
    pub(super) fn refused(&self, receipt: Option<ReceiptSender>, refusal: AppendError) {
        match receipt {
            Some(receipt) => {
                self.counters.refused.fetch_add(1, Relaxed);
                // The publisher may have gone.
                let _ = receipt.send(Err(refusal));
            }
            None => {
                self.counters.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    pub(super) fn left_queue(&self, cost: u32, entries: u64) {
        self.counters.queued.fetch_sub(entries, Relaxed);
        self.room.add_permits(cost as usize);
    }

    pub(super) fn count_held(&self, books: &[Books]) {
        let (mut entries, mut bytes) = (0, 0);
        for books in books {
            let totals = books.totals();
            entries += totals.0;
            bytes += totals.1;
        }
        self.counters.entries.store(entries, Relaxed);
        self.counters.bytes.store(bytes, Relaxed);
    }

    pub(super) fn is_disk_low(&self) -> bool {
        self.disk_low.load(Relaxed)
    }

    pub(super) fn set_disk_low(&self, is_low: bool) {
        if self.disk_low.swap(is_low, Relaxed) != is_low {
            warn!(is_low, "the free room on the log's disk crossed its watermark");
        }
    }

    pub(super) fn set_open(&self, is_open: bool) {
        self.is_open
            .send_if_modified(|was_open| std::mem::replace(was_open, is_open) != is_open);
    }

    /// Returns when appends are taken, or have waited for consumers as long as they may.
    pub(super) async fn held_back(&self) {
        if *self.is_open.borrow() {
            return;
        }
        let mut is_open = self.is_open.subscribe();
        // Either way the entry goes in; the sender lives as long as this.
        let _ = timeout(HOLD_MAX, is_open.wait_for(|is_open| *is_open)).await;
    }

    /// Compares the disk's free room with the watermark.
    pub(super) fn look_at_disk(&self) {
        match (self.disk_free)(&self.dir) {
            Ok(free) => self.set_disk_low(free < self.config.disk_free_bytes_min),
            Err(cause) => warn!(error = %cause, "the free room on the log's disk cannot be read"),
        }
    }

    pub(super) fn close(&self) {
        self.room.close();
        self.ending.send_if_modified(|ending| {
            let is_open = *ending == Ending::Open;
            if is_open {
                *ending = Ending::Closed;
            }
            is_open
        });
    }

    pub(super) fn fail(&self, cause: &str) {
        self.room.close();
        self.ending.send_replace(Ending::Failed(cause.to_owned()));
    }

    /// The owner's thread is gone; that is a failure, unless it said how it ended.
    fn abandoned(&self) {
        self.room.close();
        self.ending.send_if_modified(|ending| {
            let is_open = *ending == Ending::Open;
            if is_open {
                *ending = Ending::Failed("its owner ended before its time".to_owned());
            }
            is_open
        });
    }

    pub(super) fn stats(&self) -> LogStats {
        let counters = &self.counters;
        LogStats {
            appended: counters.appended.load(Relaxed),
            commits: counters.commits.load(Relaxed),
            duplicates: counters.duplicates.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            dropped: counters.dropped.load(Relaxed),
            trimmed: counters.trimmed.load(Relaxed),
            queued: counters.queued.load(Relaxed),
            entries: counters.entries.load(Relaxed),
            bytes: counters.bytes.load(Relaxed),
        }
    }
}

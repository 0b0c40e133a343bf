//! What the tasks of a log share with its users: queue room, rings, heads, groups, counters, and how it failed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use async_nats::jetstream::stream::Info;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use trunkline_core::Clock;
use trunkline_proto::messages::v1::Envelope;

use super::groups::Groups;
use super::quota::{Ledger, Limits};
use super::{pack, places};
use crate::envelope::{self, NewEntry, StoredEntry};
use crate::feed::{FeedLimit, Source, locked};
use crate::log::{Durability, LogError, LogStats, Page, ReadLimit, Shard};
use crate::nats::connect::Connection;
use crate::nats::losses::{Failure, Watched};
use crate::nats::names::{LogName, Names};
use crate::nats::outlet::Outlets;
use crate::nats::pages::{self, Held};
use crate::nats::streams::LogFacts;
use crate::ring::Ring;
use crate::state::State;

/// What an entry costs in the queue beyond its bytes; so a queue holds at most its bytes over this in entries.
const QUEUE_ENTRY_BYTES: u32 = 1_024;
/// Bounds of what a holder of [`Log::tap`](crate::Log::tap) may be behind.
const TAP_LIMIT: FeedLimit = FeedLimit {
    items: 16_384,
    bytes: 8 * 1024 * 1024,
};

/// How finely entries of a message are counted on average, and over how many of the last messages.
const ENTRY_PARTS: u64 = 1_024;
const LATE_MESSAGES: u64 = 16;

/// After so many messages the rings are kept within their bytes.
const SHRINK_EVERY: u64 = 16;

/// What a log is made of.
pub(in crate::nats) struct Parts {
    pub(in crate::nats) connection: Connection,
    pub(in crate::nats) outlets: Outlets,
    /// What the subjects begin with at which this process waits for acknowledgements.
    pub(in crate::nats) inbox: String,
    pub(in crate::nats) state: Arc<dyn State>,
    pub(in crate::nats) names: Arc<Names>,
    pub(in crate::nats) log: LogName,
    pub(in crate::nats) facts: LogFacts,
    /// The last sequence of each shard.
    pub(in crate::nats) heads: Vec<u64>,
    pub(in crate::nats) limits: Limits,
    pub(in crate::nats) durability: Durability,
    pub(in crate::nats) clock: Arc<dyn Clock>,
    pub(in crate::nats) failure: Failure,
    /// Who is told in one sentence of what the server lost.
    pub(in crate::nats) losses: mpsc::Sender<String>,
}

/// One shard, as this process sees it. Sequences are the server's, of messages; the ring has [`places`].
pub(super) struct ShardView {
    /// The last sequence known to be stored, by news or by acknowledgements.
    pub(super) head: watch::Sender<u64>,
    /// The last sequence that came as news.
    pub(super) heard: watch::Sender<u64>,
    pub(super) ring: Mutex<Ring>,
    pub(super) is_followed: AtomicBool,
    /// Entries in a message of late, in parts of [`ENTRY_PARTS`].
    entries_of_late: AtomicU64,
}

impl ShardView {
    /// About how many entries are in so many messages.
    pub(super) fn entries_in(&self, messages: u64) -> u64 {
        let each = self.entries_of_late.load(Relaxed).max(ENTRY_PARTS);
        messages.saturating_mul(each) / ENTRY_PARTS
    }

    /// In about how many messages so many entries are.
    fn messages_for(&self, entries: usize) -> usize {
        let each = self.entries_of_late.load(Relaxed).max(ENTRY_PARTS);
        let messages = (entries as u64).saturating_mul(ENTRY_PARTS).div_ceil(each);
        usize::try_from(messages).unwrap_or(usize::MAX)
    }

    /// Notes how many entries a message had. One follower calls this.
    fn note_entries(&self, count: usize) {
        let before = self.entries_of_late.load(Relaxed);
        let change = count as u64 * ENTRY_PARTS / LATE_MESSAGES;
        self.entries_of_late
            .store(before - before / LATE_MESSAGES + change, Relaxed);
    }
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) appended: AtomicU64,
    pub(super) acks: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) trimmed: AtomicU64,
    pub(super) queued: AtomicU64,
}

pub(in crate::nats) struct Shared {
    pub(super) parts: Parts,
    /// Bytes of the queue that are free.
    pub(super) room: Semaphore,
    pub(super) shards: Vec<ShardView>,
    pub(super) tap: Source<Arc<Envelope>>,
    pub(super) is_tapped: AtomicBool,
    pub(super) counters: Counters,
    pub(super) groups: Groups,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) closing: CancellationToken,
}

/// What `entry` takes of the queue's room.
pub(super) fn cost(entry: &NewEntry) -> u32 {
    let bytes = u32::try_from(entry.encoded().len()).unwrap_or(u32::MAX / 2);
    bytes.saturating_add(QUEUE_ENTRY_BYTES)
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let shards = parts.heads.iter().map(|head| ShardView {
            head: watch::Sender::new(*head),
            heard: watch::Sender::new(*head),
            ring: Mutex::new(Ring::new(places::last_of(*head))),
            is_followed: AtomicBool::new(false),
            entries_of_late: AtomicU64::new(ENTRY_PARTS),
        });
        Self {
            shards: shards.collect(),
            room: Semaphore::new(usize::try_from(parts.limits.queue_bytes_max).unwrap_or(usize::MAX >> 4)),
            tap: Source::new(TAP_LIMIT),
            is_tapped: AtomicBool::new(false),
            counters: Counters::default(),
            groups: Groups::new(
                parts.state.clone(),
                parts.log,
                parts.facts.shards,
                parts.facts.incarnation,
            ),
            ledger: Mutex::new(Ledger::new(&parts.heads)),
            closing: CancellationToken::new(),
            parts,
        }
    }

    pub(super) fn all_shards(&self) -> impl Iterator<Item = Shard> + use<> {
        (0..self.parts.facts.shards).map(Shard)
    }

    pub(super) fn shard(&self, shard: Shard) -> &ShardView {
        &self.shards[usize::from(shard.0)]
    }

    pub(super) fn stream(&self, shard: Shard) -> String {
        self.parts.names.stream(self.parts.log, shard)
    }

    /// The streams of the log, and what they are known to have stored.
    pub(super) fn watched(self: &Arc<Self>) -> Vec<Watched> {
        let watched = self.all_shards().map(|shard| {
            let shared = self.clone();
            Watched {
                stream: self.stream(shard),
                known: Box::new(move || *shared.shard(shard).head.borrow()),
            }
        });
        watched.collect()
    }

    /// Entries of `shard` from the place `from` on: from memory where it reaches, else from the server.
    pub(super) async fn read(&self, shard: Shard, from: u64, limit: ReadLimit) -> Result<Page, LogError> {
        let view = self.shard(shard);
        let head = *view.head.borrow();
        {
            let ring = locked(&view.ring);
            let is_beyond = from > ring.head();
            if let Some(page) = ring.read(from, limit)
                && (!is_beyond || from > places::last_of(head))
            {
                return Ok(page);
            }
        }
        let bytes = limit
            .bytes
            .max(usize::try_from(self.parts.limits.entry_bytes_max).unwrap_or(usize::MAX));
        let first = places::message_at(from);
        let entries = view.messages_for(limit.entries);
        let asked = ReadLimit { entries, bytes };
        let messages = pages::page(&self.parts.connection, &self.stream(shard), first, asked)
            .await
            .map_err(|error| LogError::Failed(error.to_string()))?;
        if messages.is_empty() {
            return self.nothing_from(shard, from).await;
        }
        self.page_of(shard, from, &messages, limit.entries)
    }

    /// Up to `entries_max` entries of `messages` from the place `from` on; at least one.
    fn page_of(&self, shard: Shard, from: u64, messages: &[Held], entries_max: usize) -> Result<Page, LogError> {
        let mut page = Page {
            entries: Vec::with_capacity(messages.len()),
            next: from,
            skipped: 0,
        };
        let mut expected = places::message_at(from);
        for held in messages {
            let Some(entries) = self.decode(shard, held) else {
                // Those before it are good, and it will be the first of the next page.
                if page.entries.is_empty() {
                    let sequence = places::last_of(held.sequence);
                    return Err(LogError::Damaged { shard, sequence });
                }
                break;
            };
            page.skipped += held.sequence - expected;
            expected = held.sequence + 1;
            let wanted = entries.into_iter().filter(|entry| entry.sequence >= from);
            let room = entries_max.max(1) - page.entries.len();
            page.entries.extend(wanted.take(room));
            page.next = page.entries.last().map_or(from, |last| last.sequence + 1);
            if page.entries.len() >= entries_max {
                break;
            }
        }
        Ok(page)
    }

    /// The empty page at `from`, where the server gives nothing.
    async fn nothing_from(&self, shard: Shard, from: u64) -> Result<Page, LogError> {
        let (parts, first) = (&self.parts, places::message_at(from));
        let mut page = Page {
            entries: Vec::new(),
            next: from,
            skipped: 0,
        };
        if first <= *self.shard(shard).head.borrow() {
            let subjects = parts.names.shard_subjects(parts.log, shard);
            let last = pages::nothing_from(&parts.connection, &self.stream(shard), &subjects, first).await;
            let last = last.map_err(|error| LogError::Failed(error.to_string()))?;
            page.next = from.max(places::last_of(last) + 1);
            page.skipped = (last + 1).saturating_sub(first);
        }
        Ok(page)
    }

    /// The entries of a message; `None` when it is damaged.
    fn decode(&self, shard: Shard, held: &Held) -> Option<Vec<StoredEntry>> {
        let entries = pack::decode(&held.headers, held.payload.clone())?;
        let count = entries.len();
        let decoded = entries.into_iter().enumerate().map(|(index, entry)| {
            Some(StoredEntry {
                shard,
                sequence: places::place_in(held.sequence, index, count),
                incarnation: self.parts.facts.incarnation,
                envelope: Arc::new(envelope::decode(entry).ok()?),
            })
        });
        decoded.collect()
    }

    /// Shows a message that came as news, or was read in its place, to consumers. Messages come in order.
    pub(super) fn show(&self, shard: Shard, held: &Held) {
        let view = self.shard(shard);
        let entries = self.decode(shard, held);
        // Before anybody can read it: who asks for the head after that must not be told of an earlier one.
        self.stored(shard, held.sequence);
        if held.sequence.is_multiple_of(SHRINK_EVERY) {
            self.shrink_rings();
        }
        let mut ring = locked(&view.ring);
        match entries {
            Some(entries) if ring.head() == places::last_of(held.sequence - 1) => {
                view.note_entries(entries.len());
                let bytes = held.payload.len() / entries.len();
                entries.into_iter().for_each(|entry| ring.push(entry, bytes));
            }
            // A hole, or a message that only a read from the server can complain of.
            Some(_) | None => *ring = Ring::new(places::last_of(held.sequence)),
        }
    }

    /// Has news begin behind `sequence`: nobody here asked for those before it, and whoever does reads them from the server.
    pub(super) fn begin_behind(&self, shard: Shard, sequence: u64) {
        let view = self.shard(shard);
        if sequence > *view.heard.borrow() {
            *locked(&view.ring) = Ring::new(places::last_of(sequence));
            locked(&self.ledger).begin_behind(shard, sequence);
            self.stored(shard, sequence);
            view.heard.send_replace(sequence);
        }
    }

    /// Asks the server for the last sequence of `shard`.
    pub(super) async fn latest(&self, shard: Shard) -> Result<u64, LogError> {
        let question = format!("STREAM.INFO.{}", self.stream(shard));
        let info = self.parts.connection.ask::<Info>(question, &()).await;
        let latest = info
            .map_err(|error| LogError::Failed(error.to_string()))?
            .state
            .last_sequence;
        self.stored(shard, latest);
        Ok(latest)
    }

    /// Tells those who wait that news up to `sequence` are there.
    pub(super) fn heard(&self, shard: Shard, sequence: u64) {
        self.shrink_rings();
        self.stored(shard, sequence);
        self.shard(shard).heard.send_replace(sequence);
    }

    /// Notes that `sequence` is stored.
    pub(super) fn stored(&self, shard: Shard, sequence: u64) {
        self.shard(shard).head.send_if_modified(|head| {
            let is_news = sequence > *head;
            *head = sequence.max(*head);
            is_news
        });
    }

    /// Keeps the rings within their bytes: the largest gives up the most, so that a busy shard has what idle ones leave.
    fn shrink_rings(&self) {
        let sizes: Vec<usize> = self.shards.iter().map(|view| locked(&view.ring).bytes()).collect();
        let excess = sizes
            .iter()
            .sum::<usize>()
            .saturating_sub(self.parts.limits.ring_bytes_max);
        let largest = sizes.iter().enumerate().max_by_key(|(_, bytes)| **bytes);
        if let (1.., Some((index, bytes))) = (excess, largest) {
            locked(&self.shards[index].ring).shrink(bytes - excess.min(*bytes));
        }
    }

    pub(super) fn left_queue(&self, cost: u32) {
        self.counters.queued.fetch_sub(1, Relaxed);
        self.room.add_permits(cost as usize);
    }

    pub(super) async fn failed(&self) -> String {
        let mut failure = self.parts.failure.clone();
        let failed = failure.wait_for(Option::is_some).await;
        match failed.map(|sentence| sentence.clone()) {
            Ok(Some(sentence)) => sentence,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn stats(&self) -> LogStats {
        let counters = &self.counters;
        let (entries, bytes) = locked(&self.ledger).held();
        LogStats {
            appended: counters.appended.load(Relaxed),
            commits: counters.acks.load(Relaxed),
            duplicates: counters.duplicates.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            dropped: counters.dropped.load(Relaxed),
            trimmed: counters.trimmed.load(Relaxed),
            queued: counters.queued.load(Relaxed),
            entries,
            bytes,
        }
    }
}

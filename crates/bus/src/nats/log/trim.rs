//! Trimming: removes what every required group is done with, when it is old or when room is needed, and reports what is held.
//!
//! Of all processes that trim, the one that holds the leadership does. It counts what the log holds: once from the headers
//! of all messages, then from the news. Sequences are the server's, of messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::warn;
use trunkline_core::DomainId;

use super::append::RETRY_AFTER;
use super::books::Held;
use super::quota::{REPORT_EVERY, report_key};
use super::shared::Shared;
use super::{pack, places, tail};
use crate::feed::locked;
use crate::log::{LogError, Quota, Shard};
use crate::nats::api::ApiError;
use crate::nats::leader::Leadership;
use crate::nats::names::domain_of;
use crate::nats::pages::{self, Cursor, Delivered, Parts};
use crate::state::{Expect, StateError};

/// How long opening waits for the first count.
const FIRST_COUNT_WAIT_MAX: Duration = Duration::from_secs(5);
/// Entries removed at once.
const REMOVED_ENTRIES_MAX: u64 = 50_000;
/// The part of a quota that is freed at least when room is needed.
const FREED_FRACTION: u64 = 64;
/// Domains that are remembered as full; beyond that the memory starts anew.
const STUCK_MAX: usize = 4_096;
/// The part of a quota, in eighths, above which room is made before anybody asks.
const FULL_EIGHTHS: u64 = 7;

/// Trims one log.
pub(super) struct Trimmer {
    shared: Arc<Shared>,
    work: Mutex<Work>,
    /// Whether the books may be wrong.
    is_uncertain: AtomicBool,
}

/// What only one at a time works on.
struct Work {
    leadership: Leadership,
    /// Whether everything held is counted.
    is_counted: bool,
    /// When room was to be made last and the server did not answer.
    failed_at: Option<Instant>,
    /// What found nothing to remove, and how far the groups were then; it is not looked for again before they move.
    stuck: HashMap<Option<DomainId>, u64>,
}

/// What is to be removed at most.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    domain: Option<DomainId>,
    through: u64,
    bytes: u64,
}

impl Trimmer {
    /// Begins to trim, until the log is closed. Returns when the first count is done, if that is soon.
    pub(super) async fn start(shared: Arc<Shared>) -> Arc<Self> {
        shared.all_shards().for_each(|shard| tail::follow(&shared, shard, 0));
        let name = format!("trimmer.{}", shared.parts.log.as_str());
        let leadership = Leadership::new(shared.parts.state.clone(), &name);
        let trimmer = Arc::new(Self {
            shared,
            work: Mutex::new(Work {
                leadership,
                is_counted: false,
                failed_at: None,
                stuck: HashMap::new(),
            }),
            is_uncertain: AtomicBool::new(false),
        });
        if tokio::time::timeout(FIRST_COUNT_WAIT_MAX, trimmer.turn())
            .await
            .is_err()
        {
            warn!("the log is large; it is counted while it is used");
        }
        tokio::spawn(run(trimmer.clone()));
        trimmer
    }

    /// Leaves the work to others.
    pub(super) async fn release(&self) {
        self.work.lock().await.leadership.release().await;
    }

    /// What is done each second.
    async fn turn(&self) {
        let mut work = self.work.lock().await;
        if let Err(error) = self.work(&mut work).await {
            warn!(%error, log = self.shared.parts.log.as_str(), "the log could not be trimmed; it is tried again");
        }
    }

    async fn work(&self, work: &mut Work) -> Result<(), LogError> {
        if !self.lead(work).await? {
            self.shared.read_report().await;
            return Ok(());
        }
        self.trim_all(work).await?;
        self.report().await.map_err(|error| failed(&error))
    }

    /// Whether this process leads, and all that is held is counted.
    async fn lead(&self, work: &mut Work) -> Result<bool, LogError> {
        let was_leading = work.leadership.is_held();
        let is_leading = work.leadership.hold().await.map_err(|error| failed(&error))?;
        if !is_leading {
            locked(&self.shared.ledger).end_counting();
            work.is_counted = false;
            return Ok(false);
        }
        if !was_leading || !work.is_counted || self.is_uncertain.swap(false, Relaxed) {
            work.is_counted = false;
            self.count().await.map_err(|error| failed(&error))?;
            work.is_counted = true;
        }
        Ok(true)
    }

    /// Counts all that is held from the headers of the entries.
    async fn count(&self) -> Result<(), ApiError> {
        let through = locked(&self.shared.ledger).begin_counting();
        for (shard, through) in self.shared.all_shards().zip(through) {
            let mut cursor = self.cursor(shard, None).await?;
            'pages: while let Some(page) = cursor.next().await? {
                let mut ledger = locked(&self.shared.ledger);
                for Delivered { held, .. } in page {
                    if held.sequence > through {
                        break 'pages;
                    }
                    if let Some((domain, held)) = size_of(&held) {
                        ledger.books.add(domain, held);
                    }
                }
            }
            cursor.close().await;
        }
        Ok(())
    }

    /// Removes all that is older than the configuration keeps and committed by every required group.
    pub(super) async fn trim(&self) -> Result<u64, LogError> {
        let mut work = self.work.lock().await;
        if !self.lead(&mut work).await? {
            return Ok(0);
        }
        self.trim_by_age().await
    }

    async fn trim_all(&self, work: &mut Work) -> Result<(), LogError> {
        self.trim_by_age().await?;
        let limits = &self.shared.parts.limits;
        let is_full = |bytes: u64, bytes_max: u64| bytes.saturating_sub(bytes_max / 8 * FULL_EIGHTHS);
        let crowded = locked(&self.shared.ledger)
            .books
            .above(limits.domain_bytes_max / 8 * FULL_EIGHTHS);
        for domain in crowded {
            let excess = is_full(
                locked(&self.shared.ledger).books.bytes_of(domain),
                limits.domain_bytes_max,
            );
            let shard = Shard::of(domain, self.shared.parts.facts.shards);
            self.free_of_domain(work, shard, domain, excess).await?;
        }
        let excess = is_full(locked(&self.shared.ledger).held().1, limits.bytes_max);
        if excess > 0 {
            self.free_oldest(work, excess).await?;
        }
        Ok(())
    }

    async fn trim_by_age(&self) -> Result<u64, LogError> {
        self.shared.groups.refresh().await?;
        let mut count = 0;
        for shard in self.shared.all_shards() {
            let through = self.old_and_committed(shard).await.map_err(|error| failed(&error))?;
            let wanted = Wanted {
                domain: None,
                through,
                bytes: u64::MAX,
            };
            count += self
                .remove(shard, wanted)
                .await
                .map_err(|error| failed(&error))?
                .entries;
        }
        Ok(count)
    }

    /// The last sequence of `shard` that may go for its age; 0 when none may.
    async fn old_and_committed(&self, shard: Shard) -> Result<u64, ApiError> {
        let parts = &self.shared.parts;
        let (connection, stream) = (&parts.connection, self.shared.stream(shard));
        let now = Duration::from_nanos(u64::try_from(parts.clock.now_ns()).unwrap_or(0));
        let keep_from = now.saturating_sub(parts.limits.keep);
        let through = self.committed_by_all(shard);
        match pages::oldest(connection, &stream).await? {
            Some(oldest) if oldest.sequence <= through && oldest.stored_at < keep_from => {}
            Some(_) | None => return Ok(0),
        }
        let young = pages::first_since(connection, &stream, keep_from).await?;
        Ok(young.map_or(through, |young| through.min(young.saturating_sub(1))))
    }

    /// Frees room for `bytes` of `domain`; tells what is full when there is none, or when room is being made already: who appends
    /// does not wait for that.
    pub(super) async fn make_room(&self, shard: Shard, domain: DomainId, bytes: u64) -> Option<Quota> {
        let limits = &self.shared.parts.limits;
        let Ok(mut work) = self.work.try_lock() else {
            return locked(&self.shared.ledger).full(domain, bytes, limits);
        };
        loop {
            let quota = locked(&self.shared.ledger).full(domain, bytes, limits)?;
            // Who appends waits for a server that does not answer once, and not for each entry.
            let has_just_failed = work
                .failed_at
                .is_some_and(|failed_at| failed_at.elapsed() < RETRY_AFTER);
            if !work.is_counted || has_just_failed {
                return Some(quota);
            }
            let freed = match quota {
                Quota::Domain => {
                    let wanted = bytes.max(limits.domain_bytes_max / FREED_FRACTION);
                    self.free_of_domain(&mut work, shard, domain, wanted).await
                }
                Quota::Total => {
                    let wanted = bytes.max(limits.bytes_max / FREED_FRACTION);
                    self.free_oldest(&mut work, wanted).await
                }
            };
            match freed {
                Ok(1..) => {}
                Ok(0) => return Some(quota),
                Err(error) => {
                    warn!(%error, "no room could be made in the log");
                    work.failed_at = Some(Instant::now());
                    return Some(quota);
                }
            }
        }
    }

    /// Frees `bytes` of `domain` if as many are committed; returns the bytes freed.
    async fn free_of_domain(
        &self,
        work: &mut Work,
        shard: Shard,
        domain: DomainId,
        bytes: u64,
    ) -> Result<u64, LogError> {
        let through = self.committed_by_all(shard);
        if work.stuck.get(&Some(domain)) == Some(&through) {
            return Ok(0);
        }
        let wanted = Wanted {
            domain: Some(domain),
            through,
            bytes,
        };
        let freed = self.remove(shard, wanted).await.map_err(|error| failed(&error))?.bytes;
        work.note(Some(domain), through, freed);
        Ok(freed)
    }

    /// Frees `bytes` of the shard whose oldest committed entry is oldest; returns the bytes freed.
    async fn free_oldest(&self, work: &mut Work, bytes: u64) -> Result<u64, LogError> {
        let committed = self.shared.all_shards().map(|shard| self.committed_by_all(shard)).sum();
        if work.stuck.get(&None) == Some(&committed) {
            return Ok(0);
        }
        let mut by_age = Vec::new();
        for shard in self.shared.all_shards() {
            let through = self.committed_by_all(shard);
            let oldest = pages::oldest(&self.shared.parts.connection, &self.shared.stream(shard)).await;
            if let Some(oldest) = oldest.map_err(|error| failed(&error))?
                && oldest.sequence <= through
            {
                by_age.push((oldest.stored_at, shard, through));
            }
        }
        let freed = match by_age.into_iter().min() {
            Some((_, shard, through)) => {
                let wanted = Wanted {
                    domain: None,
                    through,
                    bytes,
                };
                self.remove(shard, wanted).await.map_err(|error| failed(&error))?.bytes
            }
            None => 0,
        };
        work.note(None, committed, freed);
        Ok(freed)
    }

    /// Removes the oldest of what is `wanted`, and takes it off the books.
    async fn remove(&self, shard: Shard, wanted: Wanted) -> Result<Held, ApiError> {
        if wanted.through == 0 {
            return Ok(Held::default());
        }
        let mut removed: HashMap<DomainId, Held> = HashMap::new();
        let (mut total, mut sequences) = (Held::default(), Vec::new());
        let mut cursor = self.cursor(shard, wanted.domain).await?;
        'pages: while let Some(page) = cursor.next().await? {
            for Delivered { held, .. } in page {
                let is_enough = total.bytes >= wanted.bytes || total.entries >= REMOVED_ENTRIES_MAX;
                if held.sequence > wanted.through || is_enough {
                    break 'pages;
                }
                sequences.push(held.sequence);
                if let Some((domain, held)) = size_of(&held) {
                    removed.entry(domain).or_default().add(held);
                    total.add(held);
                }
            }
        }
        cursor.close().await;
        let Some(last) = sequences.last() else {
            return Ok(total);
        };
        if let Err(error) = self.purge(shard, wanted.domain, last + 1).await {
            // It may be done all the same; only counting anew tells.
            self.is_uncertain.store(true, Relaxed);
            return Err(error);
        }
        let mut ledger = locked(&self.shared.ledger);
        for (domain, held) in removed {
            ledger.books.remove(domain, held);
        }
        self.shared.counters.trimmed.fetch_add(total.entries, Relaxed);
        let was_removed = |place| sequences.binary_search(&places::message_at(place)).is_ok();
        locked(&self.shared.shard(shard).ring).forget(places::last_of(*last), was_removed);
        Ok(total)
    }

    async fn purge(&self, shard: Shard, domain: Option<DomainId>, before: u64) -> Result<(), ApiError> {
        #[derive(Deserialize)]
        struct Purged {
            #[serde(rename = "purged")]
            _purged: u64,
        }
        let parts = &self.shared.parts;
        let filter = domain.map(|domain| parts.names.domain_subjects(parts.log, shard, domain));
        let question = match filter {
            Some(filter) => json!({ "seq": before, "filter": filter }),
            None => json!({ "seq": before }),
        };
        let subject = format!("STREAM.PURGE.{}", self.shared.stream(shard));
        parts.connection.ask::<Purged>(subject, &question).await.map(drop)
    }

    async fn cursor(&self, shard: Shard, domain: Option<DomainId>) -> Result<Cursor<'_>, ApiError> {
        let parts = &self.shared.parts;
        let start = match domain {
            Some(domain) => {
                let filter = parts.names.domain_subjects(parts.log, shard, domain);
                json!({ "deliver_policy": "all", "filter_subject": filter })
            }
            None => json!({ "deliver_policy": "all" }),
        };
        Cursor::open(&parts.connection, &self.shared.stream(shard), start, Parts::Headers).await
    }

    /// The last message of `shard` that every required group is durably done with and that is counted.
    fn committed_by_all(&self, shard: Shard) -> u64 {
        let counted = locked(&self.shared.ledger).books.through[usize::from(shard.0)];
        let committed = self.shared.groups.committed_by_all(usize::from(shard.0));
        places::whole_to(committed).min(counted)
    }

    /// Tells all who append what is held.
    async fn report(&self) -> Result<(), StateError> {
        let parts = &self.shared.parts;
        let report = locked(&self.shared.ledger).books.report(parts.limits.domain_bytes_max);
        let key = report_key(parts.log);
        let before = parts.state.get(&key).await?.map(|entry| entry.revision);
        let expect = before.map_or(Expect::Absent, Expect::Revision);
        match parts.state.compare_and_swap(&key, expect, report).await {
            // Another one leads by now.
            Ok(_) | Err(StateError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Work {
    fn note(&mut self, what: Option<DomainId>, committed: u64, freed: u64) {
        if freed > 0 {
            self.stuck.remove(&what);
            return;
        }
        if self.stuck.len() >= STUCK_MAX {
            self.stuck.clear();
        }
        self.stuck.insert(what, committed);
    }
}

async fn run(trimmer: Arc<Trimmer>) {
    let closing = trimmer.shared.closing.clone();
    let mut every = interval(REPORT_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            _ = every.tick() => {}
        }
        // A turn is finished even when the log closes meanwhile, so that nothing is removed and still on the books.
        trimmer.turn().await;
    }
}

/// The domain of an entry that came without its payload, and what it counts.
fn size_of(held: &pages::Held) -> Option<(DomainId, Held)> {
    let bytes = held.headers.get("Nats-Msg-Size")?.as_str().parse().ok()?;
    let entries = pack::count(&held.headers) as u64;
    Some((domain_of(&held.subject)?, Held { entries, bytes }))
}

fn failed(error: &dyn std::fmt::Display) -> LogError {
    LogError::Failed(error.to_string())
}

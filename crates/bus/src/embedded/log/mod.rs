//! `Log` on SQLite: one database in write-ahead mode, a journal before it, one thread that owns both, and the newest entries in memory.
//!
//! **Invariants:** one connection commits; a receipt resolves after its entry is in the journal or committed, as durable as the tier says;
//! what the journal holds is committed before it begins anew, and at the latest when the log is opened again; sequences of a shard have
//! no holes as given; an error of either file ends the log, but for a full disk: what was not acknowledged is undone and refused.

mod books;
mod commit;
mod copier;
mod failure;
mod job;
mod journal;
mod opened;
mod owner;
mod pace;
mod reader;
mod recent;
mod room;
mod shared;
mod store;

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{TryAcquireError, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use trunkline_core::Clock;
use trunkline_proto::messages::v1::Envelope;

use self::job::{Job, Position};
use self::opened::{Opened, unusable};
use self::owner::Owner;
use self::reader::Reader;
use self::shared::{Ending, Shared, cost};
use super::{Config, DiskProbe, OpenError};
use crate::envelope::{self, NewEntry, StoredEntry};
use crate::feed::{Feed, locked};
use crate::log::{
    AppendError, Durability, InVain, Incarnation, Log, LogError, LogStats, Page, ReadLimit, Receipt, Shard, Tier,
    TryAppendError, UNACKNOWLEDGED_WAIT_MAX,
};

/// The log's files in the data folder: the database, and what is acknowledged before it is committed there.
const FILE: &str = "log.db";
const JOURNAL: &str = "log.journal";

/// The embedded log.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    reader: Reader,
    in_vain: InVain,
}

impl EmbeddedLog {
    /// Opens the log in `dir`, making it if there is none, and starts its owner. What is returned beside it resolves, to nothing, when the
    /// owner has ended.
    pub(super) async fn open(
        dir: &Path,
        config: Config,
        clock: Arc<dyn Clock>,
        disk_free: DiskProbe,
    ) -> Result<(Arc<Self>, oneshot::Receiver<()>), OpenError> {
        let (folder, made_at) = (dir.to_owned(), clock.now().micros());
        let (tier, shards) = (Tier::from(config.tier), config.shards);
        let opening = spawn_blocking(move || Opened::open(&folder, tier, shards, made_at));
        let opened = opening.await.map_err(|cause| unusable(&cause))??;
        let shared = Shared::new(dir, config, &opened, clock, disk_free);
        let (jobs, queue) = mpsc::channel();
        let owner = Owner::new(opened, Arc::clone(&shared), queue);
        let (watch, (end, ended)) = (shared::Watch(Arc::clone(&shared)), oneshot::channel());
        let owning = move || {
            let _end: oneshot::Sender<()> = end;
            let _watch = watch;
            owner.run();
        };
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(owning).map_err(|cause| unusable(&cause))?;
        let log = Self {
            shared,
            jobs,
            reader: Reader::new(dir.join(FILE)),
            in_vain: InVain::default(),
        };
        Ok((Arc::new(log), ended))
    }

    /// Commits what was taken and closes the file. Appends from now on are refused as [`AppendError::Closed`].
    pub(super) async fn close(&self) {
        self.shared.room.close();
        self.reader.close().await;
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Job::Close { done }).is_ok() {
            // An owner that failed meanwhile drops the sender, which is an end too.
            let _ = closed.await;
        }
    }

    fn check_shard(&self, shard: Shard) -> Result<usize, LogError> {
        if shard.0 < self.shared.shards {
            Ok(usize::from(shard.0))
        } else {
            Err(LogError::NoSuchShard(shard))
        }
    }

    /// What is known to be wrong with `entry` before it is queued.
    fn refusal(&self, entry: &NewEntry) -> Option<AppendError> {
        let (bytes, bytes_max) = (entry.encoded().len(), self.shared.config.entry_bytes_max());
        if bytes as u64 > bytes_max {
            let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
            return Some(AppendError::TooLarge { bytes, bytes_max });
        }
        self.shared.is_disk_low().then_some(AppendError::DiskLow {
            retry_after: owner::RETRY_AFTER,
        })
    }

    /// Takes room for `entry`, if publishers need not wait.
    fn take_room(&self, entry: NewEntry) -> Result<NewEntry, TryAppendError> {
        if let Some(refusal) = self.refusal(&entry) {
            return Err(TryAppendError::Refused(refusal));
        }
        if !*self.shared.is_open.borrow() {
            return Err(TryAppendError::Busy(entry));
        }
        match self.shared.room.try_acquire_many(cost(&entry)) {
            Ok(room) => room.forget(),
            Err(TryAcquireError::NoPermits) => return Err(TryAppendError::Busy(entry)),
            Err(TryAcquireError::Closed) => return Err(TryAppendError::Refused(AppendError::Closed)),
        }
        Ok(entry)
    }

    /// Counts an entry without promise that is dropped, and says why.
    fn dropped(&self, why: AppendError) -> AppendError {
        self.shared.counters.dropped.fetch_add(1, Relaxed);
        why
    }

    /// Queues `entry` without promise. The tap first: who reads the entry from the log finds it in the tap already.
    fn queue_unacknowledged(&self, entry: NewEntry) -> Result<(), AppendError> {
        self.shared.counters.queued.fetch_add(1, Relaxed);
        self.shared.tap.send(entry.envelope(), entry.encoded().len());
        let job = Job::Append { entry, receipt: None };
        self.jobs.send(job).map_err(|_| AppendError::Closed)
    }

    /// Queues `entry`, for which room was taken.
    fn queue(&self, entry: NewEntry) -> Result<Receipt, AppendError> {
        let (sender, receipt) = Receipt::channel();
        self.shared.counters.queued.fetch_add(1, Relaxed);
        let job = Job::Append {
            entry,
            receipt: Some(sender),
        };
        self.jobs.send(job).map_err(|_| AppendError::Closed)?;
        Ok(receipt)
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T, LogError>>) -> Job) -> Result<T, LogError> {
        let (done, answer) = oneshot::channel();
        self.jobs.send(job(done)).map_err(|_| LogError::Closed)?;
        answer.await.map_err(|_| LogError::Closed)?
    }

    /// Reads entries that left the ring, which starts at `until`.
    async fn read_behind(&self, shard: Shard, from: u64, until: u64, limit: ReadLimit) -> Result<Page, LogError> {
        let (rows, is_cut) = self.reader.read(shard, from..until, limit).await?;
        let mut next = match rows.last() {
            Some((last, _)) if is_cut => last + 1,
            _ => until,
        };
        let mut entries = Vec::with_capacity(rows.len());
        for (sequence, encoded) in rows {
            let Ok(envelope) = envelope::decode(Bytes::from(encoded)) else {
                // Those before it are good, and it will be the first of the next page.
                if entries.is_empty() {
                    return Err(LogError::Damaged { shard, sequence });
                }
                next = sequence;
                break;
            };
            entries.push(StoredEntry {
                shard,
                sequence,
                incarnation: self.shared.incarnation,
                envelope: Arc::new(envelope),
            });
        }
        let skipped = next - from - entries.len() as u64;
        Ok(Page { entries, next, skipped })
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    fn shards(&self) -> u16 {
        self.shared.shards
    }

    fn durability(&self) -> Durability {
        Durability {
            tier: self.shared.tier,
            copies: 1,
        }
    }

    fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    fn try_append(&self, entry: NewEntry) -> Result<Receipt, TryAppendError> {
        match self.take_room(entry) {
            Ok(entry) => self.queue(entry).map_err(TryAppendError::Refused),
            Err(TryAppendError::Refused(refusal)) => {
                self.shared.counters.refused.fetch_add(1, Relaxed);
                Err(TryAppendError::Refused(refusal))
            }
            Err(busy) => Err(busy),
        }
    }

    async fn append(&self, entry: NewEntry) -> Result<Receipt, AppendError> {
        if let Some(refusal) = self.refusal(&entry) {
            self.shared.counters.refused.fetch_add(1, Relaxed);
            return Err(refusal);
        }
        self.shared.held_back().await;
        let room = self.shared.room.acquire_many(cost(&entry)).await;
        room.map_err(|_| AppendError::Closed)?.forget();
        self.queue(entry)
    }

    fn try_append_unacknowledged(&self, entry: NewEntry) -> Result<(), TryAppendError> {
        let entry = match self.take_room(entry) {
            Ok(entry) => entry,
            Err(TryAppendError::Refused(refusal)) => return Err(TryAppendError::Refused(self.dropped(refusal))),
            Err(TryAppendError::Busy(_)) if self.in_vain.is_recent() => {
                return Err(TryAppendError::Refused(self.dropped(AppendError::Unanswered)));
            }
            Err(busy) => return Err(busy),
        };
        self.queue_unacknowledged(entry).map_err(TryAppendError::Refused)
    }

    async fn append_unacknowledged(&self, entry: NewEntry) -> Result<(), AppendError> {
        if let Some(refusal) = self.refusal(&entry) {
            return Err(self.dropped(refusal));
        }
        let room = async {
            self.shared.held_back().await;
            self.shared.room.acquire_many(cost(&entry)).await
        };
        match timeout(UNACKNOWLEDGED_WAIT_MAX, room).await {
            Ok(Ok(room)) => room.forget(),
            Ok(Err(_)) => return Err(self.dropped(AppendError::Closed)),
            Err(_) => {
                self.in_vain.note();
                return Err(self.dropped(AppendError::Unanswered));
            }
        }
        self.queue_unacknowledged(entry)
    }

    fn tap(&self) -> Feed<Arc<Envelope>> {
        self.shared.tap.listen()
    }

    async fn read(&self, shard: Shard, from: u64, limit: ReadLimit) -> Result<Page, LogError> {
        let index = self.check_shard(shard)?;
        let mut from = from.max(1);
        let mut skipped = 0;
        loop {
            let until = {
                let ring = locked(&self.shared.rings[index]);
                match ring.read(from, limit) {
                    Some(page) => {
                        let skipped = skipped + page.skipped;
                        return Ok(Page { skipped, ..page });
                    }
                    None => ring.start(),
                }
            };
            let page = self.read_behind(shard, from, until, limit).await?;
            skipped += page.skipped;
            if !page.entries.is_empty() {
                return Ok(Page { skipped, ..page });
            }
            // All up to the ring was trimmed: go on in the ring, which may have moved on meanwhile.
            from = page.next;
        }
    }

    fn head(&self, shard: Shard) -> Result<u64, LogError> {
        Ok(*self.shared.heads[self.check_shard(shard)?].borrow())
    }

    fn entries_beyond(&self, shard: Shard, sequence: u64) -> Result<u64, LogError> {
        Ok(self.head(shard)?.saturating_sub(sequence))
    }

    async fn latest(&self, shard: Shard) -> Result<u64, LogError> {
        self.head(shard)
    }

    async fn wait(&self, shard: Shard, sequence: u64) -> Result<(), LogError> {
        let mut head = self.shared.heads[self.check_shard(shard)?].subscribe();
        let mut ending = self.shared.ending.subscribe();
        // Both branches only look at watched values, so dropping either loses nothing.
        tokio::select! {
            biased;
            news = head.wait_for(|head| *head > sequence) => news.map(drop).map_err(|_| LogError::Closed),
            _ = ending.wait_for(|ending| *ending != Ending::Open) => Err(LogError::Closed),
        }
    }

    async fn join(&self, name: &str, is_required: bool) -> Result<(), LogError> {
        let group = name.to_owned();
        self.ask(|done| Job::Join {
            group,
            is_required,
            done,
        })
        .await
    }

    fn committed(&self, name: &str, shard: Shard) -> Result<u64, LogError> {
        let index = self.check_shard(shard)?;
        locked(&self.shared.groups)
            .get(name)
            .map(|group| group.committed[index])
            .ok_or_else(|| LogError::NoSuchGroup(name.to_owned()))
    }

    async fn commit(&self, name: &str, shard: Shard, sequence: u64) -> Result<(), LogError> {
        self.check_shard(shard)?;
        let position = Position {
            group: name.to_owned(),
            shard,
            sequence,
        };
        self.ask(|done| Job::Commit { position, done }).await
    }

    async fn trim(&self) -> Result<u64, LogError> {
        self.ask(|done| Job::Trim { done }).await
    }

    fn stats(&self) -> LogStats {
        self.shared.stats()
    }

    async fn failed(&self) -> String {
        let mut ending = self.shared.ending.subscribe();
        loop {
            if let Ending::Failed(cause) = &*ending.borrow_and_update() {
                return format!("the message log failed: {cause}");
            }
            if ending.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod crash_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

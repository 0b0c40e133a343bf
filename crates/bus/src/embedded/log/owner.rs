//! The one thread that writes the log. Everything that waits goes into one transaction and is answered after its commit.
//!
//! It is a thread and no task, since it blocks on the file; and the file is its own, since between a message and its receipt every
//! change of threads is time that all the next ones wait, too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{error, warn};
use trunkline_core::MessageId;

use super::books::Books;
use super::copier::Copier;
use super::job::{Batch, Job, Position};
use super::opened;
use super::pace::Pace;
use super::recent::Known;
use super::room::TRIM_ENTRIES_MAX;
use super::shared::{Group, Shared, cost};
use super::store::{Error, NewRow, Store, is_disk_full};
use crate::envelope::{NewEntry, StoredEntry};
use crate::feed::locked;
use crate::log::{AppendError, Appended, LogError, ReceiptSender, Shard};

/// Jobs of one transaction.
const BATCH_JOBS_MAX: usize = 4_096;
/// Entries after which holdings are written down, so that a restart counts no more than these anew.
pub(super) const RECORD_EVERY: u64 = 16_384;
/// How long positions alone wait for entries to be committed with, since a sync for them alone is as dear as one for many.
const POSITIONS_WAIT: Duration = Duration::from_millis(10);
/// How long jobs that nobody waits for wait for more: fewer commits leave more of the processor to those who publish. It is short, since a
/// job that comes meanwhile and is waited for has to wait as well.
const PATIENCE: Duration = Duration::from_micros(250);
/// How long appends have the log to themselves between two rounds of trimming.
const TRIM_PAUSE: Duration = Duration::from_millis(20);
/// How often the disk is looked at and old entries are looked for.
const TICK: Duration = Duration::from_secs(1);
const DISK_FULL: &str = "the disk is full";
/// What publishers are told when the log is full.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The owner and all that only it touches.
pub(super) struct Owner {
    pub(super) store: Store,
    pub(super) books: Vec<Books>,
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) copier: Copier,
    /// Bytes written to the write-ahead log since it was copied last, about.
    pub(super) wal_bytes: u64,
    /// Positions that wait for entries, and until when.
    pub(super) waiting: Option<(Batch, Instant)>,
    /// The sum of the committed positions at which nothing was found to make room with.
    pub(super) full_at: Option<u64>,
    pub(super) pace: Pace,
    /// When the disk is looked at and old entries are looked for next.
    pub(super) house_at: Instant,
}

/// What the owner woke up for.
enum Wake {
    /// Jobs, or positions that waited long enough.
    Jobs,
    /// The disk and old entries.
    House,
    /// Nobody can send jobs any more.
    Abandoned,
}

impl Owner {
    /// Works until told to close, until nobody can send jobs, or until the disk fails.
    pub(super) fn run(mut self) {
        let mut jobs = Vec::new();
        loop {
            let outcome = match self.wait(&mut jobs) {
                // Looked for first, since under load there is always another job: the disk must be looked at all the same.
                Wake::House => self.keep_house().map(|()| None),
                Wake::Jobs => self.work(&mut jobs),
                Wake::Abandoned => return self.end(None),
            };
            match outcome {
                Ok(None) => {}
                Ok(Some(done)) => return self.end(Some(done)),
                Err(cause) => return self.fail(&cause),
            }
        }
    }

    /// Waits for something to do, and takes all the jobs that are there, as many as go into one transaction.
    fn wait(&self, jobs: &mut Vec<Job>) -> Wake {
        let due = self.waiting.as_ref().map(|(_, due)| *due);
        let until = due.map_or(self.house_at, |due| due.min(self.house_at));
        if Instant::now() >= self.house_at {
            return Wake::House;
        }
        match self.jobs.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(job) => {
                jobs.push(job);
                jobs.extend(self.jobs.try_iter().take(BATCH_JOBS_MAX - 1));
                if jobs.len() < BATCH_JOBS_MAX && jobs.iter().all(Job::is_patient) {
                    std::thread::sleep(PATIENCE);
                    jobs.extend(self.jobs.try_iter().take(BATCH_JOBS_MAX - jobs.len()));
                }
                Wake::Jobs
            }
            Err(RecvTimeoutError::Timeout) if due == Some(until) => Wake::Jobs,
            Err(RecvTimeoutError::Timeout) => Wake::House,
            Err(RecvTimeoutError::Disconnected) => Wake::Abandoned,
        }
    }

    /// Does `jobs` in one transaction. Gives whom to tell when one of them was to close.
    fn work(&mut self, jobs: &mut Vec<Job>) -> Result<Option<oneshot::Sender<()>>, Error> {
        let (mut batch, due) = match self.waiting.take() {
            Some((batch, due)) => (batch, due),
            None => (Batch::default(), Instant::now() + POSITIONS_WAIT),
        };
        let is_due = jobs.is_empty() || Instant::now() >= due;
        let planned = self.plan(jobs, &mut batch);
        if planned.is_ok() && !is_due && batch.is_positions_only() && !self.store.is_in_transaction() {
            self.waiting = Some((batch, due));
            return Ok(None);
        }
        let outcome = match planned {
            Ok(()) => self.write(&mut batch),
            Err(cause) => Err(cause),
        };
        let closing = match outcome {
            Ok(()) => self.settle(batch),
            Err(cause) if is_disk_full(&cause) => self.refuse(batch, jobs, &cause)?,
            Err(cause) => return Err(cause),
        };
        self.checkpoint()?;
        Ok(closing)
    }

    fn plan(&mut self, jobs: &mut Vec<Job>, batch: &mut Batch) -> Result<(), Error> {
        // In the order in which they came; after an error the rest stays for `refuse`.
        jobs.reverse();
        while let Some(job) = jobs.pop() {
            match job {
                Job::Append { entry, receipt } => self.append(entry, receipt, batch)?,
                Job::Commit { position, done } => {
                    self.move_group(position, done, batch);
                    self.set_pace();
                }
                Job::Join {
                    group,
                    is_required,
                    done,
                } => {
                    self.join(&group, is_required)?;
                    batch.committed.push(done);
                }
                Job::Trim { done } => {
                    let removed = self.trim_by_age(batch)?;
                    batch.trimmed.push((done, removed));
                }
                Job::Close { done } => batch.closing = Some(done),
            }
        }
        Ok(())
    }

    fn append(&mut self, entry: NewEntry, receipt: Option<ReceiptSender>, batch: &mut Batch) -> Result<(), Error> {
        batch.cost += cost(&entry);
        batch.appends += 1;
        let shard = self.shared.shard_of(entry.domain());
        let may_repeat = entry.may_repeat();
        let known = match may_repeat {
            true => self.find(shard, entry.id())?,
            false => None,
        };
        let tier = self.shared.tier;
        if let Some(sequence) = known {
            self.shared.counters.duplicates.fetch_add(1, Relaxed);
            let appended = Appended {
                shard,
                sequence,
                tier,
                is_duplicate: true,
            };
            batch.receipts.extend(receipt.map(|receipt| (receipt, appended)));
            return Ok(());
        }
        let bytes = entry.encoded().len() as u64;
        if let Some(refusal) = self.make_room(shard, entry.domain(), bytes, batch)? {
            self.shared.refused(receipt, refusal);
            return Ok(());
        }
        let books = &mut self.books[usize::from(shard.0)];
        let sequence = books.append(entry.domain(), bytes);
        if may_repeat {
            books.recent.remember(entry.id(), sequence);
        }
        let appended = Appended {
            shard,
            sequence,
            tier,
            is_duplicate: false,
        };
        batch.receipts.extend(receipt.map(|receipt| (receipt, appended)));
        let (id, domain) = (entry.id(), entry.domain());
        let (envelope, encoded) = entry.into_parts();
        let stored = StoredEntry {
            shard,
            sequence,
            incarnation: self.shared.incarnation,
            envelope,
        };
        batch.stored.push((stored, encoded.len()));
        batch.rows.entry(shard).or_default().push(NewRow {
            sequence,
            id,
            may_repeat,
            domain,
            appended_at: self.shared.now_ms(),
            envelope: encoded,
        });
        Ok(())
    }

    /// Where the entry is that has `id` already.
    fn find(&mut self, shard: Shard, id: MessageId) -> Result<Option<u64>, Error> {
        match self.books[usize::from(shard.0)].recent.look_up(id) {
            Known::At(sequence) => Ok(Some(sequence)),
            Known::New => Ok(None),
            Known::Unknown => self.store.find(shard, id),
        }
    }

    fn move_group(&mut self, position: Position, done: oneshot::Sender<Result<(), LogError>>, batch: &mut Batch) {
        let Position { group, shard, sequence } = position;
        let sequence = sequence.min(self.books[usize::from(shard.0)].durable_head);
        let current = locked(&self.shared.groups)
            .get(&group)
            .map(|state| state.committed[usize::from(shard.0)]);
        match current {
            None => drop(done.send(Err(LogError::NoSuchGroup(group)))),
            Some(current) => {
                self.pace.moved(&group, shard, sequence, Instant::now());
                let position = batch.positions.entry((group, shard)).or_insert(current);
                *position = sequence.max(*position);
                batch.committed.push(done);
            }
        }
    }

    fn join(&mut self, group: &str, is_required: bool) -> Result<(), Error> {
        self.store.put_group(group, is_required)?;
        let mut committed = Vec::new();
        for shard in self.shared.all_shards() {
            let position = match self.store.position(group, shard)? {
                Some(position) => position,
                None => {
                    let durable_head = self.books[usize::from(shard.0)].durable_head;
                    let oldest = self.store.oldest_at(shard)?;
                    let before = oldest.map_or(durable_head, |(sequence, _)| sequence - 1);
                    self.store.put_position(group, shard, before)?;
                    before
                }
            };
            committed.push(position);
        }
        if is_required {
            self.pace.join(group, &committed);
        }
        // A group made known before its commit can only hold trimming back, which is the safe side.
        locked(&self.shared.groups).insert(group.to_owned(), Group { is_required, committed });
        Ok(())
    }

    /// Lets acknowledged appends in, or holds them back.
    fn set_pace(&self) {
        self.shared.set_open(self.pace.is_open(Instant::now()));
    }

    /// All or nothing: what is durable is not refused because something after it failed.
    fn write(&mut self, batch: &mut Batch) -> Result<(), Error> {
        let mut wal_bytes = 4_096 * (2 * batch.rows.len() + 1) as u64;
        for (shard, rows) in std::mem::take(&mut batch.rows) {
            wal_bytes += rows.iter().map(|row| row.envelope.len() as u64 + 96).sum::<u64>();
            self.store.insert(shard, &rows)?;
        }
        for ((group, shard), position) in &batch.positions {
            self.store.put_position(group, *shard, *position)?;
        }
        for shard in self.shared.all_shards() {
            if self.is_record_due(shard, batch) {
                let books = &mut self.books[usize::from(shard.0)];
                let unrecorded = books.take_unrecorded();
                wal_bytes += 4_096 + 64 * unrecorded.len() as u64;
                self.store.record(shard, books.head, &unrecorded)?;
            }
        }
        self.store.commit()?;
        self.wal_bytes += wal_bytes;
        batch.is_written = true;
        Ok(())
    }

    /// Whether this transaction writes down what `shard` holds.
    fn is_record_due(&self, shard: Shard, batch: &Batch) -> bool {
        let books = &self.books[usize::from(shard.0)];
        batch.removed.contains_key(&shard) || books.head - books.recorded_head >= RECORD_EVERY
    }

    /// The commit has returned: shows the entries to consumers and answers everybody.
    fn settle(&mut self, batch: Batch) -> Option<oneshot::Sender<()>> {
        let counters = &self.shared.counters;
        counters.appended.fetch_add(batch.stored.len() as u64, Relaxed);
        counters.commits.fetch_add(u64::from(batch.is_written), Relaxed);
        let mut by_shard: BTreeMap<Shard, Vec<(StoredEntry, usize)>> = BTreeMap::new();
        for stored in batch.stored {
            by_shard.entry(stored.0.shard).or_default().push(stored);
        }
        let shards: Vec<Shard> = by_shard.keys().copied().collect();
        for (shard, stored) in by_shard {
            let books = &mut self.books[usize::from(shard.0)];
            books.durable_head = books.head;
            let bytes = stored.iter().map(|(_, bytes)| *bytes as u64).sum();
            self.pace.appended(shard, books.head, stored.len() as u64, bytes);
            self.shared.show(shard, stored);
        }
        self.set_pace();
        for (shard, mut sequences) in batch.removed {
            sequences.sort_unstable();
            counters.trimmed.fetch_add(sequences.len() as u64, Relaxed);
            locked(&self.shared.rings[usize::from(shard.0)])
                .forget(sequences.last().copied().unwrap_or(0), |sequence| {
                    sequences.binary_search(&sequence).is_ok()
                });
        }
        for ((name, shard), position) in batch.positions {
            if let Some(group) = locked(&self.shared.groups).get_mut(&name) {
                group.committed[usize::from(shard.0)] = position;
            }
        }
        self.shared.left_queue(batch.cost, batch.appends);
        self.shared.count_held(&self.books);
        // Whoever gave up waiting is not told; that is no failure.
        for (receipt, appended) in batch.receipts {
            let _ = receipt.send(Ok(appended));
        }
        // After their receipts, so that a publisher that hears itself mostly has its answer before the message.
        for shard in shards {
            self.shared.tell(shard);
        }
        for done in batch.committed {
            let _ = done.send(Ok(()));
        }
        for (done, removed) in batch.trimmed {
            let _ = done.send(Ok(removed));
        }
        batch.closing
    }

    /// The disk had no room for the transaction: undoes it, counts anew and refuses its entries.
    fn refuse(
        &mut self,
        mut batch: Batch,
        jobs: &mut Vec<Job>,
        cause: &Error,
    ) -> Result<Option<oneshot::Sender<()>>, Error> {
        warn!(error = %cause, "the log's disk is full, appends are refused");
        self.store.roll_back()?;
        self.books = opened::load(&mut self.store, self.shared.shards)?;
        self.full_at = None;
        self.shared.set_disk_low(true);
        for job in jobs.drain(..).rev() {
            match job {
                Job::Append { entry, receipt } => {
                    batch.cost += cost(&entry);
                    batch.appends += 1;
                    self.shared.refused(receipt, disk_low());
                }
                Job::Commit { done, .. } | Job::Join { done, .. } => batch.committed.push(done),
                Job::Trim { done } => drop(done.send(Err(LogError::Failed(DISK_FULL.to_owned())))),
                Job::Close { done } => batch.closing = Some(done),
            }
        }
        self.shared.left_queue(batch.cost, batch.appends);
        for (receipt, appended) in batch.receipts {
            // What it repeats may have been in the same transaction.
            if appended.sequence <= self.books[usize::from(appended.shard.0)].durable_head {
                let _ = receipt.send(Ok(appended));
            } else {
                self.shared.refused(Some(receipt), disk_low());
            }
        }
        for (done, _) in batch.trimmed {
            let _ = done.send(Err(LogError::Failed(DISK_FULL.to_owned())));
        }
        for done in batch.committed {
            let _ = done.send(Err(LogError::Failed(DISK_FULL.to_owned())));
        }
        Ok(batch.closing)
    }

    /// Looks at the disk and at the copy, and removes some of what is old; comes again soon while there is more.
    fn keep_house(&mut self) -> Result<(), Error> {
        self.shared.look_at_disk();
        // Consumers that stand still are seen here alone, since nobody tells of them.
        self.set_pace();
        let mut batch = Batch::default();
        let has_more = match self.trim_some(&mut batch) {
            Ok(has_more) => {
                self.settle(batch);
                has_more
            }
            Err(cause) if is_disk_full(&cause) => {
                self.refuse(batch, &mut Vec::new(), &cause)?;
                false
            }
            Err(cause) => return Err(cause),
        };
        self.checkpoint()?;
        // From its end, so that a slow disk leaves time for appends.
        self.house_at = Instant::now() + if has_more { TRIM_PAUSE } else { TICK };
        Ok(())
    }

    /// Says whether there may be more that is old.
    fn trim_some(&mut self, batch: &mut Batch) -> Result<bool, Error> {
        let mut has_more = false;
        for shard in self.shared.all_shards() {
            has_more |= self.trim_some_by_age(shard, batch)? >= u64::from(TRIM_ENTRIES_MAX);
        }
        if !batch.removed.is_empty() {
            self.write(batch)?;
        }
        Ok(has_more)
    }

    /// Writes the books down and closes the file.
    fn end(mut self, done: Option<oneshot::Sender<()>>) {
        for shard in self.shared.all_shards() {
            let books = &mut self.books[usize::from(shard.0)];
            let unrecorded = books.take_unrecorded();
            if let Err(cause) = self.store.record(shard, books.head, &unrecorded) {
                return self.fail(&cause);
            }
        }
        let outcome = self.store.commit().and(self.copier.end()).and(self.store.close());
        match outcome {
            Ok(()) => self.shared.close(),
            Err(cause) => self.shared.fail(&cause.to_string()),
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Ends for good. A sync that failed is never tried again: the kernel may have dropped the pages (reliability.md B4-13).
    fn fail(self, cause: &Error) {
        error!(error = %cause, "the log failed, nothing more is acknowledged");
        self.shared.fail(&cause.to_string());
    }
}

/// The refusal for want of room on the disk.
pub(super) const fn disk_low() -> AppendError {
    AppendError::DiskLow {
        retry_after: RETRY_AFTER,
    }
}

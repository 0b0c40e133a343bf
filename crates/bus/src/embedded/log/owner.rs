//! The one thread that writes the log. Everything that waits goes into one transaction and is answered after its commit.
//!
//! It is a thread and no task, since it blocks on the file; and the file is its own, since between a message and its receipt every
//! change of threads is time that all the next ones wait, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::error;
use trunkline_core::MessageId;

use super::FILE;
use super::books::Books;
use super::copier::{CHECKPOINT_BYTES, Copier};
use super::failure::Failure;
use super::job::{Batch, Job, Later, Position};
use super::journal::Journal;
use super::opened::Opened;
use super::pace::Pace;
use super::recent::Known;
use super::room::TRIM_ENTRIES_MAX;
use super::shared::{Group, Shared, cost};
use super::store::{NewRow, Store};
use crate::envelope::{NewEntry, StoredEntry};
use crate::feed::locked;
use crate::log::{AppendError, Appended, LogError, ReceiptSender, Shard};

/// Jobs of one transaction.
const BATCH_JOBS_MAX: usize = 4_096;
/// How long positions wait for entries and other positions to be committed with, since a commit for one is as dear as one for many.
const POSITIONS_WAIT: Duration = Duration::from_millis(10);
/// How long jobs that nobody waits for wait for more: fewer commits leave more of the processor to those who publish. It is short, since a
/// job that comes meanwhile and is waited for has to wait as well.
const PATIENCE: Duration = Duration::from_micros(250);
/// How long appends have the log to themselves between two rounds of trimming.
const TRIM_PAUSE: Duration = Duration::from_millis(20);
/// How often the disk is looked at and old entries are looked for.
const TICK: Duration = Duration::from_secs(1);
/// What publishers are told when the log is full.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The owner and all that only it touches.
pub(super) struct Owner {
    pub(super) store: Store,
    pub(super) journal: Journal,
    pub(super) books: Vec<Books>,
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) copier: Copier,
    /// Bytes written to the write-ahead log since it was copied last, about.
    pub(super) wal_bytes: u64,
    /// Positions that wait for a commit.
    pub(super) later: Later,
    /// Shards with entries that are in the journal and not committed.
    pub(super) dirty: BTreeSet<Shard>,
    /// Whether the database lacks entries that the journal has, since the disk had no room for them.
    pub(super) is_owing: bool,
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
    /// The owner of the log that was `opened`.
    pub(super) fn new(opened: Opened, shared: Arc<Shared>, jobs: mpsc::Receiver<Job>) -> Self {
        let heads = opened.books.iter().map(|books| books.head).collect();
        Self {
            store: opened.store,
            journal: opened.journal,
            pace: Pace::new(heads, shared.config.ring_bytes_max),
            books: opened.books,
            copier: Copier::new(shared.dir.join(FILE)),
            shared,
            jobs,
            // What an end without a close left in the write-ahead log is copied after the first commit.
            wal_bytes: CHECKPOINT_BYTES,
            later: Later::default(),
            dirty: BTreeSet::new(),
            is_owing: false,
            full_at: None,
            house_at: Instant::now(),
        }
    }

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
        let due = self.later.due;
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

    /// Does `jobs` together. Gives whom to tell when one of them was to close.
    pub(super) fn work(&mut self, jobs: &mut Vec<Job>) -> Result<Option<oneshot::Sender<()>>, Failure> {
        let mut batch = Batch::default();
        let planned = self.catch_up().and_then(|()| self.plan(jobs, &mut batch));
        let closing = match planned.and_then(|()| self.write(&mut batch)) {
            Ok(()) => self.settle(batch),
            Err(cause) if cause.is_disk_full() => self.refuse(batch, jobs, &cause)?,
            Err(cause) => return Err(cause),
        };
        self.checkpoint()?;
        Ok(closing)
    }

    fn plan(&mut self, jobs: &mut Vec<Job>, batch: &mut Batch) -> Result<(), Failure> {
        // In the order in which they came; after an error the rest stays for `refuse`.
        jobs.reverse();
        while let Some(job) = jobs.pop() {
            match job {
                Job::Append { entry, receipt } => self.append(entry, receipt, batch)?,
                Job::Commit { position, done } => {
                    self.move_group(position, done);
                    self.set_pace();
                }
                Job::Join {
                    group,
                    is_required,
                    done,
                } => {
                    self.join(&group, is_required)?;
                    batch.is_due = true;
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

    fn append(&mut self, entry: NewEntry, receipt: Option<ReceiptSender>, batch: &mut Batch) -> Result<(), Failure> {
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
    fn find(&mut self, shard: Shard, id: MessageId) -> Result<Option<u64>, Failure> {
        match self.books[usize::from(shard.0)].recent.look_up(id) {
            Known::At(sequence) => Ok(Some(sequence)),
            Known::New => Ok(None),
            Known::Unknown => Ok(self.store.find(shard, id)?),
        }
    }

    fn move_group(&mut self, position: Position, done: oneshot::Sender<Result<(), LogError>>) {
        let Position { group, shard, sequence } = position;
        let sequence = sequence.min(self.books[usize::from(shard.0)].durable_head);
        let current = locked(&self.shared.groups)
            .get(&group)
            .map(|state| state.committed[usize::from(shard.0)]);
        match current {
            None => drop(done.send(Err(LogError::NoSuchGroup(group)))),
            Some(current) => {
                let now = Instant::now();
                self.pace.moved(&group, shard, sequence, now);
                let position = self.later.positions.entry((group, shard)).or_insert(current);
                *position = sequence.max(*position);
                self.later.done.push(done);
                self.later.due.get_or_insert(now + POSITIONS_WAIT);
            }
        }
    }

    fn join(&mut self, group: &str, is_required: bool) -> Result<(), Failure> {
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

    /// All of it is as durable as the tier says: shows the entries to consumers and answers everybody.
    fn settle(&mut self, batch: Batch) -> Option<oneshot::Sender<()>> {
        if batch.is_committed {
            self.committed();
        }
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

    /// Looks at the disk and at the copy, and removes some of what is old; comes again soon while there is more.
    pub(super) fn keep_house(&mut self) -> Result<(), Failure> {
        self.shared.look_at_disk();
        // Consumers that stand still are seen here alone, since nobody tells of them.
        self.set_pace();
        let mut batch = Batch::default();
        let has_more = match self.catch_up().and_then(|()| self.trim_some(&mut batch)) {
            Ok(has_more) => {
                self.settle(batch);
                has_more
            }
            Err(cause) if cause.is_disk_full() => {
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

    /// Commits what waits for that, too. Says whether there may be more that is old.
    fn trim_some(&mut self, batch: &mut Batch) -> Result<bool, Failure> {
        let mut has_more = false;
        for shard in self.shared.all_shards() {
            has_more |= self.trim_some_by_age(shard, batch)? >= u64::from(TRIM_ENTRIES_MAX);
        }
        if self.store.is_in_transaction() {
            self.commit(batch)?;
        }
        Ok(has_more)
    }

    /// Writes the books down and closes the files.
    fn end(mut self, done: Option<oneshot::Sender<()>>) {
        if let Err(cause) = self.write_down() {
            return self.fail(&cause);
        }
        match self.copier.end().and(self.store.close()) {
            Ok(()) => self.shared.close(),
            Err(cause) => self.shared.fail(&cause.to_string()),
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Ends for good. A sync that failed is never tried again: the kernel may have dropped the pages (reliability.md B4-13).
    fn fail(self, cause: &Failure) {
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

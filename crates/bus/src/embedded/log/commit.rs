//! How what was planned becomes durable: at once by the journal, and now and then by a commit of the database.

use tokio::sync::oneshot;
use tracing::warn;

use super::failure::Failure;
use super::job::{Batch, Job};
use super::opened;
use super::owner::{Owner, disk_low};
use super::shared::cost;
use crate::feed::locked;
use crate::log::{LogError, Shard};

/// Entries after which holdings are written down, so that a restart counts no more than these anew.
pub(super) const RECORD_EVERY: u64 = 16_384;
const DISK_FULL: &str = "the disk is full";

impl Owner {
    /// All or nothing: what is durable is not refused because something after it failed.
    pub(super) fn write(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        // First, so that nothing is in the journal that the database does not take.
        for (shard, rows) in &batch.rows {
            self.store.insert(*shard, rows)?;
            self.wal_bytes += rows.iter().map(|row| row.envelope.len() as u64 + 96).sum::<u64>();
            self.dirty.insert(*shard);
        }
        if self.must_commit(batch) || !self.journal.has_room(&batch.rows) {
            return self.commit(batch);
        }
        if !batch.rows.is_empty() {
            self.journal.append(&batch.rows).map_err(Failure::Journal)?;
            batch.is_written = true;
        }
        Ok(())
    }

    /// Whether `batch` cannot be left to the journal, which knows entries alone.
    fn must_commit(&self, batch: &Batch) -> bool {
        let is_record_due = |shard| self.is_record_due(shard, batch);
        batch.must_commit() || self.later.is_due() || self.shared.all_shards().any(is_record_due)
    }

    /// Commits `batch` and all that waits for that.
    pub(super) fn commit(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        self.later.move_into(batch);
        for ((group, shard), position) in &batch.positions {
            self.store.put_position(group, *shard, *position)?;
        }
        for shard in self.shared.all_shards() {
            if self.is_record_due(shard, batch) {
                self.record(shard)?;
            }
        }
        self.store.commit()?;
        self.journal.rewind();
        // At least a leaf of the table, and its parent, for each shard, and the positions.
        self.wal_bytes += 4_096 * (2 * self.dirty.len() as u64 + 1);
        batch.is_written = true;
        batch.is_committed = true;
        Ok(())
    }

    /// Whether this transaction writes down what `shard` holds.
    fn is_record_due(&self, shard: Shard, batch: &Batch) -> bool {
        let books = &self.books[usize::from(shard.0)];
        batch.removed.contains_key(&shard) || books.head - books.recorded_head >= RECORD_EVERY
    }

    /// Writes down what `shard` holds.
    fn record(&mut self, shard: Shard) -> Result<(), Failure> {
        let books = &mut self.books[usize::from(shard.0)];
        let unrecorded = books.take_unrecorded();
        self.wal_bytes += 4_096 + 64 * unrecorded.len() as u64;
        Ok(self.store.record(shard, books.head, &unrecorded)?)
    }

    /// Lets the rings give up what is committed now.
    pub(super) fn committed(&mut self) {
        for shard in std::mem::take(&mut self.dirty) {
            let index = usize::from(shard.0);
            locked(&self.shared.rings[index]).set_backed(self.books[index].head);
        }
    }

    /// Commits what the journal holds beyond the database, if the disk had no room for that before. No sequence is given until then.
    pub(super) fn catch_up(&mut self) -> Result<(), Failure> {
        match self.is_owing {
            true => self.recover(),
            false => Ok(()),
        }
    }

    fn recover(&mut self) -> Result<(), Failure> {
        self.books = opened::recover(&mut self.store, &mut self.journal, self.shared.shards)?;
        self.is_owing = false;
        self.committed();
        Ok(())
    }

    /// Undoes the open transaction, but for what of it was acknowledged.
    fn undo(&mut self) -> Result<(), Failure> {
        self.store.roll_back()?;
        match self.recover() {
            Err(cause) if cause.is_disk_full() => {
                self.store.roll_back()?;
                self.is_owing = true;
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// The disk had no room for the transaction: undoes it, counts anew and refuses its entries.
    pub(super) fn refuse(
        &mut self,
        mut batch: Batch,
        jobs: &mut Vec<Job>,
        cause: &Failure,
    ) -> Result<Option<oneshot::Sender<()>>, Failure> {
        warn!(error = %cause, "the log's disk is full, appends are refused");
        self.undo()?;
        self.later.move_into(&mut batch);
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

    /// Commits all, and leaves nothing in the journal but what the disk has no room for elsewhere.
    pub(super) fn write_down(&mut self) -> Result<(), Failure> {
        if self.is_owing {
            return Ok(());
        }
        for shard in self.shared.all_shards() {
            self.record(shard)?;
        }
        self.store.commit()?;
        self.journal.clear().map_err(Failure::Journal)
    }
}

//! What the owner is asked to do, and what one transaction of it does.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::sync::oneshot;

use super::journal::Rows;
use crate::envelope::{NewEntry, StoredEntry};
use crate::log::{Appended, LogError, ReceiptSender, Shard};

/// One thing for the owner to do.
pub(super) enum Job {
    /// Append an entry.
    Append {
        entry: NewEntry,
        receipt: Option<ReceiptSender>,
    },
    /// Move a group.
    Commit {
        position: Position,
        done: oneshot::Sender<Result<(), LogError>>,
    },
    /// Make a group.
    Join {
        group: String,
        is_required: bool,
        done: oneshot::Sender<Result<(), LogError>>,
    },
    /// Remove what is old enough.
    Trim {
        done: oneshot::Sender<Result<u64, LogError>>,
    },
    /// Commit what was taken, and end.
    Close { done: oneshot::Sender<()> },
}

impl Job {
    /// Whether nobody waits for it: an append without promise.
    pub(super) const fn is_patient(&self) -> bool {
        matches!(self, Self::Append { receipt: None, .. })
    }
}

/// What a group is done with in a shard.
pub(super) struct Position {
    pub(super) group: String,
    pub(super) shard: Shard,
    pub(super) sequence: u64,
}

/// What one transaction does, and whom to tell.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) rows: Rows,
    pub(super) stored: Vec<(StoredEntry, usize)>,
    pub(super) receipts: Vec<(ReceiptSender, Appended)>,
    pub(super) positions: BTreeMap<(String, Shard), u64>,
    pub(super) committed: Vec<oneshot::Sender<Result<(), LogError>>>,
    pub(super) trimmed: Vec<(oneshot::Sender<Result<u64, LogError>>, u64)>,
    pub(super) removed: BTreeMap<Shard, Vec<u64>>,
    pub(super) cost: u32,
    pub(super) appends: u64,
    /// Whether it cannot be left to the journal.
    pub(super) is_due: bool,
    /// Whether something was written, and whether that was a commit.
    pub(super) is_written: bool,
    pub(super) is_committed: bool,
    pub(super) closing: Option<oneshot::Sender<()>>,
}

impl Batch {
    /// Whether there is something in it that the journal does not know.
    pub(super) fn must_commit(&self) -> bool {
        self.is_due || !self.removed.is_empty() || !self.trimmed.is_empty() || self.closing.is_some()
    }
}

/// Positions that wait for a commit, and whom to tell.
#[derive(Default)]
pub(super) struct Later {
    pub(super) positions: BTreeMap<(String, Shard), u64>,
    pub(super) done: Vec<oneshot::Sender<Result<(), LogError>>>,
    /// How long they wait at most; none while there are none.
    pub(super) due: Option<Instant>,
}

impl Later {
    /// Whether they waited long enough.
    pub(super) fn is_due(&self) -> bool {
        self.due.is_some_and(|due| Instant::now() >= due)
    }

    /// Makes them part of `batch`.
    pub(super) fn move_into(&mut self, batch: &mut Batch) {
        let Self { positions, done, .. } = std::mem::take(self);
        batch.positions.extend(positions);
        batch.committed.extend(done);
    }
}

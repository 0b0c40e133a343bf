//! What the owner is asked to do, and what one transaction of it does.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::store::NewRow;
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
    pub(super) rows: BTreeMap<Shard, Vec<NewRow>>,
    pub(super) stored: Vec<(StoredEntry, usize)>,
    pub(super) receipts: Vec<(ReceiptSender, Appended)>,
    pub(super) positions: BTreeMap<(String, Shard), u64>,
    pub(super) committed: Vec<oneshot::Sender<Result<(), LogError>>>,
    pub(super) trimmed: Vec<(oneshot::Sender<Result<u64, LogError>>, u64)>,
    pub(super) removed: BTreeMap<Shard, Vec<u64>>,
    pub(super) cost: u32,
    pub(super) appends: u64,
    pub(super) is_written: bool,
    pub(super) closing: Option<oneshot::Sender<()>>,
}

impl Batch {
    /// Whether nothing but positions would be written.
    pub(super) fn is_positions_only(&self) -> bool {
        self.appends == 0 && self.removed.is_empty() && self.trimmed.is_empty() && self.closing.is_none()
    }
}

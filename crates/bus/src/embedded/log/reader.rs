//! Reading entries that left the rings: on threads that may block, few at a time.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::store::{self, Rows};
use crate::log::{LogError, ReadLimit, Shard};

/// Reads at a time.
const READERS_MAX: u32 = 2;

/// Reads the file beside its owner.
pub(super) struct Reader {
    path: PathBuf,
    turns: Arc<Semaphore>,
}

impl Reader {
    /// Will read the file at `path`, which its owner has open.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            turns: Arc::new(Semaphore::new(READERS_MAX as usize)),
        }
    }

    /// Entries of `shard`, as [`store::read`] gives them.
    pub(super) async fn read(&self, shard: Shard, sequences: Range<u64>, limit: ReadLimit) -> Result<Rows, LogError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let (turn, path) = (turn.map_err(|_| LogError::Closed)?, self.path.clone());
        let reading = spawn_blocking(move || {
            let _turn = turn;
            store::read(&path, shard, sequences, limit)
        });
        let failed = |cause: &dyn std::fmt::Display| LogError::Failed(cause.to_string());
        reading
            .await
            .map_err(|cause| failed(&cause))?
            .map_err(|cause| failed(&cause))
    }

    /// Waits until nothing is being read. Nothing is read from now on.
    pub(super) async fn close(&self) {
        let turns = self.turns.acquire_many(READERS_MAX).await;
        self.turns.close();
        drop(turns);
    }
}

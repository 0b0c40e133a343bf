//! The end of sessions: those whose time is over are removed, and those whose node is gone begin to expire.

use std::collections::HashMap;

use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;
use trunkline_bus::state::{Expect, Key, StateError, Versioned};
use trunkline_core::NodeId;

use super::record::{Record, all_key};
use super::store::Sessions;
use crate::directory::Directory;
use crate::limits::SESSION_SWEEP_PAUSE;

impl Sessions {
    /// Shows that this node runs, hears which sessions others take, and removes those whose time is over; until `cancel`.
    pub(crate) async fn run(&self, directory: &Directory, cancel: &CancellationToken) {
        let sweeping = async {
            let mut sweep = interval_at(Instant::now() + SESSION_SWEEP_PAUSE, SESSION_SWEEP_PAUSE);
            loop {
                tokio::select! {
                    () = cancel.cancelled() => return,
                    _ = sweep.tick() => {}
                }
                if let Err(error) = self.sweep().await {
                    tracing::warn!(%error, "sessions whose time is over could not be removed");
                }
            }
        };
        tokio::join!(self.show(cancel), self.hear(directory, cancel), sweeping);
    }

    /// Looks at every session.
    ///
    /// # Errors
    /// Shared state does not answer.
    async fn sweep(&self) -> Result<(), StateError> {
        let mut nodes = HashMap::new();
        for (key, found) in self.state.list(&all_key()).await? {
            let Some(record) = Record::decode(&found.value) else {
                continue;
            };
            let swept = match record.owner {
                None if record.has_expired(self.now_ms()) => self.state.delete(&key, found.revision).await,
                None => continue,
                Some(owner) if self.is_served(&key, owner, &mut nodes).await? => continue,
                Some(_) => self.abandon(&key, &found, record).await,
            };
            match swept {
                // Somebody was first: its client has come back, or another node sweeps.
                Ok(_) | Err(StateError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the owner of a session has a connection for it, as far as that is known here.
    async fn is_served(&self, key: &Key, owner: NodeId, nodes: &mut HashMap<NodeId, bool>) -> Result<bool, StateError> {
        if owner == self.node_id {
            return Ok(self.is_held(key));
        }
        match nodes.get(&owner) {
            Some(is_alive) => Ok(*is_alive),
            None => {
                let is_alive = self.is_alive(owner).await?;
                nodes.insert(owner, is_alive);
                Ok(is_alive)
            }
        }
    }

    /// A session without a connection expires from now on. A node that was taken for gone and is not owns it no more.
    async fn abandon(&self, key: &Key, found: &Versioned, record: Record) -> Result<u64, StateError> {
        let record = Record {
            owner: None,
            epoch: record.epoch + 1,
            left_at_ms: self.now_ms(),
            ..record
        };
        let expect = Expect::Revision(found.revision);
        self.state.compare_and_swap(key, expect, record.encode()).await
    }
}

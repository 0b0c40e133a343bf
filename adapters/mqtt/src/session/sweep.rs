//! Looking after sessions without a connection. What is due soon is in the agenda of the node that left them; all records are read only
//! when a node begins or has gone, and every hour or so.

use std::collections::HashMap;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, stream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trunkline_bus::state::StateError;
use trunkline_core::NodeId;

use super::record::{Record, slice_key};
use super::store::Sessions;
use crate::directory::Directory;
use crate::limits::{
    AGENDA_AHEAD, AGENDA_AT_ONCE, AGENDA_RETRY_PAUSE, NODE_RENEWAL_PAUSE, SWEEP_AT_ONCE, SWEEP_PAUSE, SWEEP_PAUSE_MIN,
};

impl Sessions {
    /// Shows that this node runs, hears which sessions others take, and looks after those that have no connection; until `cancel`.
    pub(crate) async fn run(&self, directory: &Directory, cancel: &CancellationToken) {
        let looking = async {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.sweep_always() => {}
                () = self.attend_always() => {}
            }
        };
        tokio::join!(self.show(directory, cancel), self.hear(directory, cancel), looking);
    }

    /// Does what is in the agenda.
    async fn attend_always(&self) {
        let mut attending = FuturesUnordered::new();
        loop {
            while attending.len() < AGENDA_AT_ONCE
                && let Some(key) = self.agenda.take(self.now_ms())
            {
                attending.push(async move { (self.attend(&key).await, key) });
            }
            tokio::select! {
                Some((next, key)) = attending.next() => match next {
                    Ok(Some(at_ms)) => self.note(&key, at_ms),
                    // Its client has come back, or another node looks after it.
                    Ok(None) => {}
                    // Somebody was first, perhaps one that has gone since: what is there now is looked at as well.
                    Err(StateError::Conflict { .. }) => self.note(&key, self.now_ms() + millis(AGENDA_RETRY_PAUSE)),
                    Err(error) => {
                        tracing::debug!(%error, "a session could not be looked after");
                        self.note(&key, self.now_ms() + millis(AGENDA_RETRY_PAUSE));
                    }
                },
                () = self.agenda.wait(self.now_ms()), if attending.len() < AGENDA_AT_ONCE => {}
            }
        }
    }

    /// Reads all sessions when that is needed.
    async fn sweep_always(&self) {
        let mut pause = SWEEP_PAUSE;
        loop {
            let _ = timeout(pause, self.nodes.gone.notified()).await;
            while !self.nodes.is_steady() {
                sleep(NODE_RENEWAL_PAUSE).await;
            }
            pause = match self.sweep().await {
                Ok(()) if !self.agenda.take_overflow() => SWEEP_PAUSE,
                Ok(()) => SWEEP_PAUSE_MIN,
                Err(error) => {
                    tracing::warn!(%error, "sessions could not be read");
                    SWEEP_PAUSE_MIN
                }
            };
            sleep(SWEEP_PAUSE_MIN).await;
        }
    }

    /// Notes what is to be done for all sessions, a few slices at a time.
    ///
    /// # Errors
    /// Shared state does not answer.
    async fn sweep(&self) -> Result<(), StateError> {
        let mut nodes = HashMap::new();
        let read = async |slice| self.state.list(&slice_key(slice)).await;
        let mut slices = stream::iter(0..=u8::MAX).map(read).buffer_unordered(SWEEP_AT_ONCE);
        while let Some(found) = slices.next().await {
            for (key, found) in found? {
                let Some(record) = Record::decode(&found.value) else {
                    continue;
                };
                let due_at_ms = match record.owner {
                    None => record.due_at_ms(),
                    Some(owner) if owner == self.node_id => (!self.is_held(&key)).then_some(0),
                    Some(owner) => (!self.runs(owner, &mut nodes).await?).then_some(0),
                };
                if let Some(at_ms) = due_at_ms {
                    self.note(&key, at_ms);
                }
            }
        }
        Ok(())
    }

    /// Whether a node runs, asked once in a sweep.
    async fn runs(&self, node_id: NodeId, nodes: &mut HashMap<NodeId, bool>) -> Result<bool, StateError> {
        if let Some(is_alive) = nodes.get(&node_id) {
            return Ok(*is_alive);
        }
        let is_alive = self.is_alive(node_id).await?;
        nodes.insert(node_id, is_alive);
        Ok(is_alive)
    }

    /// Notes when a session is to be looked at, unless all sessions are read before.
    pub(super) fn note(&self, key: &trunkline_bus::state::Key, at_ms: i64) {
        if at_ms <= self.now_ms().saturating_add(millis(AGENDA_AHEAD)) {
            self.agenda.note(key, at_ms);
        }
    }
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

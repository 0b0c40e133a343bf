//! Which nodes run: each holds a lease and renews it. Who owns sessions and has no lease is gone, and others look after what it leaves.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use trunkline_bus::state::{Key, StateError};
use trunkline_core::NodeId;

use super::record::Record;
use super::store::Sessions;
use super::takeover::YOUNGEST;
use crate::directory::Directory;
use crate::limits::{AGENDA_AT_ONCE, NODE_LEASE, NODE_RENEWAL_PAUSE, NODE_STEADY_TIME};

/// The prefix of the keys by which others know that nodes run.
fn nodes_key() -> Key {
    Key::volatile("mqtt.node")
}

/// The key by which others know that a node runs.
fn node_key(node_id: NodeId) -> Key {
    Key::volatile(format!("{}.{node_id}", nodes_key().name()))
}

/// What a node knows of itself and others.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// Since when its own lease was renewed each time.
    steady_since: Mutex<Option<Instant>>,
    /// A node is gone, or may have gone unseen.
    pub(super) gone: Notify,
}

impl Nodes {
    fn set_steady_since(&self, since: Option<Instant>) {
        *self.steady_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Whether the node can tell who is gone: while shared state is away nobody renews, and when it is back all leases have lapsed.
    pub(super) fn is_steady(&self) -> bool {
        let since = *self.steady_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() >= NODE_STEADY_TIME)
    }
}

impl Sessions {
    /// Whether a node runs, as far as others know.
    pub(crate) async fn is_alive(&self, node_id: NodeId) -> Result<bool, StateError> {
        Ok(node_id == self.node_id || !self.state.leases(&node_key(node_id)).await?.is_empty())
    }

    /// Shows others that this node runs and looks who else does, until `cancel`.
    pub(super) async fn show(&self, directory: &Directory, cancel: &CancellationToken) {
        let key = node_key(self.node_id);
        let mut renewals = interval(NODE_RENEWAL_PAUSE);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed: Option<Instant> = None;
        let mut seen = HashSet::new();
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                _ = renewals.tick() => {}
            }
            let begun = Instant::now();
            // While that fails, others may take what is owned here without asking.
            let renewal = self.state.renew(&key, Bytes::new(), NODE_LEASE);
            if !matches!(timeout(NODE_LEASE, renewal).await, Ok(Ok(()))) {
                continue;
            }
            self.standing.renewed(begun);
            let has_lapsed = renewed.is_some_and(|renewed| renewed.elapsed() > NODE_LEASE);
            if renewed.is_none() || has_lapsed {
                self.nodes.set_steady_since(Some(begun));
                self.nodes.gone.notify_one();
            }
            renewed = Some(begun);
            if has_lapsed {
                cancel.run_until_cancelled(self.look_for_lost(directory)).await;
            }
            // Asking longer than that would cost the lease.
            if let Ok(Ok(present)) = timeout(NODE_LEASE, self.present()).await {
                if !seen.is_subset(&present) {
                    self.nodes.gone.notify_one();
                }
                seen = present;
            }
        }
        self.nodes.set_steady_since(None);
        let _ = timeout(Duration::from_secs(1), self.state.release(&key)).await;
    }

    async fn present(&self) -> Result<HashSet<Key>, StateError> {
        let leases = self.state.leases(&nodes_key()).await?;
        Ok(leases.into_iter().map(|lease| lease.key).collect())
    }

    /// Ends the connections whose sessions others took while this node's lease had lapsed: their wills may be published.
    async fn look_for_lost(&self, directory: &Directory) {
        let held = self.held();
        let looks = held.into_iter().map(|(key, client)| async move {
            let found = self.state.get(&key).await.ok()?;
            let record = found.and_then(|found| Record::decode(&found.value));
            let is_lost = record.is_none_or(|record| record.owner != Some(self.node_id));
            is_lost.then_some(client)
        });
        let mut looks = stream::iter(looks).buffer_unordered(AGENDA_AT_ONCE);
        while let Some(lost) = looks.next().await {
            if let Some((client_id, mqtt_client_id)) = lost {
                directory.evict(client_id, mqtt_client_id, YOUNGEST);
            }
        }
    }
}

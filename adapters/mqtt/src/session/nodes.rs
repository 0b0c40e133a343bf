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
use crate::limits::{AGENDA_AT_ONCE, NODE_GAP_MAX, NODE_LEASE, NODE_RENEWAL_PAUSE, NODE_STEADY_TIME};

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
    renewals: Mutex<Option<Renewals>>,
    /// Those that ran when this node looked last, every second or so.
    seen: Mutex<HashSet<Key>>,
    /// A node is gone, or may have gone unseen.
    pub(super) gone: Notify,
    /// This node's lease had lapsed and is held again.
    lapsed: Notify,
}

/// The renewals of the node's own lease.
#[derive(Debug, Clone, Copy)]
struct Renewals {
    /// When the first of those began that came without a gap.
    first: Instant,
    /// When the last one began.
    last: Instant,
}

impl Nodes {
    /// A renewal that began at `begun` was granted.
    fn renewed(&self, begun: Instant) {
        let mut renewals = self.renewals.lock().unwrap_or_else(PoisonError::into_inner);
        let before = renewals.map(|renewals| (renewals, begun - renewals.last));
        let first = match before {
            Some((renewals, gap)) if gap <= NODE_GAP_MAX => renewals.first,
            _ => begun,
        };
        *renewals = Some(Renewals { first, last: begun });
        if first == begun {
            self.gone.notify_one();
        }
        if before.is_some_and(|(_, gap)| gap > NODE_GAP_MAX) {
            self.lapsed.notify_one();
        }
    }

    /// Whether the node can tell who is gone. While shared state is away nobody renews, and when it is back all leases have lapsed; so
    /// only who has renewed without a gap for a while, and just now, may judge.
    pub(super) fn is_steady(&self) -> bool {
        let renewals = *self.renewals.lock().unwrap_or_else(PoisonError::into_inner);
        renewals.is_some_and(|renewals| {
            renewals.first.elapsed() >= NODE_STEADY_TIME && renewals.last.elapsed() <= NODE_GAP_MAX
        })
    }
}

impl Sessions {
    /// Whether a node runs, as far as others know.
    pub(crate) async fn is_alive(&self, node_id: NodeId) -> Result<bool, StateError> {
        Ok(node_id == self.node_id || !self.state.leases(&node_key(node_id)).await?.is_empty())
    }

    /// Whether who has no lease is gone. A node that was just started knows so, too, where nothing but itself can have kept state away.
    pub(crate) fn may_judge(&self) -> bool {
        self.state.is_in_process() || self.nodes.is_steady()
    }

    /// Whether a node ran when this one looked last.
    pub(crate) fn saw(&self, node_id: NodeId) -> bool {
        let seen = self.nodes.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.contains(&node_key(node_id))
    }

    /// Shows others that this node runs and looks who else does, until `cancel`.
    pub(super) async fn show(&self, directory: &Directory, cancel: &CancellationToken) {
        // Beside the renewals: looking may take longer than a lease.
        let looks = async {
            loop {
                self.nodes.lapsed.notified().await;
                self.look_for_lost(directory).await;
            }
        };
        tokio::select! {
            () = self.renew_always() => {}
            () = looks => {}
            () = cancel.cancelled() => {}
        }
        *self.nodes.renewals.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = timeout(Duration::from_secs(1), self.state.release(&node_key(self.node_id))).await;
    }

    async fn renew_always(&self) {
        let key = node_key(self.node_id);
        let mut renewals = interval(NODE_RENEWAL_PAUSE);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            renewals.tick().await;
            let begun = Instant::now();
            // While that fails, others may take what is owned here without asking.
            let renewal = self.state.renew(&key, Bytes::new(), NODE_LEASE);
            if !matches!(timeout(NODE_LEASE, renewal).await, Ok(Ok(()))) {
                continue;
            }
            self.standing.renewed(begun);
            self.nodes.renewed(begun);
            // Asking for longer would cost the lease.
            if let Ok(Ok(present)) = timeout(NODE_RENEWAL_PAUSE, self.present()).await {
                let mut seen = self.nodes.seen.lock().unwrap_or_else(PoisonError::into_inner);
                if !seen.is_subset(&present) {
                    self.nodes.gone.notify_one();
                }
                *seen = present;
            }
        }
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
            // Without a record it is being claimed, or its next write tells.
            let is_lost = record.is_some_and(|record| record.owner != Some(self.node_id));
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

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    async fn renew_for(nodes: &Nodes, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            nodes.renewed(Instant::now());
            advance(NODE_RENEWAL_PAUSE).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_has_renewed_without_a_gap_and_just_now_judges_others() {
        let nodes = Nodes::default();
        assert!(!nodes.is_steady());
        renew_for(&nodes, NODE_STEADY_TIME).await;
        assert!(nodes.is_steady());
        // Shared state is away: nothing is granted, and nothing is told either.
        advance(NODE_GAP_MAX).await;
        assert!(!nodes.is_steady());
        // It is back, and others have not renewed yet.
        nodes.renewed(Instant::now());
        assert!(!nodes.is_steady());
        renew_for(&nodes, NODE_STEADY_TIME).await;
        assert!(nodes.is_steady());
    }
}

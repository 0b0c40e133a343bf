//! Following the authorization revision: every change is applied to what is remembered, and acknowledged only then.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use trunkline_bus::revision::{Change, Changes, News, Revisions, Scope, Touched};
use trunkline_bus::state::StateError;
use trunkline_core::NodeId;

use crate::PlatformGate;
use crate::registry::Registry;

/// Pause before the shared state is asked again that did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

impl PlatformGate {
    /// Keeps what the gate remembers true until `cancel`. While this does not run, nothing is answered from memory.
    pub async fn follow(&self, revisions: &Revisions, node: NodeId, cancel: &CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                Err(error) = self.follow_once(revisions, node) => {
                    tracing::warn!(%error, "permissions are asked for every time, because changes to them cannot be followed");
                }
            }
            drop(self.lease.replace(None));
            self.registry.apply_to_all();
            tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
        if let Some(lease) = self.lease.replace(None)
            && let Err(error) = lease.release().await
        {
            tracing::debug!(%error, "the lease was not given up and will lapse");
        }
    }

    /// Never returns without an error.
    async fn follow_once(&self, revisions: &Revisions, node: NodeId) -> Result<std::convert::Infallible, StateError> {
        let (lease, mut changes): (_, Changes) = revisions.join(node).await?;
        // What was decided while no lease was held waits for nobody's revocation, so it may not come to life under this one.
        self.registry.apply_to_all();
        drop(self.lease.replace(Some(lease)));
        loop {
            let revision = match changes.next().await? {
                News::Change(change) => apply(&self.registry, change),
                News::Gap { revision } => {
                    self.registry.apply_to_all();
                    revision
                }
            };
            self.lease.applied(revision);
        }
    }
}

fn apply(registry: &Registry, change: Change) -> u64 {
    match (change.scope, change.touched) {
        (Scope::Domain(domain_id), touched) => registry.apply(domain_id, &touched),
        (Scope::Platform, Touched::All) => registry.apply_to_all(),
        // What changes for users of the platform changes nothing for clients.
        (Scope::Platform, Touched::Ids(_)) => {}
    }
    change.revision
}

//! The authorization revision: how everybody who caches decisions learns that they changed, and how a revocation knows that
//! everybody has.
//!
//! A change is one write to `State`, whose revision number is the authorization revision. Each node that caches holds a
//! lease ([`NodeLease`]) that says up to where it has applied changes. A grant writes and answers; a revocation writes and
//! waits until every lease in force says that it has applied the change, or has lapsed.
//!
//! A node that looks something up while a change arrives must not cache what it got: compare the changes applied before and
//! after the look-up.

mod change;
mod lease;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use trunkline_core::error::reason;
use trunkline_core::{Code, DomainId, Fault, NodeId};
use uuid::Uuid;

pub use change::{Change, Changes, News, Touched};
pub use lease::NodeLease;

use crate::state::{Expect, Key, State, StateError};

/// Ids that one change names; with more, it counts for the whole scope.
pub const TOUCHED_IDS_MAX: usize = 64;
/// How long a node's lease lasts.
pub const LEASE: Duration = Duration::from_secs(3);
/// How often a node renews it.
pub const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long a revocation waits for nodes before it answers that it is pending.
pub const REVOKE_WAIT_MAX: Duration = Duration::from_secs(4);

/// Times that a change is tried while others write the same scope.
const ADVANCE_ATTEMPTS_MAX: usize = 64;

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One domain.
    Domain(DomainId),
    /// Every domain, such as when a user of the platform is disabled.
    Platform,
}

/// Why a revocation is not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// The change is in force where it is known, and some nodes have not said so in time. Repeating the call waits again.
    #[error("some nodes have not confirmed the revocation yet; repeat the call")]
    Pending {
        /// The change's revision.
        revision: u64,
    },
    /// The shared state does not answer, so it is unknown which nodes know.
    #[error("the revocation cannot be confirmed: {0}")]
    State(StateError),
}

impl RevokeError {
    /// The failure as it is told to callers.
    pub fn fault(&self) -> Fault {
        Fault::new(Code::Unavailable, reason::REVOCATION_PENDING, self.to_string()).retry_after(RENEW_EVERY)
    }
}

/// Writes changes of authorization, and reads them. Cloning shares the state.
#[derive(Clone)]
pub struct Revisions {
    state: Arc<dyn State>,
}

impl Revisions {
    /// Revisions kept in `state`.
    pub const fn new(state: Arc<dyn State>) -> Self {
        Self { state }
    }

    /// Tells every node that `touched` may do more now. Returns the revision at once.
    ///
    /// # Errors
    /// The shared state does not answer.
    pub async fn grant(&self, scope: Scope, touched: &[Uuid]) -> Result<u64, StateError> {
        let key = scope.key();
        let mut outcome = Err(StateError::Conflict { current: None });
        for _ in 0..ADVANCE_ATTEMPTS_MAX {
            let current = self.state.get(&key).await?.map(|entry| entry.revision);
            let value = change::encode(current.unwrap_or(0), touched);
            let expect = current.map_or(Expect::Absent, Expect::Revision);
            outcome = self.state.compare_and_swap(&key, expect, value).await;
            if !matches!(outcome, Err(StateError::Conflict { .. })) {
                break;
            }
        }
        outcome
    }

    /// Tells every node that `touched` may do less now, and waits until each has applied it or its lease lapsed. Returns the
    /// revision.
    ///
    /// # Errors
    /// [`RevokeError::Pending`] after [`REVOKE_WAIT_MAX`]: repeating the call waits again and gives its success.
    pub async fn revoke(&self, scope: Scope, touched: &[Uuid]) -> Result<u64, RevokeError> {
        let revision = self.grant(scope, touched).await.map_err(RevokeError::State)?;
        match tokio::time::timeout(REVOKE_WAIT_MAX, self.applied_everywhere(revision)).await {
            Ok(confirmed) => confirmed.map(|()| revision).map_err(RevokeError::State),
            Err(_) => Err(RevokeError::Pending { revision }),
        }
    }

    /// Registers `node` as one that caches: from now on it hears of every change, and revocations wait for it.
    ///
    /// # Errors
    /// The shared state does not answer.
    pub async fn join(&self, node: NodeId) -> Result<(NodeLease, Changes), StateError> {
        // The watch comes first: a change after it is heard, a change before it finds nothing cached.
        let feed = self.state.watch(&changes_key()).await?;
        let since = self.latest().await?;
        let lease = NodeLease::take(self.state.clone(), node_key(node), since).await?;
        let changes = Changes::new(feed, self.clone(), lease.standing(), since);
        Ok((lease, changes))
    }

    async fn applied_everywhere(&self, revision: u64) -> Result<(), StateError> {
        let nodes = nodes_key();
        let mut news = self.state.watch(&nodes).await?;
        loop {
            let leases = self.state.leases(&nodes).await?;
            let behind = leases.iter().filter(|lease| lease::applied(&lease.value) < revision);
            let Some(lapse_in) = behind.map(|lease| lease.remaining).min() else {
                return Ok(());
            };
            // Backends need not tell of lapses. Whatever ends the wait, the leases are read again.
            let _ = tokio::time::timeout_at(Instant::now() + lapse_in, news.next()).await;
        }
    }

    /// The newest revision of any scope.
    async fn latest(&self) -> Result<u64, StateError> {
        let scopes = self.state.list(&changes_key()).await?;
        Ok(scopes.iter().map(|(_, entry)| entry.revision).max().unwrap_or(0))
    }
}

impl Scope {
    fn key(self) -> Key {
        match self {
            Self::Domain(domain) => Key::volatile(format!("authz.change.{domain}")),
            Self::Platform => Key::volatile("authz.change.platform"),
        }
    }

    fn of_key(key: &Key) -> Option<Self> {
        match key.name().strip_prefix("authz.change.")? {
            "platform" => Some(Self::Platform),
            domain => domain.parse().ok().map(Self::Domain),
        }
    }
}

fn changes_key() -> Key {
    Key::volatile("authz.change")
}

fn nodes_key() -> Key {
    Key::volatile("authz.node")
}

fn node_key(node: NodeId) -> Key {
    Key::volatile(format!("authz.node.{node}"))
}

fn revision_bytes(revision: u64) -> Bytes {
    Bytes::copy_from_slice(&revision.to_be_bytes())
}

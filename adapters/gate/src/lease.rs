//! The node's lease as decisions see it: without one, nothing is answered from memory.

use std::sync::{Arc, PoisonError, RwLock};

use trunkline_bus::revision::NodeLease;

/// Whether this node may answer from memory. Clones share the lease.
#[derive(Clone)]
pub(crate) struct Lease(Option<Arc<RwLock<Option<NodeLease>>>>);

impl Lease {
    /// For a gate that nobody ever revokes anything from.
    pub(crate) const fn unlimited() -> Self {
        Self(None)
    }

    /// A lease that is not held yet.
    pub(crate) fn absent() -> Self {
        Self(Some(Arc::default()))
    }

    /// Whether it is held at this instant.
    pub(crate) fn is_held(&self) -> bool {
        let Some(lease) = &self.0 else {
            return true;
        };
        let lease = lease.read().unwrap_or_else(PoisonError::into_inner);
        lease.as_ref().is_some_and(NodeLease::is_held)
    }

    /// Says that nothing from before `revision` is answered any more.
    pub(crate) fn applied(&self, revision: u64) {
        if let Some(lease) = &self.0
            && let Some(lease) = lease.read().unwrap_or_else(PoisonError::into_inner).as_ref()
        {
            lease.applied(revision);
        }
    }

    /// Goes on under `lease`, or under none. Returns the one of before.
    pub(crate) fn replace(&self, lease: Option<NodeLease>) -> Option<NodeLease> {
        let mut held = self.0.as_ref()?.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut held, lease)
    }
}

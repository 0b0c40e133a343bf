//! The node's lease as decisions see it: without one, nothing is answered from memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Whether this node may answer from memory. Clones share the lease.
#[derive(Clone)]
pub(crate) struct Lease(Option<Arc<Held>>);

struct Held {
    /// What `until_ms` counts from.
    origin: Instant,
    /// When the lease lapses, in milliseconds since `origin`, on the monotonic clock.
    until_ms: AtomicU64,
}

impl Lease {
    /// For a node that nobody ever revokes anything from.
    pub(crate) const fn unlimited() -> Self {
        Self(None)
    }

    /// A lease that is not held yet.
    pub(crate) fn lapsed() -> Self {
        Self(Some(Arc::new(Held {
            origin: Instant::now(),
            until_ms: AtomicU64::new(0),
        })))
    }

    /// Holds the lease until `length` after `since`, the instant before its renewal was sent.
    pub(crate) fn hold(&self, since: Instant, length: Duration) {
        if let Some(held) = &self.0 {
            let until = (since + length).saturating_duration_since(held.origin);
            held.until_ms
                .store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
        }
    }

    /// Whether it is held at this instant.
    pub(crate) fn is_held(&self) -> bool {
        let Some(held) = &self.0 else {
            return true;
        };
        held.origin.elapsed().as_millis() < u128::from(held.until_ms.load(Ordering::Acquire))
    }
}

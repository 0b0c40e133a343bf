//! Whether this node may deal: others take its turns and what its members have once they do not hear of it any more.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::limits::NODE_LEASE;

/// How this node stands with the others, on its own clock.
#[derive(Debug)]
pub(crate) struct Standing {
    began: Instant,
    /// Milliseconds after `began` until which others take this node for running.
    until_ms: AtomicU64,
    /// Times that it was not taken for running and then was. What it knew before counts no more.
    comebacks: watch::Sender<u64>,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            until_ms: AtomicU64::new(0),
            comebacks: watch::Sender::new(0),
        }
    }
}

impl Standing {
    /// Others were told at `told`, or a little later, that this node runs.
    pub(crate) fn renewed(&self, told: Instant) {
        if !self.is_up() {
            self.comebacks.send_modify(|comebacks| *comebacks += 1);
        }
        let until = told.duration_since(self.began) + NODE_LEASE;
        let until_ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.until_ms.store(until_ms, Ordering::SeqCst);
    }

    /// Whether others take this node for running, as it did since `comeback`.
    pub(crate) fn holds_since(&self, comeback: u64) -> bool {
        self.is_up() && *self.comebacks.borrow() == comeback
    }

    /// Waits until others take this node for running, and says since which time. Cancel safe.
    pub(crate) async fn up(&self) -> u64 {
        let mut comebacks = self.comebacks.subscribe();
        while !self.is_up() {
            if comebacks.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
        *comebacks.borrow()
    }

    fn is_up(&self) -> bool {
        let now_ms = u128::from(self.until_ms.load(Ordering::SeqCst));
        self.began.elapsed().as_millis() < now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_that_was_silent_for_too_long_comes_back_as_another() {
        let standing = Standing::default();
        assert!(!standing.holds_since(0), "nobody knows of it yet");
        standing.renewed(Instant::now());
        let first = standing.up().await;
        tokio::time::advance(NODE_LEASE / 2).await;
        standing.renewed(Instant::now());
        tokio::time::advance(NODE_LEASE / 2).await;
        assert!(standing.holds_since(first));
        tokio::time::advance(NODE_LEASE).await;
        assert!(!standing.holds_since(first));
        standing.renewed(Instant::now());
        assert!(!standing.holds_since(first), "others have taken what it had");
        let second = standing.up().await;
        assert!(standing.holds_since(second));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_counts_from_before_it_was_told() {
        let standing = Standing::default();
        let told = Instant::now();
        tokio::time::advance(NODE_LEASE).await;
        standing.renewed(told);
        assert!(!standing.holds_since(1));
    }
}

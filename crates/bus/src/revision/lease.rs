//! The lease under which a node may use what it cached.
//!
//! The holder counts it on its own monotonic clock from before the renewal was sent, so that it ends here no later than
//! where revocations look. A lease that lapsed comes back only after everything cached under it was dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::{LEASE, RENEW_EVERY, revision_bytes};
use crate::state::{Key, State, StateError};

/// A node's lease, renewed for as long as this lives.
pub struct NodeLease {
    standing: Arc<Standing>,
    state: Arc<dyn State>,
    key: Key,
    renewal: AbortOnDropHandle<()>,
}

/// How a node stands, shared by its lease, its changes and the renewal.
pub(super) struct Standing {
    started: Instant,
    /// Milliseconds after `started` until which the lease is held.
    held_until_ms: AtomicU64,
    applied: AtomicU64,
    /// The revision that must be applied before the cache may be used again after a gap.
    reach: AtomicU64,
    /// Whether there was a lapse that is not told yet; until then the cache may not be used.
    has_lapsed: AtomicBool,
    lapse: Notify,
    acknowledge: Notify,
}

impl NodeLease {
    pub(super) async fn take(state: Arc<dyn State>, key: Key, since: u64) -> Result<Self, StateError> {
        let sent = Instant::now();
        state.renew(&key, revision_bytes(since), LEASE).await?;
        let standing = Arc::new(Standing::new(sent, since));
        let renewal = tokio::spawn(renew(state.clone(), key.clone(), standing.clone()));
        Ok(Self {
            standing,
            state,
            key,
            renewal: AbortOnDropHandle::new(renewal),
        })
    }

    pub(super) fn standing(&self) -> Arc<Standing> {
        self.standing.clone()
    }

    /// Whether what is cached may be used now. Costs a look at the clock.
    pub fn is_held(&self) -> bool {
        self.standing.is_held()
    }

    /// Says that everything up to `revision` has been dropped from the cache. Returns at once; revocations hear of it.
    pub fn applied(&self, revision: u64) {
        self.standing.applied.fetch_max(revision, SeqCst);
        self.standing.acknowledge.notify_one();
    }

    /// Gives the lease up, so that no revocation waits for this node any more. Use nothing cached afterwards.
    ///
    /// # Errors
    /// The shared state does not answer; the lease will lapse.
    pub async fn release(self) -> Result<(), StateError> {
        self.renewal.abort();
        self.standing.held_until_ms.store(0, SeqCst);
        self.state.release(&self.key).await
    }
}

impl Standing {
    /// Of a lease that was asked for at `started`, with everything up to `since` applied.
    fn new(started: Instant, since: u64) -> Self {
        Self {
            started,
            held_until_ms: AtomicU64::new(millis(LEASE)),
            applied: AtomicU64::new(since),
            reach: AtomicU64::new(0),
            has_lapsed: AtomicBool::new(false),
            lapse: Notify::new(),
            acknowledge: Notify::new(),
        }
    }

    fn is_held(&self) -> bool {
        let now_ms = millis(self.started.elapsed());
        // In this order: a lapse is noted before the lease goes on, and taken for told only when there is a revision to reach.
        now_ms < self.held_until_ms.load(SeqCst)
            && !self.has_lapsed.load(SeqCst)
            && self.applied.load(SeqCst) >= self.reach.load(SeqCst)
    }

    /// Waits until a lapse is to be told. Cancel safe.
    pub(super) async fn lapsed(&self) {
        while !self.has_lapsed.load(SeqCst) {
            self.lapse.notified().await;
        }
    }

    /// From now on the cache may not be used, until [`Standing::must_reach`] says what to apply. A lapse before this counts as told; one
    /// after it may hide changes of which what must be reached knows nothing, so it is told by itself.
    pub(super) fn fall_behind(&self) {
        self.reach.store(u64::MAX, SeqCst);
        self.has_lapsed.store(false, SeqCst);
    }

    pub(super) fn must_reach(&self, revision: u64) {
        self.reach.store(revision, SeqCst);
    }

    /// Counts a renewal that was sent at `sent` and has succeeded.
    fn renewed(&self, sent: Instant) {
        let now_ms = millis(self.started.elapsed());
        if now_ms >= self.held_until_ms.load(SeqCst) {
            self.has_lapsed.store(true, SeqCst);
            self.lapse.notify_one();
        }
        let until = sent.duration_since(self.started) + LEASE;
        self.held_until_ms.store(millis(until), SeqCst);
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Renews each second, and at once when more was applied; ends with the [`NodeLease`].
async fn renew(state: Arc<dyn State>, key: Key, standing: Arc<Standing>) {
    let mut sent = standing.started;
    loop {
        // Both branches are cancel safe: an acknowledgement leaves a permit, and the time is absolute.
        tokio::select! {
            () = tokio::time::sleep_until(sent + RENEW_EVERY) => {}
            () = standing.acknowledge.notified() => {}
        }
        sent = Instant::now();
        let value = revision_bytes(standing.applied.load(SeqCst));
        match tokio::time::timeout(LEASE, state.renew(&key, value, LEASE)).await {
            Ok(Ok(())) => standing.renewed(sent),
            Ok(Err(cause)) => warn!(error = %cause, "the lease of this node was not renewed"),
            Err(_) => warn!("the renewal of this node's lease was not answered in time"),
        }
    }
}

/// What a lease's value says was applied.
pub(super) fn applied(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lapse_while_a_gap_is_measured_is_a_gap_of_its_own() {
        let standing = Standing::new(Instant::now(), 7);
        standing.fall_behind();
        // The newest revision is asked for, and the answer stays under way until after another lapse.
        tokio::time::advance(LEASE).await;
        standing.renewed(Instant::now());
        standing.must_reach(7);
        assert!(!standing.is_held(), "a revocation in the lapse has waited for nobody");

        standing.lapsed().await;
        standing.fall_behind();
        standing.must_reach(7);
        assert!(standing.is_held());
    }
}

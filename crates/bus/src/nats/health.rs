//! How the connection to NATS stands, for health and readiness.

use tokio::sync::watch;
use trunkline_core::Timestamp;

/// How NATS stands, as this process sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Connected, and it answers.
    Well,
    /// Something fails; it is tried again by itself.
    Failing {
        /// One sentence.
        what: String,
        /// Since when.
        since: Timestamp,
    },
}

/// Tells how NATS stands. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NatsHealth(pub(super) watch::Receiver<Standing>);

impl NatsHealth {
    /// How it stands now.
    pub fn standing(&self) -> Standing {
        self.0.borrow().clone()
    }

    /// Waits until it stands otherwise than `before`, and says how. Cancel safe. Never returns once the bus is closed.
    pub async fn changed_from(&mut self, before: &Standing) -> Standing {
        match self.0.wait_for(|standing| standing != before).await {
            Ok(standing) => standing.clone(),
            Err(_) => std::future::pending().await,
        }
    }
}

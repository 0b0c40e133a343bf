//! How NATS stands, for health and readiness: connections, and whether JetStream answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use trunkline_core::{Clock, Timestamp};

use super::connect::Connection;
use crate::state::{Key, State};

/// How often JetStream is asked whether it answers.
const ASK_EVERY: Duration = Duration::from_secs(1);

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
pub struct NatsHealth(watch::Receiver<Standing>);

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

/// Looks after `connections` and `state` until `closing`.
pub(super) fn look_after(
    connections: [Connection; 2],
    state: Arc<dyn State>,
    clock: Arc<dyn Clock>,
    closing: CancellationToken,
) -> NatsHealth {
    let (tell, health) = watch::channel(Standing::Well);
    tokio::spawn(async move {
        loop {
            connections.iter().for_each(Connection::look);
            let fault = fault(&connections, &*state).await;
            tell.send_if_modified(|standing| change(standing, fault, &*clock));
            let [mut bulk, mut control] = connections.each_ref().map(|connection| connection.link.clone());
            bulk.mark_unchanged();
            control.mark_unchanged();
            // Cancel safe: whatever ends the wait, all is looked at anew.
            tokio::select! {
                () = closing.cancelled() => return,
                _ = bulk.changed() => {}
                _ = control.changed() => {}
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
        }
    });
    NatsHealth(health)
}

async fn fault(connections: &[Connection; 2], state: &dyn State) -> Option<String> {
    if !connections.iter().all(|connection| connection.link.borrow().is_up) {
        return Some("NATS cannot be reached".to_owned());
    }
    // Whether there is such a key does not matter.
    let answer = state.get(&Key::volatile("bus.health")).await;
    answer.err().map(|error| format!("JetStream does not answer: {error}"))
}

/// Takes `fault` over; says whether that is news. The first moment of a failure stays.
fn change(standing: &mut Standing, fault: Option<String>, clock: &dyn Clock) -> bool {
    let next = match (fault, &*standing) {
        (None, _) => Standing::Well,
        (Some(what), Standing::Failing { since, .. }) => Standing::Failing { what, since: *since },
        (Some(what), Standing::Well) => Standing::Failing {
            what,
            since: clock.now(),
        },
    };
    if next == *standing {
        return false;
    }
    match &next {
        Standing::Well => tracing::info!("NATS is well again"),
        Standing::Failing { what, .. } => tracing::warn!(what, "NATS fails"),
    }
    *standing = next;
    true
}

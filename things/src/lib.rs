//! What is known of the things in the field: clients and the credentials that they prove themselves with.
//!
//! Owns the registry of clients, their secrets' digests, and the answer to "whose secret is this?". Does not own who may manage a
//! client (`auth` does, with its parent group and status first) nor which channels a client may use (`channels` does).
//!
//! **Invariants:** a secret is never stored, logged or read back: the answer to its creation alone shows it; a client's row is
//! written after `auth` has registered it and removed after `auth` has forgotten it; each change and its event are one transaction.

pub mod client;
mod convert;
mod credential;
mod error;
mod rpc;
mod service;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use trunkline_core::Clock;
use trunkline_core::digest::DigestKey;
use trunkline_db::Db;
use trunkline_proto::clients::v1::clients_service_server::ClientsServiceServer;
use trunkline_proto::guards::clients_service::Guarded;
use trunkline_registry::Registry;
use trunkline_rpc::guard::CLIENTS_SERVICE;
use trunkline_rpc::{Hub, RpcGuard};

pub use error::reasons;
pub use store::MIGRATIONS;

use crate::credential::{Secrets, Used};
use crate::rpc::Rpc;
use crate::service::Service;

/// Name under which this service calls others.
pub const PEER: &str = "things";
/// The proto names of the services that run here.
pub const SERVICES: [&str; 1] = [CLIENTS_SERVICE];
/// Uses of credentials that wait to be noted; further ones are not.
const USED_MAX: usize = 1_024;
/// How often deletions that were interrupted are looked for.
const DELETIONS_INTERVAL: Duration = Duration::from_secs(30);

/// Configuration of this service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the database; a file in the data folder when absent.
    pub database_url: Option<String>,
}

/// What this service needs from its surroundings.
pub struct Deps {
    /// Its database, opened with [`MIGRATIONS`].
    pub db: Db,
    /// The ways to other services.
    pub hub: Hub,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Key of the digests of secrets, kept outside the database.
    pub secret_key: DigestKey,
}

/// The open service.
pub struct Things {
    service: Arc<Service>,
    guard: Arc<RpcGuard>,
    used: mpsc::Receiver<Used>,
}

impl Things {
    /// Opens the service over its database.
    pub fn open(deps: Deps) -> Self {
        let (sender, used) = mpsc::channel(USED_MAX);
        let guard = Arc::new(RpcGuard::through(&deps.hub, PEER));
        let service = Service {
            clients: Registry::new(deps.db, &deps.hub, PEER, deps.clock),
            secrets: Secrets::new(deps.secret_key),
            used: sender,
        };
        Self {
            service: Arc::new(service),
            guard,
            used,
        }
    }

    /// The service's contract behind its guard.
    pub fn routes(&self) -> Routes {
        let rpc = Arc::new(Rpc(self.service.clone()));
        Routes::new(ClientsServiceServer::new(Guarded::new(rpc, self.guard.clone())))
    }

    /// Does the work that no call waits for, until `cancel`: notes when credentials were used, and ends deletions that were
    /// interrupted.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut deletions = tokio::time::interval(DELETIONS_INTERVAL);
        deletions.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Cancel safety: `recv` and `tick` lose nothing when they are dropped; the work itself runs to its end.
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(used) = self.used.recv() => self.note(&used).await,
                _ = deletions.tick() => self.finish_deletions().await,
            }
        }
    }

    async fn note(&self, used: &Used) {
        let noted = store::mark_used(&self.service.clients.db, used.domain_id, used.credential_id, used.time).await;
        if let Err(error) = noted {
            tracing::warn!(%error, "the use of a credential could not be noted");
        }
    }

    async fn finish_deletions(&self) {
        if let Err(error) = self.service.clients.finish_deletions().await {
            tracing::warn!(%error, "interrupted deletions could not be looked for");
        }
    }
}

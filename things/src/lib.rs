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
pub mod error;
mod event;
pub mod list;
mod rpc;
mod service;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use trunkline_core::Clock;
use trunkline_core::digest::DigestKey;
use trunkline_db::Db;
use trunkline_proto::auth::v1::auth_service_client::AuthServiceClient;
use trunkline_proto::clients::v1::clients_service_server::ClientsServiceServer;
use trunkline_proto::guards::clients_service::Guarded;
use trunkline_rpc::guard::AUTH_SERVICE;
use trunkline_rpc::{Hub, RpcGuard};

pub use error::Error;

use crate::credential::{Secrets, Used};
use crate::rpc::Rpc;
use crate::service::Service;

/// Name under which this service calls others.
pub const PEER: &str = "things";
/// Uses of credentials that wait to be noted; further ones are not.
const USED_MAX: usize = 1_024;
/// How often deletions that were interrupted are looked for.
const DELETIONS_INTERVAL: Duration = Duration::from_secs(30);

/// The configuration of this service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the database, `sqlite:<path>` or `postgres://…`. Default: a file in the platform's data folder.
    pub database_url: Option<String>,
}

/// What this service stands on.
pub struct Deps {
    /// Address of the database when the configuration names none.
    pub database_url: String,
    /// The ways to other services.
    pub hub: Hub,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Key of the digests of secrets, kept outside the database.
    pub secret_key: DigestKey,
}

/// The open service.
pub struct Things {
    service: Arc<Service>,
    hub: Hub,
    used: mpsc::Receiver<Used>,
}

/// Opens the service: its database is there and of this version when this returns.
///
/// # Errors
/// [`Error::Database`] when the database cannot be opened.
pub async fn open(config: Config, deps: Deps) -> Result<Things, Error> {
    let url = config.database_url.unwrap_or(deps.database_url);
    let db = Db::open(&url, &store::MIGRATIONS)
        .await
        .map_err(Error::database("opening it"))?;
    let (sender, used) = mpsc::channel(USED_MAX);
    let service = Service {
        db,
        auth: AuthServiceClient::new(deps.hub.transport(AUTH_SERVICE, PEER)),
        clock: deps.clock,
        secrets: Secrets::new(deps.secret_key),
        used: sender,
    };
    Ok(Things {
        service: Arc::new(service),
        hub: deps.hub,
        used,
    })
}

impl Things {
    /// The service behind its guard, to be mounted where calls arrive.
    pub fn routes(&self) -> tonic::service::Routes {
        let guard = Arc::new(RpcGuard::through(&self.hub, PEER));
        let guarded = Guarded::new(Arc::new(Rpc(self.service.clone())), guard);
        tonic::service::Routes::new(ClientsServiceServer::new(guarded))
    }

    /// Does the work that no call waits for, until `cancel`, and closes the database: notes when credentials were used, and ends
    /// deletions that were interrupted.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut deletions = tokio::time::interval(DELETIONS_INTERVAL);
        deletions.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Cancel safety: `recv` and `tick` lose nothing when they are dropped; the work itself runs to its end.
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(used) = self.used.recv() => self.note(&used).await,
                _ = deletions.tick() => self.finish_deletions().await,
            }
        }
        self.service.db.close().await;
    }

    async fn note(&self, used: &Used) {
        let noted = store::mark_used(&self.service.db, used.domain_id, used.credential_id, used.time).await;
        if let Err(error) = noted {
            tracing::warn!(%error, "the use of a credential could not be noted");
        }
    }

    async fn finish_deletions(&self) {
        if let Err(error) = self.service.finish_deletions().await {
            tracing::warn!(%error, "interrupted deletions could not be looked for");
        }
    }
}

//! Channels, and which clients may publish to and receive from them.
//!
//! Owns the registry of channels, their routes, the table of connections, and the answer to "may this client publish or receive
//! here?". Does not own who may manage a channel (`auth` does, with its parent group and status first) nor the messages themselves.
//!
//! **Invariants:** a client without a connection learns nothing, not even whether there is a channel; a disconnection answers after
//! every live node has applied it; a channel's row is written after `auth` has registered it and removed after `auth` has forgotten
//! it; each change and its event are one transaction.

pub mod channel;
mod connect;
pub mod connection;
mod convert;
mod error;
mod event;
mod rpc;
mod service;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use trunkline_bus::revision::Revisions;
use trunkline_core::{ClientId, Clock, DomainId};
use trunkline_db::Db;
use trunkline_proto::channels::v1::channels_service_server::ChannelsServiceServer;
use trunkline_proto::events::v1::Event;
use trunkline_proto::guards::channels_service::Guarded;
use trunkline_registry::{Error, Registry};
use trunkline_rpc::guard::CHANNELS_SERVICE;
use trunkline_rpc::{Hub, RpcGuard};

pub use error::reasons;
pub use store::MIGRATIONS;

use crate::rpc::Rpc;
use crate::service::Service;

/// Name under which this service calls others.
pub const PEER: &str = "channels";
/// The proto names of the services that run here.
pub const SERVICES: [&str; 1] = [CHANNELS_SERVICE];
/// How often work that was interrupted is looked for.
const LEFTOVERS_INTERVAL: Duration = Duration::from_secs(30);

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
    /// The authorization revision of every domain.
    pub revisions: Revisions,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

/// The open service, cheap to clone.
#[derive(Clone)]
pub struct Channels {
    service: Arc<Service>,
    guard: Arc<RpcGuard>,
}

impl Channels {
    /// Opens the service over its database.
    pub fn open(deps: Deps) -> Self {
        let guard = Arc::new(RpcGuard::through(&deps.hub, PEER));
        let service = Service {
            channels: Registry::new(deps.db, &deps.hub, PEER, deps.clock),
            revisions: deps.revisions,
        };
        Self {
            service: Arc::new(service),
            guard,
        }
    }

    /// The service's contract behind its guard.
    pub fn routes(&self) -> Routes {
        let rpc = Arc::new(Rpc(self.service.clone()));
        Routes::new(ChannelsServiceServer::new(Guarded::new(rpc, self.guard.clone())))
    }

    /// Does the work that no call waits for, until `cancel`: ends deletions and announces disconnections that
    /// were interrupted.
    pub async fn run(&self, cancel: CancellationToken) {
        let mut leftovers = tokio::time::interval(LEFTOVERS_INTERVAL);
        leftovers.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Cancel safety: `tick` loses nothing when it is dropped; the work itself runs to its end.
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = leftovers.tick() => self.finish().await,
            }
        }
    }

    /// Takes notice of what happened elsewhere: a client that is gone has no connections any more. Without effect when repeated.
    ///
    /// # Errors
    /// When the database fails; the event is then to be told again.
    pub async fn notice(&self, event: &Event) -> Result<(), Error> {
        let ids = (
            DomainId::from_slice(&event.domain_id),
            ClientId::from_slice(&event.object_id),
        );
        if let ("client.delete", (Some(domain_id), Some(client_id))) = (event.r#type.as_str(), ids) {
            store::forget_client(&self.service.channels.db, domain_id, client_id).await?;
        }
        Ok(())
    }

    async fn finish(&self) {
        for finished in [
            self.service.channels.finish_deletions().await,
            self.service.finish_disconnections().await,
        ] {
            if let Err(error) = finished {
                tracing::warn!(%error, "interrupted work could not be finished; it is tried again later");
            }
        }
    }
}

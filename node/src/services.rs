//! The services of a node and the hub between them: those that run here, opened in the order of the call graph, and the ways to those
//! that run elsewhere.

use std::sync::Arc;

use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use trunkline_auth::Auth;
use trunkline_bus::revision::Revisions;
use trunkline_channels::Channels;
use trunkline_core::Clock;
use trunkline_core::digest::DigestKey;
use trunkline_rpc::transport::{PeerStamp, endpoint, in_process, remote, remote_over_tls};
use trunkline_rpc::{Hub, RpcGuard, ServiceKey, Tls, Transport, listen, stack};
use trunkline_telemetry::{Metrics, Tracer};
use trunkline_things::Things;

use crate::config::Config;
use crate::databases::Databases;
use crate::error::Error;
use crate::health::{Dependency, Health};
use crate::keys::Key;
use crate::life::Phase;
use crate::roles::{Role, Roles, Shape};
use crate::storage::Storage;

/// Process part under which the readers' guard asks.
const READERS_PEER: &str = "readers";
/// Process part under which health is asked for. No contract lets it in.
const HEALTH_PEER: &str = "node";

/// What the services share.
pub(crate) struct Ground<'a> {
    pub(crate) config: &'a Config,
    pub(crate) shape: Shape,
    pub(crate) roles: &'a Roles,
    pub(crate) storage: &'a Storage,
    pub(crate) databases: &'a Databases,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) tracer: &'a Tracer,
    pub(crate) health: &'a Health,
    /// For calls between processes, where the configuration has it.
    pub(crate) tls: Option<Tls>,
}

/// The open services.
pub(crate) struct Services {
    pub(crate) hub: Hub,
    pub(crate) auth: Option<Auth>,
    pub(crate) things: Option<Things>,
    pub(crate) channels: Option<Channels>,
    /// The contracts that are served here, behind their guards and the inner layers.
    pub(crate) local: axum::Router,
}

impl Ground<'_> {
    /// The authorization revision of every domain, for a role that is on the bus.
    pub(crate) fn revisions(&self) -> Revisions {
        Revisions::new(self.storage.bus().state.clone())
    }

    /// The key with which processes prove themselves.
    fn service_key(&self) -> Result<ServiceKey, Error> {
        let bytes = self.storage.keys.read(Key::Service)?;
        Ok(ServiceKey::new(DigestKey::new(bytes)))
    }
}

impl Services {
    /// Opens the services that run here, callees first.
    ///
    /// # Errors
    /// Names the part that cannot be opened.
    pub(crate) fn open(ground: &Ground<'_>) -> Result<Self, Error> {
        let hub = Hub::default();
        let runs = |role| ground.roles.has(role);
        let auth = runs(Role::Auth).then(|| open_auth(ground)).transpose()?;
        let things = runs(Role::Things).then(|| open_things(ground, &hub)).transpose()?;
        let channels = runs(Role::Channels).then(|| open_channels(ground, &hub));
        let readers = runs(Role::Reader).then(|| {
            let guard = Arc::new(RpcGuard::through(&hub, READERS_PEER));
            Routes::new(trunkline_readers::mount(ground.storage.messages(Role::Reader), guard))
        });
        let contracts = [
            things.as_ref().map(Things::routes),
            channels.as_ref().map(Channels::routes),
            readers,
        ];
        // What is in the memory of `auth` is true as long as no other process may have changed what it is of.
        let is_sure = ground.databases.is_auth_sure();
        let auth_contracts = auth
            .as_ref()
            .map(|auth| stack::answering_while(contracts_of(auth.routes()), is_sure));
        let contracts = contracts.into_iter().flatten().map(contracts_of);
        let router = auth_contracts.into_iter().chain(contracts);
        let router = router.reduce(axum::Router::merge).unwrap_or_default();
        Ok(Self {
            hub,
            auth,
            things,
            channels,
            local: stack::inner(router, &ground.metrics, ground.tracer),
        })
    }

    /// Tells the hub the way to every service, and lets other processes in through `internal`.
    ///
    /// # Errors
    /// When a key cannot be read, or the loopback listener cannot be opened.
    pub(crate) async fn mount(
        &self,
        ground: &Ground<'_>,
        internal: Option<TcpListener>,
        phase: &Phase,
    ) -> Result<(), Error> {
        match ground.shape {
            Shape::Whole => self.mount_here(ground),
            Shape::WholeOverSockets => self.mount_over_sockets(ground, phase).await?,
            Shape::Split => {
                self.mount_here(ground);
                self.mount_elsewhere(ground, phase)?;
            }
        }
        if let Some(listener) = internal {
            self.let_processes_in(ground, listener, phase)?;
        }
        Ok(())
    }

    /// Services of this process are function calls.
    fn mount_here(&self, ground: &Ground<'_>) {
        for contract in ground.roles.iter().flat_map(Role::contracts) {
            let way = in_process(self.local.clone());
            self.hub.mount(contract, way, PeerStamp::InProcess);
        }
    }

    /// Services of this process are reached as if they were in another.
    async fn mount_over_sockets(&self, ground: &Ground<'_>, phase: &Phase) -> Result<(), Error> {
        let refused = Error::part::<std::io::Error>;
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(refused("the internal listener"))?;
        let address = listener.local_addr().map_err(refused("the internal listener"))?;
        self.let_processes_in(ground, listener, phase)?;
        let way = remote(&endpoint(&format!("http://{address}")).map_err(Error::part("the internal listener"))?);
        for contract in ground.roles.iter().flat_map(Role::contracts) {
            self.hub.mount(contract, way.clone(), stamp(ground)?);
        }
        Ok(())
    }

    /// Services of other processes are called where the configuration says, and looked at now and then.
    fn mount_elsewhere(&self, ground: &Ground<'_>, phase: &Phase) -> Result<(), Error> {
        for (service, _) in ground.roles.elsewhere() {
            let place = ground.config.services.place(service);
            let place = place.expect("the configuration was checked to name every service that is called");
            let way = way_to(place, ground.tls.as_ref())?;
            for contract in service.contracts() {
                self.hub.mount(contract, way.clone(), stamp(ground)?);
            }
            let dependency = Dependency {
                name: format!("service:{service}"),
                needed_by: ground
                    .roles
                    .iter()
                    .filter(|role| role.asks().contains(&service))
                    .collect(),
                is_vital: false,
            };
            let client = HealthClient::new(self.hub.transport(service.contracts()[0], HEALTH_PEER));
            let probe = move || {
                let mut client = client.clone();
                async move {
                    let answer = client.check(HealthCheckRequest::default()).await;
                    answer.map(drop).map_err(|status| status.message().to_owned())
                }
            };
            let watching = ground.health.clone().watch(dependency, probe, phase.stop.clone());
            phase.tasks.spawn(watching);
        }
        Ok(())
    }

    /// Serves the contracts of this process to whoever proves to be one of the platform's.
    fn let_processes_in(&self, ground: &Ground<'_>, listener: TcpListener, phase: &Phase) -> Result<(), Error> {
        let (_, health) = tonic_health::server::health_reporter();
        let router = self.local.clone().merge(contracts_of(Routes::new(health)));
        let router = stack::internal(router, ground.service_key()?, ground.clock.clone());
        let stop = phase.stop.clone();
        match (&ground.tls, ground.shape) {
            (Some(tls), Shape::Split) => phase
                .tasks
                .spawn(listen::serve_over_tls(tls.clone(), listener, router, stop)),
            _ => phase.tasks.spawn(listen::serve(listener, router, stop)),
        };
        Ok(())
    }
}

fn open_auth(ground: &Ground<'_>) -> Result<Auth, Error> {
    Auth::open(trunkline_auth::Deps {
        db: ground.databases.of(Role::Auth),
        revisions: ground.revisions(),
        token_key: ground.storage.keys.read(Key::Token)?,
        clock: ground.clock.clone(),
    })
    .map_err(Error::part("auth"))
}

fn open_things(ground: &Ground<'_>, hub: &Hub) -> Result<Things, Error> {
    Ok(Things::open(trunkline_things::Deps {
        db: ground.databases.of(Role::Things),
        hub: hub.clone(),
        clock: ground.clock.clone(),
        secret_key: DigestKey::new(ground.storage.keys.read(Key::ClientSecret)?),
    }))
}

fn open_channels(ground: &Ground<'_>, hub: &Hub) -> Channels {
    Channels::open(trunkline_channels::Deps {
        db: ground.databases.of(Role::Channels),
        hub: hub.clone(),
        revisions: ground.revisions(),
        clock: ground.clock.clone(),
    })
}

fn stamp(ground: &Ground<'_>) -> Result<PeerStamp, Error> {
    Ok(PeerStamp::Signed {
        key: ground.service_key()?,
        clock: ground.clock.clone(),
    })
}

/// The way to a process. The configuration was checked to have TLS for those that need it.
fn way_to(place: &str, tls: Option<&Tls>) -> Result<Transport, Error> {
    let endpoint = endpoint(place).map_err(Error::part("the way to another process"))?;
    Ok(match tls {
        Some(tls) if place.starts_with("https://") => remote_over_tls(&endpoint, tls),
        _ => remote(&endpoint),
    })
}

/// The contracts of one service as a router that can be merged: what no contract has is answered once, by the whole.
fn contracts_of(routes: Routes) -> axum::Router {
    routes.into_axum_router().reset_fallback()
}

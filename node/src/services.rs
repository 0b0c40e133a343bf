//! The services of a node and the hub between them: opened in the order of the call graph, mounted near or over sockets.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::Endpoint;
use trunkline_auth::Auth;
use trunkline_bus::revision::Revisions;
use trunkline_channels::Channels;
use trunkline_core::Clock;
use trunkline_core::digest::DigestKey;
use trunkline_db::{Db, Migrations};
use trunkline_rpc::transport::{PeerStamp, in_process, remote};
use trunkline_rpc::{Hub, RpcGuard, ServiceKey, Transport, listen, stack};
use trunkline_store::MessageStore;
use trunkline_telemetry::Metrics;
use trunkline_things::Things;

use crate::config::Config;
use crate::data::DataFolder;
use crate::error::Error;

/// The proto name of the service that reads messages.
const MESSAGES_SERVICE: &str = "trunkline.messages.v1.MessagesService";
/// Process part under which the readers' guard asks.
const READERS_PEER: &str = "readers";

/// How the services of one process reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HubMode {
    /// As function calls.
    #[default]
    InProcess,
    /// Over a loopback socket with signed service tokens, as between processes: tests run every scenario in this mode too.
    Loopback,
}

/// What the services share.
pub(crate) struct Ground<'a> {
    pub(crate) config: &'a Config,
    pub(crate) data: &'a DataFolder,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) revisions: Revisions,
    pub(crate) store: Arc<dyn MessageStore>,
}

/// The open services.
pub(crate) struct Services {
    pub(crate) hub: Hub,
    pub(crate) auth: Auth,
    pub(crate) things: Things,
    pub(crate) channels: Channels,
    pub(crate) databases: Vec<Db>,
    /// Every contract behind its guard and the inner layers.
    pub(crate) inner: axum::Router,
}

impl Services {
    /// Opens every service, callees first, and mounts them in the hub.
    ///
    /// # Errors
    /// Names the part that cannot be opened.
    pub(crate) async fn open(ground: &Ground<'_>) -> Result<Self, Error> {
        let hub = Hub::default();
        let Ground {
            config, data, clock, ..
        } = ground;
        let database = async |name: &'static str, url: &Option<String>, migrations: &Migrations| {
            let url = url.clone().unwrap_or_else(|| data.database_url(name));
            Db::open(&url, migrations).await.map_err(Error::part(name))
        };
        let auth_db = database("auth", &config.auth.database_url, &trunkline_auth::store::MIGRATIONS).await?;
        let things_db = database("things", &config.things.database_url, &trunkline_things::MIGRATIONS).await?;
        let channels_db = database(
            "channels",
            &config.channels.database_url,
            &trunkline_channels::MIGRATIONS,
        )
        .await?;
        let databases = vec![auth_db.clone(), things_db.clone(), channels_db.clone()];
        let auth = Auth::open(trunkline_auth::Deps {
            db: auth_db,
            revisions: ground.revisions.clone(),
            token_key: data.key("token")?,
            clock: clock.clone(),
        })
        .map_err(Error::part("auth"))?;
        let things = Things::open(trunkline_things::Deps {
            db: things_db,
            hub: hub.clone(),
            clock: clock.clone(),
            secret_key: DigestKey::new(data.key("client-secret")?),
        });
        let channels = Channels::open(trunkline_channels::Deps {
            db: channels_db,
            hub: hub.clone(),
            revisions: ground.revisions.clone(),
            clock: clock.clone(),
        });
        let guard = Arc::new(RpcGuard::through(&hub, READERS_PEER));
        let readers = Routes::new(trunkline_readers::mount(ground.store.clone(), guard));
        let router = [auth.routes(), things.routes(), channels.routes(), readers]
            .into_iter()
            .map(contracts_of)
            .reduce(axum::Router::merge)
            .unwrap_or_default();
        let inner = stack::inner(router, &ground.metrics);
        Ok(Self {
            hub,
            auth,
            things,
            channels,
            databases,
            inner,
        })
    }

    /// Makes the services reach each other; over sockets, `tasks` gets the listener that they meet at.
    ///
    /// # Errors
    /// When the loopback listener cannot be opened.
    pub(crate) async fn mount(
        &self,
        mode: HubMode,
        ground: &Ground<'_>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let (transport, stamp): (Transport, PeerStamp) = match mode {
            HubMode::InProcess => (in_process(self.inner.clone()), PeerStamp::InProcess),
            HubMode::Loopback => {
                let key = ServiceKey::new(DigestKey::new(ground.data.key("service")?));
                let listener = TcpListener::bind(("127.0.0.1", 0))
                    .await
                    .map_err(Error::part("the internal listener"))?;
                let address = listener.local_addr().map_err(Error::part("the internal listener"))?;
                let router = stack::internal(self.inner.clone(), key.clone(), ground.clock.clone());
                tasks.spawn(listen::serve(listener, router, stop.clone()));
                let endpoint =
                    Endpoint::from_shared(format!("http://{address}")).map_err(Error::part("the internal listener"))?;
                (
                    remote(&endpoint),
                    PeerStamp::Signed {
                        key,
                        clock: ground.clock.clone(),
                    },
                )
            }
        };
        let services = trunkline_auth::SERVICES
            .iter()
            .chain(&trunkline_things::SERVICES)
            .chain(&trunkline_channels::SERVICES);
        for service in services.chain(&[MESSAGES_SERVICE]) {
            self.hub.mount(service, transport.clone(), stamp.clone());
        }
        Ok(())
    }
}

/// The contracts of one service as a router that can be merged: what no contract has is answered once, by the whole.
fn contracts_of(routes: Routes) -> axum::Router {
    routes.into_axum_router().reset_fallback()
}

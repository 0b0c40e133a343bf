//! The node: opened once, run until it is told to stop or cannot go on, drained in an order that loses nothing.

use std::sync::Arc;

use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_reflection::server::Builder as Reflection;
use trunkline_bus::events::Events;
use trunkline_bus::revision::Revisions;
use trunkline_consumers::Writer;
use trunkline_core::{Clock, NodeId, SystemClock};
use trunkline_db::Db;
use trunkline_gate::PlatformGate;
use trunkline_mqtt::{Adapter, Settings};
use trunkline_rpc::transport::in_process;
use trunkline_rpc::{listen, stack};
use trunkline_telemetry::Metrics;

use crate::admin::{self, FirstAdmin};
use crate::config::Config;
use crate::data::DataFolder;
use crate::error::Error;
use crate::listeners::{Addresses, Listeners};
use crate::news;
use crate::ops::Ops;
use crate::services::{Ground, HubMode, Services};
use crate::storage::Storage;

/// A running platform.
pub struct Node {
    addresses: Addresses,
    first_admin: FirstAdmin,
    ops: Ops,
    phases: Phases,
    writer: JoinHandle<Result<(), trunkline_consumers::Error>>,
    databases: Vec<Db>,
    storage: Storage,
}

/// What stops when, first to last: nobody new, then what was acknowledged reaches its subscribers and its rows, then the rest.
struct Phases {
    listeners: Phase,
    delivery: Phase,
    background: Phase,
    writer: CancellationToken,
}

/// Tasks that stop together.
#[derive(Default)]
struct Phase {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Phase {
    /// Stops the tasks and waits for their ends.
    async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What meets the world: admission, and the routers of the public listeners.
struct Edges {
    gate: Arc<PlatformGate>,
    mqtt: Arc<Adapter>,
    http: axum::Router,
    grpc: axum::Router,
    ops: Ops,
}

impl Node {
    /// Opens the whole platform and starts to serve.
    ///
    /// # Errors
    /// Every failure of start-up, in one sentence with its mend. A taken port leaves nothing behind.
    pub async fn open(config: &Config, mode: HubMode) -> Result<Self, Error> {
        let listeners = Listeners::bind(&config.listen).await?;
        let addresses = listeners.addresses().map_err(Error::part("a listener"))?;
        if !DataFolder::is_made(&config.data) {
            admin::check(&config.admin)?;
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let storage = Storage::open(config, &clock).await?;
        let metrics = Metrics::new();
        // The writer joins the log before anything is admitted, so that nothing can be trimmed before it is stored.
        let writer = Writer::open(storage.bus.log.clone(), storage.store.clone(), clock.clone(), &metrics);
        let writer = writer.await.map_err(Error::part("the writer"))?;
        let ground = Ground {
            config,
            data: &storage.data,
            clock,
            metrics,
            revisions: Revisions::new(storage.bus.state.clone()),
            store: storage.store.clone(),
        };
        let services = Services::open(&ground).await?;
        let phases = Phases {
            listeners: Phase::default(),
            delivery: Phase::default(),
            background: Phase::default(),
            writer: CancellationToken::new(),
        };
        let background = &phases.background;
        services
            .mount(mode, &ground, &background.tasks, &background.stop)
            .await?;
        let first_admin = admin::ensure(services.auth.service(), &config.admin, &storage.data).await?;
        let node_id = NodeId::new();
        let edges = Edges::open(&ground, &services, &storage, node_id)?;
        let databases = services.databases.clone();
        let ops = edges.ops.clone();
        let events = Events::new(storage.events.log.clone(), ground.clock.clone());
        let (gate, revisions, stop) = (edges.gate.clone(), ground.revisions.clone(), background.stop.clone());
        background
            .tasks
            .spawn(async move { gate.follow(&revisions, node_id, &stop).await });
        news::carry(&events, &services, &background.tasks, &background.stop);
        phases.start_services(services);
        phases.start_edges(edges, listeners);
        let writer = tokio::spawn(writer.run(phases.writer.clone()));
        ops.set_ready(true);
        Ok(Self {
            addresses,
            first_admin,
            ops,
            phases,
            writer,
            databases,
            storage,
        })
    }

    /// The addresses that it listens on.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What an acknowledgement promises, such as `synced`.
    pub fn tier(&self) -> String {
        self.storage.bus.log.durability().tier.to_string()
    }

    /// The flags that let `trunkline demo` log in, and a line about where the administrator's password is.
    pub fn login_hint(&self, admin_email: &str) -> (String, Option<String>) {
        let file = |path: &std::path::Path| format!(" --email {admin_email} --password-file {}", path.display());
        match &self.first_admin {
            FirstAdmin::Exists => (String::new(), None),
            FirstAdmin::Given(path) => (file(path), None),
            FirstAdmin::Shown => (format!(" --email {admin_email}"), None),
            FirstAdmin::Written(path) => {
                let line = format!("administrator {admin_email} has the password in {}", path.display());
                (file(path), Some(line))
            }
        }
    }

    /// Whether the administrator's flags were ignored because the data was there already.
    pub fn admin_was_there(&self) -> bool {
        self.first_admin == FirstAdmin::Exists
    }

    /// Serves until `stop`, or until something fails that it cannot go on without; then drains and closes everything.
    ///
    /// # Errors
    /// The failure that ended it.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let (outcome, is_writer_running) = tokio::select! {
            () = stop.cancelled() => (Ok(()), true),
            cause = self.storage.failed() => (Err(Error::Log(cause)), true),
            ended = &mut self.writer => (Err(writer_ended(ended)), false),
        };
        self.drain(is_writer_running).await;
        outcome
    }

    async fn drain(self, is_writer_running: bool) {
        self.ops.set_ready(false);
        self.phases.listeners.end().await;
        self.phases.delivery.end().await;
        self.phases.writer.cancel();
        if is_writer_running && let Ok(Err(error)) = self.writer.await {
            tracing::error!(%error, "the writer ended badly");
        }
        self.phases.background.end().await;
        for database in &self.databases {
            database.close().await;
        }
        self.storage.close().await;
    }
}

impl Edges {
    fn open(ground: &Ground<'_>, services: &Services, storage: &Storage, node_id: NodeId) -> Result<Self, Error> {
        let (config, log) = (ground.config, &storage.bus.log);
        let payload_bytes_max = config.log.payload_bytes_max;
        let gate = Arc::new(PlatformGate::new(&services.hub));
        let deps = trunkline_mqtt::Deps {
            gate: gate.clone(),
            log: log.clone(),
            clock: ground.clock.clone(),
            metrics: ground.metrics.clone(),
        };
        let settings = Settings {
            payload_bytes_max,
            ..Settings::default()
        };
        let mqtt = Adapter::open(deps, settings).map_err(Error::part("the MQTT adapter"))?;
        let publish = trunkline_http::router(trunkline_http::Deps {
            gate: gate.clone(),
            log: log.clone(),
            clock: ground.clock.clone(),
            metrics: ground.metrics.clone(),
            payload_bytes_max,
        });
        let ops = Ops::new(log.clone(), ground.metrics.clone(), storage.data.platform_id(), node_id);
        let public = stack::outer(services.inner.clone());
        let gateway = trunkline_gateway::router(&config.gateway, in_process(public.clone()));
        let gateway = gateway.map_err(Error::part("the gateway"))?;
        let http = gateway.merge(publish).merge(ops.health_router());
        Ok(Self {
            gate,
            mqtt,
            http,
            grpc: grpc(public)?,
            ops,
        })
    }
}

impl Phases {
    /// Starts the work of services that no call waits for.
    fn start_services(&self, services: Services) {
        let Phase { tasks, stop } = &self.background;
        tasks.spawn(services.things.run(stop.clone()));
        let (channels, channels_stop) = (services.channels, stop.clone());
        tasks.spawn(async move { channels.run(channels_stop).await });
    }

    /// Lets the world in, deliveries first.
    fn start_edges(&self, edges: Edges, listeners: Listeners) {
        let Phase { tasks, stop } = &self.background;
        tasks.spawn(listen::serve(listeners.ops, edges.ops.router(), stop.clone()));
        let (delivery, delivery_stop) = (edges.mqtt.clone(), self.delivery.stop.clone());
        self.delivery
            .tasks
            .spawn(async move { delivery.run(delivery_stop).await });
        let Phase { tasks, stop } = &self.listeners;
        tasks.spawn(listen::serve(listeners.http, edges.http, stop.clone()));
        tasks.spawn(listen::serve(listeners.grpc, edges.grpc, stop.clone()));
        let (mqtt, mqtt_stop) = (edges.mqtt, stop.clone());
        tasks.spawn(async move { mqtt.serve(listeners.mqtt, mqtt_stop).await });
    }
}

fn writer_ended(ended: Result<Result<(), trunkline_consumers::Error>, JoinError>) -> Error {
    let cause = match ended {
        Ok(Ok(())) => "nobody told it to".to_owned(),
        Ok(Err(error)) => crate::error::chain(&error),
        Err(error) => error.to_string(),
    };
    Error::Ended {
        part: "the writer",
        cause,
    }
}

/// The public gRPC router: the contracts, health and reflection.
fn grpc(public: axum::Router) -> Result<axum::Router, Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = || {
        Reflection::configure()
            .register_encoded_file_descriptor_set(trunkline_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1().map_err(Error::part("reflection"))?;
    // Many tools still ask in the old form.
    let v1alpha = reflection().build_v1alpha().map_err(Error::part("reflection"))?;
    // The reporter is not kept: the empty service name reports SERVING from the start.
    drop(reporter);
    let extra = tonic::service::Routes::new(health)
        .add_service(v1)
        .add_service(v1alpha)
        .into_axum_router()
        .reset_fallback();
    let unknown = async || tonic::Status::unimplemented("there is no such method here").into_http::<axum::body::Body>();
    Ok(public.merge(extra).fallback(unknown))
}

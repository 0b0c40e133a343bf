//! The node: opened once, run until it is told to stop or cannot go on, drained in an order that loses nothing.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic_reflection::server::Builder as Reflection;
use trunkline_bus::Log;
use trunkline_bus::embedded::EmbeddedBus;
use trunkline_bus::revision::Revisions;
use trunkline_consumers::Writer;
use trunkline_core::{Clock, NodeId, SystemClock};
use trunkline_db::Db;
use trunkline_gate::PlatformGate;
use trunkline_mqtt::{Adapter, Settings};
use trunkline_rpc::transport::in_process;
use trunkline_rpc::{listen, stack};
use trunkline_store::{MessageStore, SqliteStore};
use trunkline_telemetry::Metrics;

use crate::admin::{self, FirstAdmin};
use crate::config::Config;
use crate::data::DataFolder;
use crate::error::Error;
use crate::listeners::{Addresses, Listeners};
use crate::ops::Ops;
use crate::services::{Ground, HubMode, Services};

/// A running platform.
pub struct Node {
    addresses: Addresses,
    first_admin: FirstAdmin,
    log: Arc<dyn Log>,
    bus: EmbeddedBus,
    store: Arc<SqliteStore>,
    databases: Vec<Db>,
    ops: Ops,
    phases: Phases,
    writer: tokio::task::JoinHandle<Result<(), trunkline_consumers::Error>>,
    // Last, so that the folder is unlocked after everything in it is closed.
    _data: DataFolder,
}

/// What stops when, first to last: nobody new, then what was acknowledged reaches its subscribers and its rows, then the rest.
struct Phases {
    listeners: (TaskTracker, CancellationToken),
    delivery: (TaskTracker, CancellationToken),
    background: (TaskTracker, CancellationToken),
    writer: CancellationToken,
}

impl Phases {
    fn new() -> Self {
        let phase = || (TaskTracker::new(), CancellationToken::new());
        Self {
            listeners: phase(),
            delivery: phase(),
            background: phase(),
            writer: CancellationToken::new(),
        }
    }
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
        let data = DataFolder::open(&config.data)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Metrics::new();
        let bus = EmbeddedBus::open(data.path(), config.log.clone(), clock.clone())
            .await
            .map_err(Error::part("the bus"))?;
        let store = SqliteStore::open(&data.path().join("messages.db"))
            .await
            .map_err(Error::part("the message store"))?;
        let store = Arc::new(store);
        let messages: Arc<dyn MessageStore> = store.clone();
        // The writer joins the log before anything is admitted, so that nothing can be trimmed before it is stored.
        let writer = Writer::open(bus.log.clone(), messages.clone(), clock.clone(), &metrics);
        let writer = writer.await.map_err(Error::part("the writer"))?;
        let revisions = Revisions::new(bus.state.clone());
        let ground = Ground {
            config,
            data: &data,
            clock: clock.clone(),
            metrics: metrics.clone(),
            revisions: revisions.clone(),
            store: messages,
        };
        let services = Services::open(&ground).await?;
        let phases = Phases::new();
        services
            .mount(mode, &ground, &phases.background.0, &phases.background.1)
            .await?;
        let first_admin = admin::ensure(services.auth.service(), &config.admin, &data).await?;

        let node_id = NodeId::new();
        let gate = Arc::new(PlatformGate::new(&services.hub));
        let mqtt = Adapter::open(
            trunkline_mqtt::Deps {
                gate: gate.clone(),
                log: bus.log.clone(),
                clock: clock.clone(),
                metrics: metrics.clone(),
            },
            Settings {
                payload_bytes_max: config.log.payload_bytes_max,
                ..Settings::default()
            },
        )
        .map_err(Error::part("the MQTT adapter"))?;
        let http = trunkline_http::router(trunkline_http::Deps {
            gate: gate.clone(),
            log: bus.log.clone(),
            clock,
            metrics: metrics.clone(),
            payload_bytes_max: config.log.payload_bytes_max,
        });
        let ops = Ops::new(bus.log.clone(), metrics, data.platform_id(), node_id);
        let public = stack::outer(services.inner.clone());
        let gateway = trunkline_gateway::router(&config.gateway, in_process(public.clone()))
            .map_err(Error::part("the gateway"))?;
        let http = gateway.merge(http).merge(ops.health_router());

        let (tasks, stop) = &phases.background;
        let follow_stop = stop.clone();
        tasks.spawn(async move { gate.follow(&revisions, node_id, &follow_stop).await });
        tasks.spawn(services.things.run(stop.clone()));
        let (channels, channels_stop) = (services.channels, stop.clone());
        tasks.spawn(async move { channels.run(channels_stop).await });
        tasks.spawn(listen::serve(listeners.ops, ops.router(), stop.clone()));
        let (delivery, delivery_stop) = (mqtt.clone(), phases.delivery.1.clone());
        phases
            .delivery
            .0
            .spawn(async move { delivery.run(delivery_stop).await });
        let (tasks, stop) = &phases.listeners;
        tasks.spawn(listen::serve(listeners.http, http, stop.clone()));
        tasks.spawn(listen::serve(listeners.grpc, grpc(public)?, stop.clone()));
        let mqtt_stop = stop.clone();
        tasks.spawn(async move { mqtt.serve(listeners.mqtt, mqtt_stop).await });
        let writer = tokio::spawn(writer.run(phases.writer.clone()));
        ops.set_ready(true);
        Ok(Self {
            addresses,
            first_admin,
            log: bus.log.clone(),
            bus,
            store,
            databases: services.databases,
            ops,
            phases,
            writer,
            _data: data,
        })
    }

    /// The addresses that it listens on.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What an acknowledgement promises, such as `synced`.
    pub fn tier(&self) -> String {
        self.log.durability().tier.to_string()
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
        let outcome = tokio::select! {
            () = stop.cancelled() => Ok(()),
            cause = self.log.failed() => Err(Error::Log(cause)),
            ended = &mut self.writer => Err(writer_ended(ended)),
        };
        self.drain(outcome.is_ok()).await;
        outcome
    }

    async fn drain(self, is_writer_running: bool) {
        self.ops.set_ready(false);
        for (tasks, stop) in [&self.phases.listeners, &self.phases.delivery] {
            stop.cancel();
            tasks.close();
            tasks.wait().await;
        }
        self.phases.writer.cancel();
        if is_writer_running && let Ok(Err(error)) = self.writer.await {
            tracing::error!(%error, "the writer ended badly");
        }
        let (tasks, stop) = self.phases.background;
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        for database in &self.databases {
            database.close().await;
        }
        self.store.close().await;
        self.bus.close().await;
    }
}

fn writer_ended(ended: Result<Result<(), trunkline_consumers::Error>, tokio::task::JoinError>) -> Error {
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
    let reflection = Reflection::configure()
        .register_encoded_file_descriptor_set(trunkline_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(Error::part("reflection"))?;
    // The reporter is not kept: the empty service name reports SERVING from the start.
    drop(reporter);
    let extra = tonic::service::Routes::new(health)
        .add_service(reflection)
        .into_axum_router()
        .reset_fallback();
    Ok(public.merge(extra).fallback(async || {
        tonic::Status::unimplemented("there is no such method here").into_http::<axum::body::Body>()
    }))
}

//! The node: opened once, run until it is told to stop or cannot go on, drained in an order that loses nothing.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use trunkline_bus::DeadLetters;
use trunkline_bus::events::Events;
use trunkline_consumers::Writer;
use trunkline_core::{Clock, NodeId, SystemClock};
use trunkline_rpc::{Tls, listen};
use trunkline_telemetry::Metrics;

use crate::admin::{self, FirstAdmin};
use crate::config::Config;
use crate::data::DataFolder;
use crate::databases::Databases;
use crate::edges::Edges;
use crate::error::Error;
use crate::health::Health;
use crate::life::{Phase, Phases};
use crate::listeners::{Addresses, Listeners};
use crate::news;
use crate::ops::Ops;
use crate::roles::{Role, Shape};
use crate::services::{Ground, Services};
use crate::storage::Storage;
use crate::traces::Traces;

/// A running platform, or a slice of one.
pub struct Node {
    addresses: Addresses,
    first_admin: FirstAdmin,
    ops: Ops,
    phases: Phases,
    writer: Option<JoinHandle<Result<(), trunkline_consumers::Error>>>,
    traces: Traces,
    databases: Databases,
    storage: Storage,
}

impl Node {
    /// Opens what `shape` and the configuration say and starts to serve. What it depends on and cannot reach is waited for, while the
    /// operator's listener tells so; dropped meanwhile, it leaves nothing running.
    ///
    /// # Errors
    /// Every failure of start-up, in one sentence with its mend. A taken port leaves nothing behind.
    pub async fn open(config: &Config, shape: Shape) -> Result<Self, Error> {
        config.check_as(shape)?;
        let roles = config.roles_of(shape);
        let listeners = Listeners::bind(&config.listen, &roles, shape).await?;
        let addresses = listeners.addresses().map_err(Error::part("a listener"))?;
        if roles.has(Role::Auth) && !DataFolder::is_made(&config.data) {
            admin::check(&config.admin)?;
        }
        let (clock, metrics, node_id): (Arc<dyn Clock>, _, _) = (Arc::new(SystemClock), Metrics::new(), NodeId::new());
        let tls = open_tls(config)?;
        let (phases, health) = (Phases::default(), Health::new(roles.clone()));
        let ops = Ops::new(health.clone(), metrics.clone(), node_id);
        phases.operator.serve(listeners.ops, ops.router());
        if shape == Shape::Split {
            // It may wait for others now, and the operator should know where to ask why.
            tracing::info!("starting with {addresses}");
        }

        let storage = Storage::open(config, shape, &roles, &clock, &health).await?;
        ops.describe(&storage);
        let traces = Traces::open(config, (shape, &roles), (storage.platform_id, node_id), &metrics)?;
        let databases = Databases::open(config, &storage, &roles, &health).await?;
        let ground = Ground {
            config,
            shape,
            roles: &roles,
            storage: &storage,
            databases: &databases,
            clock,
            metrics,
            tracer: &traces.tracer,
            health: &health,
            tls,
        };
        // The writer joins the log before anything is admitted, so that nothing can be trimmed before it is stored.
        let writer = match roles.has(Role::Writer) {
            true => Some(open_writer(&ground).await?),
            false => None,
        };
        let services = Services::open(&ground)?;
        services.mount(&ground, listeners.internal, &phases.background).await?;
        let first_admin = match &services.auth {
            Some(auth) => admin::ensure(&ground, auth.service()).await?,
            None => FirstAdmin::Exists,
        };
        let edges = Edges::open(&ground, &services, &ops)?;
        phases.background.watch(&ground);
        phases.background.follow(&ground, &edges, node_id);
        phases.background.start(&ground, services);
        edges.start(listeners.public, &phases);
        let writer = writer.map(|writer| tokio::spawn(writer.run(phases.writer.clone())));
        ops.set_ready(true);
        Ok(Self {
            addresses,
            first_admin,
            ops,
            phases,
            writer,
            traces,
            databases,
            storage,
        })
    }

    /// The addresses that it listens on.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What an acknowledgement promises, such as `synced`; none for a process that acknowledges nothing.
    pub fn tier(&self) -> Option<String> {
        let bus = self.storage.bus.as_ref()?;
        Some(bus.log.durability().tier.to_string())
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
            cause = self.storage.failed() => Err(Error::Log(cause)),
            () = self.databases.deposed() => Err(Error::Deposed),
            ended = writer_end(&mut self.writer) => Err(ended),
        };
        self.drain().await;
        outcome
    }

    async fn drain(mut self) {
        self.ops.set_ready(false);
        self.phases.listeners.end().await;
        self.phases.delivery.end().await;
        self.phases.writer.cancel();
        if let Some(writer) = self.writer.take()
            && let Ok(Err(error)) = writer.await
        {
            tracing::error!(%error, "the writer ended badly");
        }
        self.phases.background.end().await;
        self.databases.close().await;
        self.storage.close().await;
        self.traces.finish().await;
        self.phases.operator.end().await;
    }
}

impl Phase {
    /// Serves `router` until the phase ends.
    fn serve(&self, listener: TcpListener, router: axum::Router) {
        self.tasks.spawn(listen::serve(listener, router, self.stop.clone()));
    }

    /// Keeps an eye on what is outside of the process.
    fn watch(&self, ground: &Ground<'_>) {
        ground.storage.watch(ground.roles, ground.health, self);
        ground.databases.watch(ground.config, ground.health, self);
    }

    /// Keeps what the gate remembers true.
    fn follow(&self, ground: &Ground<'_>, edges: &Edges, node_id: NodeId) {
        if let Some(gate) = edges.gate.clone() {
            let (revisions, stop) = (ground.revisions(), self.stop.clone());
            self.tasks
                .spawn(async move { gate.follow(&revisions, node_id, &stop).await });
        }
    }

    /// Starts the work of services that no call waits for.
    fn start(&self, ground: &Ground<'_>, services: Services) {
        if ground.roles.has_any(&[Role::Auth, Role::Things, Role::Channels]) {
            let events = Events::new(ground.storage.bus().events.clone(), ground.clock.clone());
            news::carry(&events, &services, ground.databases, self);
        }
        if let Some(things) = services.things {
            self.tasks.spawn(things.run(self.stop.clone()));
        }
        if let Some(channels) = services.channels {
            let stop = self.stop.clone();
            self.tasks.spawn(async move { channels.run(stop).await });
        }
    }
}

fn open_tls(config: &Config) -> Result<Option<Tls>, Error> {
    let files = config.internal_tls.as_ref();
    let opened = files.map(|files| Tls::open(&files.authority, &files.certificate, &files.key));
    opened.transpose().map_err(Error::part("TLS between processes"))
}

async fn open_writer(ground: &Ground<'_>) -> Result<Writer, Error> {
    let (bus, messages) = (ground.storage.bus(), ground.storage.messages(Role::Writer));
    let writer = || Writer::open(bus.log.clone(), messages.clone(), ground.clock.clone(), &ground.metrics);
    let writer = bus.reach("the writer", (ground.roles, ground.health), writer).await?;
    let dead = || DeadLetters::open(bus.dead.clone());
    let dead = bus.reach("the log of dead letters", (ground.roles, ground.health), dead);
    Ok(writer.parking_in(dead.await?).traced_by(ground.tracer.clone()))
}

/// Resolves when the writer has ended by itself; never where there is none. Cancel safe: a writer that has not ended stays.
async fn writer_end(writer: &mut Option<JoinHandle<Result<(), trunkline_consumers::Error>>>) -> Error {
    let Some(running) = writer else {
        return std::future::pending().await;
    };
    let ended = running.await;
    *writer = None;
    writer_ended(ended)
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

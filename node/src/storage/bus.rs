//! The bus of a node: embedded in the data folder, or on NATS.

use std::sync::Arc;

use trunkline_bus::embedded::EmbeddedBus;
use trunkline_bus::log::LogError;
use trunkline_bus::nats::{NatsBus, NatsConfig, NatsError, Standing, Trimming, provision};
use trunkline_bus::{Live, Log, State};
use trunkline_core::Clock;
use uuid::Uuid;

use crate::config::Config;
use crate::data::DataFolder;
use crate::error::{Error, chain};
use crate::health::{Dependency, Failure, Health};
use crate::life::Phase;
use crate::roles::{Role, Roles};

/// Folder of the log of events in the data folder.
const EVENTS_FOLDER: &str = "events";
/// Folder of the log of messages that could not be stored.
const DEAD_LETTERS_FOLDER: &str = "dead-letters";
/// Bytes of events that are kept at most; the oldest that everybody has taken notice of go first.
const EVENTS_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of messages that could not be stored; the writer waits when there is no room for more.
const DEAD_LETTERS_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes that one domain may have of either.
const DOMAIN_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of the newest entries of either in memory.
const RING_BYTES_MAX: usize = 256 * 1024;
/// Bytes that may wait to be committed to either.
const QUEUE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The bus as the roles see it.
pub(crate) struct Bus {
    /// Messages.
    pub(crate) log: Arc<dyn Log>,
    /// What happened to entities.
    pub(crate) events: Arc<dyn Log>,
    /// Messages that could not be stored.
    pub(crate) dead: Arc<dyn Log>,
    /// What need not last.
    pub(crate) live: Arc<dyn Live>,
    /// Small shared facts.
    pub(crate) state: Arc<dyn State>,
    backend: Backend,
}

enum Backend {
    Embedded(Box<[EmbeddedBus; 3]>),
    Nats(Box<NatsBus>),
}

impl Bus {
    /// Opens the bus. Who has a data folder is alone on the platform and makes what is missing; everybody else refuses then.
    pub(crate) async fn open(
        config: &Config,
        platform: Uuid,
        data: Option<&DataFolder>,
        (roles, clock, health): (&Roles, &Arc<dyn Clock>, &Health),
    ) -> Result<Self, Error> {
        match (&config.nats, data) {
            (Some(nats), None) => Self::on_nats(nats, platform, (roles, clock, health)).await,
            (Some(nats), Some(_)) => {
                let made = || async { provision(nats, platform, clock.as_ref()).await.map_err(failure) };
                health.reach(dependency(roles), made).await?;
                Self::on_nats(nats, platform, (roles, clock, health)).await
            }
            (None, Some(data)) => Self::embedded(config, data, clock).await,
            (None, None) => Err(Error::Configuration(
                "[nats] is missing; the platform's processes meet there".to_owned(),
            )),
        }
    }

    async fn embedded(config: &Config, data: &DataFolder, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        let bus = EmbeddedBus::open(data.path(), config.log.clone(), clock.clone());
        let bus = bus.await.map_err(Error::part("the bus"))?;
        let folder = data.folder(EVENTS_FOLDER)?;
        let events = EmbeddedBus::open(&folder, aside(EVENTS_BYTES_MAX), clock.clone());
        let events = events.await.map_err(Error::part("the log of events"))?;
        let folder = data.folder(DEAD_LETTERS_FOLDER)?;
        let dead = EmbeddedBus::open(&folder, aside(DEAD_LETTERS_BYTES_MAX), clock.clone());
        let dead = dead.await.map_err(Error::part("the log of dead letters"))?;
        Ok(Self {
            log: bus.log.clone(),
            events: events.log.clone(),
            dead: dead.log.clone(),
            live: bus.live.clone(),
            state: bus.state.clone(),
            backend: Backend::Embedded(Box::new([bus, events, dead])),
        })
    }

    async fn on_nats(
        nats: &NatsConfig,
        platform: Uuid,
        (roles, clock, health): (&Roles, &Arc<dyn Clock>, &Health),
    ) -> Result<Self, Error> {
        let trimming = match roles.has(Role::Writer) {
            true => Trimming::Here,
            false => Trimming::Elsewhere,
        };
        let open = || async {
            let opened = NatsBus::open(nats, platform, trimming, clock.clone()).await;
            opened.map_err(failure)
        };
        let bus = health.reach(dependency(roles), open).await?;
        Ok(Self {
            log: bus.log.clone(),
            events: bus.events.clone(),
            dead: bus.dead.clone(),
            live: bus.live.clone(),
            state: bus.state.clone(),
            backend: Backend::Nats(Box::new(bus)),
        })
    }

    /// Does something that a start needs of the bus, again while NATS is away.
    ///
    /// # Errors
    /// Names `part`, for whose sake it was to be done. An embedded bus is never away.
    pub(crate) async fn reach<T, F>(
        &self,
        part: &'static str,
        (roles, health): (&Roles, &Health),
        attempt: impl Fn() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, LogError>>,
    {
        if let Backend::Embedded(_) = &self.backend {
            return attempt().await.map_err(Error::part(part));
        }
        let attempt = || async {
            attempt().await.map_err(|error| match error {
                LogError::Failed(_) => Failure::Unreachable(chain(&error)),
                error => Failure::Wrong(Error::part(part)(error)),
            })
        };
        health.reach(dependency(roles), attempt).await
    }

    /// Keeps an eye on NATS.
    pub(crate) fn watch(&self, roles: &Roles, health: &Health, phase: &Phase) {
        let Backend::Nats(nats) = &self.backend else {
            return;
        };
        let nats = nats.health.clone();
        let probe = move || {
            let standing = nats.standing();
            async move {
                match standing {
                    Standing::Well => Ok(()),
                    Standing::Failing { what, .. } => Err(what),
                }
            }
        };
        let watching = health.clone().watch(dependency(roles), probe, phase.stop.clone());
        phase.tasks.spawn(watching);
    }

    /// Resolves once something that is kept can be kept no more.
    pub(crate) async fn failed(&self) -> String {
        tokio::select! {
            cause = self.log.failed() => cause,
            cause = self.events.failed() => cause,
            cause = self.dead.failed() => cause,
        }
    }

    /// Closes everything after the work in hand.
    pub(crate) async fn close(self) {
        match self.backend {
            Backend::Embedded(buses) => {
                for bus in *buses {
                    bus.close().await;
                }
            }
            Backend::Nats(nats) => nats.close().await,
        }
    }
}

/// The quotas of a log beside the one of messages.
fn aside(bytes_max: u64) -> trunkline_bus::embedded::Config {
    trunkline_bus::embedded::Config {
        shards: Some(1),
        bytes_max,
        domain_bytes_max: DOMAIN_BYTES_MAX,
        ring_bytes_max: RING_BYTES_MAX,
        queue_bytes_max: QUEUE_BYTES_MAX,
        disk_free_bytes_min: 0,
        ..trunkline_bus::embedded::Config::default()
    }
}

fn dependency(roles: &Roles) -> Dependency {
    Dependency {
        name: "nats".to_owned(),
        needed_by: roles.iter().filter(|role| role.is_on_bus()).collect(),
        is_vital: true,
    }
}

fn failure(error: NatsError) -> Failure {
    if error.is_passing() {
        Failure::Unreachable(chain(&error))
    } else {
        Failure::Wrong(Error::part("the bus")(error))
    }
}

//! The bus of a node: embedded in the data folder, or on NATS.

use std::sync::Arc;

use trunkline_bus::embedded::EmbeddedBus;
use trunkline_bus::nats::{NatsBus, NatsConfig, NatsError, Standing, Trimming, provision};
use trunkline_bus::{Log, State};
use trunkline_core::Clock;
use uuid::Uuid;

use crate::config::Config;
use crate::data::DataFolder;
use crate::error::{Error, chain};
use crate::health::{Dependency, Failure, Health};
use crate::life::Phase;
use crate::news;
use crate::roles::{Role, Roles};

/// Folder of the log of events in the data folder.
const EVENTS_FOLDER: &str = "events";

/// The bus as the roles see it.
pub(crate) struct Bus {
    /// Messages.
    pub(crate) log: Arc<dyn Log>,
    /// What happened to entities.
    pub(crate) events: Arc<dyn Log>,
    /// Small shared facts.
    pub(crate) state: Arc<dyn State>,
    backend: Backend,
}

enum Backend {
    Embedded { bus: EmbeddedBus, events: EmbeddedBus },
    Nats(NatsBus),
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
        let events = EmbeddedBus::open(&folder, news::config(), clock.clone());
        let events = events.await.map_err(Error::part("the log of events"))?;
        Ok(Self {
            log: bus.log.clone(),
            events: events.log.clone(),
            state: bus.state.clone(),
            backend: Backend::Embedded { bus, events },
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
            state: bus.state.clone(),
            backend: Backend::Nats(bus),
        })
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
        }
    }

    /// Closes everything after the work in hand.
    pub(crate) async fn close(self) {
        match self.backend {
            Backend::Embedded { bus, events } => {
                events.close().await;
                bus.close().await;
            }
            Backend::Nats(nats) => nats.close().await,
        }
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

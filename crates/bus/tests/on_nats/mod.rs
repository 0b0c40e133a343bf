//! A NATS server and a platform on it, for tests of the bus.

#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use trunkline_bus::nats::{NatsBus, NatsConfig, NatsError, Trimming, provision};
use trunkline_core::SystemClock;
use trunkline_testkit::Nats;
use uuid::Uuid;

/// How soon everything must be well again once the server is.
pub(crate) const HEAL_WAIT_MAX: Duration = Duration::from_secs(10);

/// A server, and a platform on it.
pub(crate) struct Platform {
    pub(crate) nats: Nats,
    pub(crate) id: Uuid,
    pub(crate) config: NatsConfig,
}

impl Platform {
    /// A server with nothing on it.
    pub(crate) fn bare() -> Self {
        Self::on(Nats::start())
    }

    /// `nats`, with a platform that is not provisioned yet.
    pub(crate) fn on(nats: Nats) -> Self {
        let config = NatsConfig {
            urls: vec![nats.url()],
            shards: Some(2),
            bytes_max: 1 << 30,
            ..NatsConfig::default()
        };
        Self {
            nats,
            id: Uuid::now_v7(),
            config,
        }
    }

    /// A server on which the platform is provisioned.
    pub(crate) async fn start() -> Self {
        let platform = Self::bare();
        platform.provision().await.unwrap();
        platform
    }

    pub(crate) async fn provision(&self) -> Result<Vec<String>, NatsError> {
        provision(&self.config, self.id, &SystemClock).await
    }

    pub(crate) async fn try_open(&self, trimming: Trimming) -> Result<NatsBus, NatsError> {
        NatsBus::open(&self.config, self.id, trimming, Arc::new(SystemClock)).await
    }

    /// A process that trims, such as the writer.
    pub(crate) async fn writer(&self) -> NatsBus {
        self.try_open(Trimming::Here).await.unwrap()
    }

    /// A process that does not, such as an adapter.
    pub(crate) async fn adapter(&self) -> NatsBus {
        self.try_open(Trimming::Elsewhere).await.unwrap()
    }
}

//! The bus on NATS passes every suite.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use async_trait::async_trait;
use trunkline_bus::conformance::log::{LogLimits, LogWorld};
use trunkline_bus::nats::{NatsBus, NatsConfig, Trimming, provision};
use trunkline_bus::{Live, Log, State, live_conformance, log_conformance, state_conformance};
use trunkline_core::SystemClock;
use trunkline_testkit::Nats;
use uuid::Uuid;

/// A server, and the bus that is open on it.
struct World {
    nats: Nats,
    platform: Uuid,
    bus: Option<NatsBus>,
}

impl World {
    fn new() -> Self {
        Self {
            nats: Nats::start(),
            platform: Uuid::now_v7(),
            bus: None,
        }
    }
}

#[async_trait]
impl LogWorld for World {
    async fn open(&mut self, limits: LogLimits) -> Arc<dyn Log> {
        if let Some(bus) = self.bus.take() {
            bus.close().await;
            self.nats.restart();
        }
        let config = NatsConfig {
            urls: vec![self.nats.url()],
            shards: Some(limits.shards),
            bytes_max: limits.bytes_max,
            domain_bytes_max: limits.domain_bytes_max,
            keep_seconds: limits.keep.as_secs(),
            ..NatsConfig::default()
        };
        provision(&config, self.platform, &SystemClock).await.unwrap();
        let bus = NatsBus::open(&config, self.platform, Trimming::Here, Arc::new(SystemClock))
            .await
            .unwrap();
        let log = bus.log.clone();
        self.bus = Some(bus);
        log
    }
}

async fn state() -> (World, Arc<dyn State>) {
    let mut world = World::new();
    world.open(LogLimits::default()).await;
    let state = world.bus.as_ref().unwrap().state.clone();
    (world, state)
}

async fn live() -> (World, Arc<dyn Live>) {
    let mut world = World::new();
    world.open(LogLimits::default()).await;
    let live = world.bus.as_ref().unwrap().live.clone();
    (world, live)
}

log_conformance!(World::new());
live_conformance!(live());
state_conformance!(state());

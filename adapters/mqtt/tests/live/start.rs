//! How these tests start a node on the embedded bus.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trunkline_bus::EmbeddedBus;
use trunkline_core::SystemClock;
use trunkline_gate::OpenGate;
use trunkline_telemetry::Metrics;

use super::{Adapter, Deps};

pub(super) async fn open_bus(folder: &TempDir) -> EmbeddedBus {
    let clock = Arc::new(SystemClock);
    EmbeddedBus::open(folder.path(), Default::default(), clock)
        .await
        .unwrap()
}

pub(super) fn deps(bus: &EmbeddedBus, metrics: &Metrics) -> Deps {
    Deps {
        gate: Arc::new(OpenGate::new(vec!["denied".to_owned()])),
        log: bus.log.clone(),
        live: bus.live.clone(),
        state: bus.state.clone(),
        clock: Arc::new(SystemClock),
        metrics: metrics.clone(),
        tracer: Default::default(),
    }
}

/// Has an adapter do what it does beside its connections, until it is told to stop.
pub(super) fn run(adapter: &Arc<Adapter>) -> (CancellationToken, JoinHandle<()>) {
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (adapter, stop) = (Arc::clone(adapter), stop.clone());
        async move { adapter.run(stop).await }
    });
    (stop, running)
}

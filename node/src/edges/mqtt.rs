//! MQTT of a node: the adapter with its listeners, one for each transport that the configuration asks for.

use std::sync::Arc;

use tokio::net::TcpListener;
use trunkline_gate::PlatformGate;
use trunkline_mqtt::transport::ALPN;
use trunkline_mqtt::{Adapter, Listener, Settings};
use trunkline_rpc::ServerTls;

use crate::error::Error;
use crate::life::Phases;
use crate::services::Ground;

/// The adapter and what it speaks below MQTT.
pub(super) struct Mqtt {
    adapter: Arc<Adapter>,
    tls: Option<Arc<ServerTls>>,
}

impl Mqtt {
    /// Opens the adapter.
    ///
    /// # Errors
    /// A file that TLS needs cannot be used.
    pub(super) fn open(ground: &Ground<'_>, gate: Arc<PlatformGate>) -> Result<Self, Error> {
        let deps = trunkline_mqtt::Deps {
            gate,
            log: ground.storage.bus().log.clone(),
            state: ground.storage.bus().state.clone(),
            clock: ground.clock.clone(),
            metrics: ground.metrics.clone(),
            tracer: ground.tracer.clone(),
        };
        let config = &ground.config.mqtt;
        let settings = Settings {
            payload_bytes_max: ground.config.payload_bytes_max(),
            denied_publish: config.denied_publish,
            ..Settings::default()
        };
        let tls = config.tls.clone().map(|files| ServerTls::open(files, &[ALPN]));
        let tls = tls.transpose().map_err(Error::part("TLS for MQTT"))?;
        Ok(Self {
            adapter: Adapter::open(deps, settings),
            tls: tls.map(Arc::new),
        })
    }

    /// Lets devices in through the listeners, plain and over TLS.
    pub(super) fn start(self, (plain, over_tls): (Option<TcpListener>, Option<TcpListener>), phases: &Phases) {
        let (adapter, stop) = (self.adapter.clone(), phases.delivery.stop.clone());
        phases.delivery.tasks.spawn(async move { adapter.run(stop).await });
        let mut listeners = Vec::from_iter(plain.map(Listener::from));
        if let (Some(socket), Some(tls)) = (over_tls, self.tls) {
            let stop = phases.listeners.stop.clone();
            phases.listeners.tasks.spawn(tls.clone().follow(stop));
            listeners.push(Listener::over_tls(socket, tls));
        }
        for listener in listeners {
            let (adapter, stop) = (self.adapter.clone(), phases.listeners.stop.clone());
            let serving = async move { adapter.serve(listener, stop).await };
            phases.listeners.tasks.spawn(serving);
        }
    }
}

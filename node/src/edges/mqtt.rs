//! MQTT of a node: the adapter with its listeners, one for each transport that the configuration asks for.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use tokio::net::TcpListener;
use trunkline_gate::PlatformGate;
use trunkline_mqtt::transport::ALPN;
use trunkline_mqtt::transport::websocket::{self, Origins, WebSockets};
use trunkline_mqtt::{Adapter, Config, Listener, Settings, Transport};
use trunkline_rpc::ServerTls;
use trunkline_rpc::listen::PeerAddress;

use crate::error::Error;
use crate::life::Phases;
use crate::services::Ground;

/// What HTTP/1.1 is called in a TLS handshake.
const ALPN_HTTP: &[u8] = b"http/1.1";

/// The adapter and what it speaks below MQTT.
pub(super) struct Mqtt {
    adapter: Arc<Adapter>,
    config: Config,
    origins: Origins,
    tls: Option<Arc<ServerTls>>,
    tls_of_websockets: Option<Arc<ServerTls>>,
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
            live: ground.storage.bus().live.clone(),
            state: ground.storage.bus().state.clone(),
            clock: ground.clock.clone(),
            metrics: ground.metrics.clone(),
            tracer: ground.tracer.clone(),
        };
        let config = ground.config.mqtt.clone();
        let settings = Settings {
            payload_bytes_max: ground.config.payload_bytes_max(),
            denied_publish: config.denied_publish,
            refusals: config.refusals,
            ..Settings::default()
        };
        let tls = |alpn| {
            let tls = config.tls.clone().map(|files| ServerTls::open(files, &[alpn]));
            let tls = tls.transpose().map_err(Error::part("TLS for MQTT"))?;
            Ok(tls.map(Arc::new))
        };
        Ok(Self {
            tls: tls(ALPN)?,
            tls_of_websockets: tls(ALPN_HTTP)?,
            origins: Origins::parse(&config.websocket.origins).map_err(Error::Configuration)?,
            adapter: Adapter::open(deps, settings),
            config,
        })
    }

    /// The router of MQTT over WebSocket, for a listener that is HTTP's.
    pub(super) fn websockets(&self, phases: &Phases) -> axum::Router {
        let stop = phases.listeners.stop.clone();
        let sockets = Arc::new(WebSockets::new(self.adapter.clone(), self.origins.clone(), stop));
        let draining = sockets.clone();
        phases.listeners.tasks.spawn(async move { draining.drained().await });
        let answer = move |request: Request| {
            let peer = request.extensions().get::<PeerAddress>();
            let peer = peer.map_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), |peer| peer.0);
            std::future::ready(sockets.answer(request, peer).map(Body::from))
        };
        axum::Router::new().route(websocket::PATH, axum::routing::any(answer))
    }

    /// Lets devices in through the listeners.
    pub(super) fn start(self, sockets: Vec<(Transport, TcpListener)>, phases: &Phases) {
        let (adapter, stop) = (self.adapter.clone(), phases.delivery.stop.clone());
        phases.delivery.tasks.spawn(async move { adapter.run(stop).await });
        for tls in self.tls.iter().chain(&self.tls_of_websockets) {
            let stop = phases.listeners.stop.clone();
            phases.listeners.tasks.spawn(tls.clone().follow(stop));
        }
        for (transport, socket) in sockets {
            let (adapter, stop) = (self.adapter.clone(), phases.listeners.stop.clone());
            let listener = self.listener(transport, socket);
            let serving = async move { adapter.serve(listener, stop).await };
            phases.listeners.tasks.spawn(serving);
        }
    }

    /// A socket with the layers of its transport. The configuration was checked to have what they need.
    fn listener(&self, transport: Transport, socket: TcpListener) -> Listener {
        let mut listener = Listener::from(socket);
        if let Some(proxies) = self.config.proxies_of(transport) {
            listener = listener.behind(proxies.to_vec());
        }
        let expected = "the configuration was checked to have TLS for those that speak it";
        match transport {
            Transport::Mqtt => listener,
            Transport::Mqtts => listener.over(self.tls.clone().expect(expected)),
            Transport::Ws => listener.with_websocket(self.origins.clone()),
            Transport::Wss => listener
                .over(self.tls_of_websockets.clone().expect(expected))
                .with_websocket(self.origins.clone()),
        }
    }
}

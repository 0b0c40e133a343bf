//! What meets the world: admission, the adapters, and the routers of the public listeners, as far as the roles of the process go.

mod mqtt;

use std::sync::Arc;

use tonic_reflection::server::Builder as Reflection;
use trunkline_gate::PlatformGate;
use trunkline_rpc::transport::in_process;
use trunkline_rpc::{ServerTls, forward, listen, stack};

use crate::edges::mqtt::Mqtt;
use crate::error::Error;
use crate::life::Phases;
use crate::listeners::Public;
use crate::ops::Ops;
use crate::roles::Role;
use crate::services::{Ground, Services};

/// What HTTP/2 and HTTP/1.1 are called in a TLS handshake.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The edges that are open here.
pub(crate) struct Edges {
    /// Admission, for the roles that let devices in.
    pub(crate) gate: Option<Arc<PlatformGate>>,
    mqtt: Option<Mqtt>,
    http: Option<axum::Router>,
    tls: Option<Arc<ServerTls>>,
    grpc: Option<axum::Router>,
}

impl Edges {
    /// Opens the edges of the roles that run here.
    ///
    /// # Errors
    /// Names the part that cannot be opened.
    pub(crate) fn open(ground: &Ground<'_>, services: &Services, ops: &Ops) -> Result<Self, Error> {
        let runs = |role| ground.roles.has(role);
        let gate = ground.roles.has_any(&[Role::Mqtt, Role::Http]);
        let gate = gate.then(|| Arc::new(PlatformGate::new(&services.hub)));
        let mut edges = Self {
            gate: gate.clone(),
            mqtt: None,
            http: None,
            tls: tls(ground)?,
            grpc: None,
        };
        if let Some(gate) = gate {
            edges.mqtt = runs(Role::Mqtt).then(|| Mqtt::open(ground, gate.clone())).transpose()?;
            edges.http = runs(Role::Http).then(|| publishing(ground, gate));
        }
        if runs(Role::Gateway) {
            let public = stack::outer(everywhere(ground, services));
            let gateway = trunkline_gateway::router(&ground.config.gateway, in_process(public.clone()));
            let gateway = gateway.map_err(Error::part("the gateway"))?;
            edges.http = Some(edges.http.unwrap_or_default().merge(gateway));
            edges.grpc = Some(grpc(public)?);
        }
        edges.http = edges.http.map(|router| router.merge(ops.public_router()));
        Ok(edges)
    }

    /// Lets the world in, deliveries first.
    pub(crate) fn start(self, listeners: Public, phases: &Phases) {
        let mut http = self.http;
        if let Some(mqtt) = self.mqtt {
            http = http.map(|router| router.merge(mqtt.websockets(phases)));
            mqtt.start(listeners.mqtt, phases);
        }
        let stop = &phases.listeners.stop;
        if let (Some(router), Some(tls), Some(listener)) = (http.clone(), self.tls, listeners.https) {
            let serving = listen::serve_over(tls.clone(), listener, router, stop.clone());
            phases.listeners.tasks.spawn(serving);
            phases.listeners.tasks.spawn(tls.follow(stop.clone()));
        }
        for (router, listener) in [(http, listeners.http), (self.grpc, listeners.grpc)] {
            if let (Some(router), Some(listener)) = (router, listener) {
                let serving = listen::serve(listener, router, stop.clone());
                phases.listeners.tasks.spawn(serving);
            }
        }
    }
}

/// What HTTP speaks TLS with, where the configuration says so.
fn tls(ground: &Ground<'_>) -> Result<Option<Arc<ServerTls>>, Error> {
    let files = ground.config.http.tls.clone();
    let tls = files.map(|files| ServerTls::open(files, &ALPN)).transpose();
    Ok(tls.map_err(Error::part("TLS for HTTP"))?.map(Arc::new))
}

fn publishing(ground: &Ground<'_>, gate: Arc<PlatformGate>) -> axum::Router {
    trunkline_http::router(trunkline_http::Deps {
        gate,
        log: ground.storage.bus().log.clone(),
        clock: ground.clock.clone(),
        metrics: ground.metrics.clone(),
        tracer: ground.tracer.clone(),
        payload_bytes_max: ground.config.payload_bytes_max(),
    })
}

/// Every contract of the platform: those that are served here, and the way to the others.
fn everywhere(ground: &Ground<'_>, services: &Services) -> axum::Router {
    let elsewhere = ground.roles.elsewhere();
    let contracts = elsewhere.iter().flat_map(|(service, _)| service.contracts());
    let forwarded = contracts.map(|contract| forward::router(&services.hub, contract));
    let forwarded = forwarded.reduce(axum::Router::merge).unwrap_or_default();
    services
        .local
        .clone()
        .merge(stack::inner(forwarded, &ground.metrics, ground.tracer))
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

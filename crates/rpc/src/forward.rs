//! Passing calls from outside on to the process that serves them: by service name, as they came, answers likewise.
//!
//! Limits on calls from outside are the gateway's; the caller is judged by whoever is called.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use tower::ServiceExt as _;
use trunkline_proto::guard::Rule;
use trunkline_proto::guards::METHODS;

use crate::hub::Hub;
use crate::transport::Transport;

/// Process part under which calls are passed on. No contract lets it call anything internal.
const PEER: &str = "gateway";

/// The methods of `service` that are meant for callers outside. Others do not exist here, as on every public listener.
pub fn router(hub: &Hub, service: &'static str) -> Router {
    let way = hub.patient_transport(service, PEER);
    let public = METHODS
        .iter()
        .filter(|method| method.service() == service && !matches!(method.rule, Rule::Internal(_)));
    public.fold(Router::new(), |router, method| {
        let way = way.clone();
        router.route(method.path, any(move |request| pass(way.clone(), request)))
    })
}

async fn pass(way: Transport, request: Request) -> Response {
    match way.oneshot(request.map(tonic::body::Body::new)).await {
        Ok(response) => response.map(Body::new),
        Err(status) => status.into_http(),
    }
}

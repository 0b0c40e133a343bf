//! The HTTP edge: every route of the contracts, turned into a gRPC call and its answer into JSON, and the OpenAPI document of it all.
//!
//! Owns the route table, Trunkline's JSON and HTTP errors, all derived from descriptors while it opens.
//!
//! **Invariants:** it names no service and no message of a service; nothing is authorized here: credentials go on as they came
//! and are judged behind the transport; it keeps no state between requests.

mod codec;
mod contract;
mod error;
mod fault;
pub mod openapi;
mod options;
mod percent;
mod request;
mod route;
mod schema;
mod transcode;

#[cfg(test)]
mod fixture;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use trunkline_rpc::Transport;

use crate::contract::Contract;
pub use crate::error::Error;
use crate::transcode::Edge;

/// Settings of the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bytes of the largest request body; larger ones get 413. 1 MiB by default.
    pub body_bytes_max: usize,
    /// Milliseconds that a request body may take to arrive. 30 s by default.
    pub body_wait_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            body_wait_ms: 30_000,
        }
    }
}

/// The router of every route in the contracts and of `/openapi.json`. Any other path is 404 with a JSON body, as its fallback,
/// so it can be merged with routers of other routes, but not with one that has a fallback of its own.
///
/// # Errors
/// Contracts that cannot be served, such as two equal templates.
pub fn router(config: &Config, transport: Transport) -> Result<Router, Error> {
    let contract = Contract::open()?;
    let edge = Arc::new(Edge {
        contract,
        transport,
        config: config.clone(),
    });
    let document = || async { ([(CONTENT_TYPE, fault::JSON)], openapi::CHECKED_IN) };
    Ok(Router::new()
        .route("/openapi.json", get(document).fallback(method_not_allowed))
        .fallback(move |request: Request| transcode::answer(edge.clone(), request)))
}

/// The answer to a method that a path does not have, for routers that are merged with this one. The header `Allow` is theirs.
pub async fn method_not_allowed(request: Request) -> Response {
    fault::method_not_allowed_elsewhere(request.method())
}

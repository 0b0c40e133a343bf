//! The HTTP adapter: devices publish by `POST /m/{domain}/c/{channel}[/{subtopic}…]`, with the message as the body.
//!
//! Owns how a topic stands in a path, how a client shows itself in `Authorization`, and what the answers look like. Admission
//! is the gate's, keeping is the log's; users and management are the gateway's.
//!
//! - A path is split at its slashes first and each level is percent-decoded once. An encoded slash (`%2F`) in a level is refused,
//!   since a topic could not tell it from a separator.
//! - `Client <secret>`, a bare secret, and `Basic base64(client id:secret)` admit a client. `Bearer` is a user's token here, and
//!   users cannot publish yet: 401, since such a token is not even looked at, with the schemes that are.
//! - An empty body is 400: it is nearly always a slip, and tools for the older adapters expect that.
//! - The query is ignored.
//!
//! **Invariants:** 202 leaves only after the log's receipt; no byte of a body is read before its sender was admitted; a permission
//! that a change touched while the body came in is asked for again; the answer does not tell whether a channel exists.

mod answer;
mod authorization;
mod body;
pub mod limits;
mod path;
mod publish;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::post;
use trunkline_bus::Log;
use trunkline_core::Clock;
use trunkline_gate::Gate;
use trunkline_telemetry::{Metrics, Tracer};

use crate::publish::Publisher;

/// What the adapter needs from its surroundings.
pub struct Deps {
    /// Who is admitted, and to which topics.
    pub gate: Arc<dyn Gate>,
    /// Where messages are kept.
    pub log: Arc<dyn Log>,
    /// The wall clock, for the time at which a message was received.
    pub clock: Arc<dyn Clock>,
    /// Where outcomes are counted.
    pub metrics: Metrics,
    /// What is recorded.
    pub tracer: Tracer,
    /// Bytes of the largest message; larger ones get 413. Not above what the log takes.
    pub payload_bytes_max: usize,
}

/// The router of `/m/…`. It has no fallback, so it can be merged with the gateway's.
pub fn router(deps: Deps) -> Router {
    let publisher = Arc::new(Publisher::new(deps));
    let publish = move |request: Request| {
        let publisher = publisher.clone();
        async move { publisher.answer(request).await }
    };
    Router::new().route("/m/{*topic}", post(publish).fallback(answer::method_not_allowed))
}

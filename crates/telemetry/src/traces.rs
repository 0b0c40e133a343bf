//! Traces: what became of one message or call, in all the processes that it went through, told to a collector by OTLP over gRPC.
//!
//! Whether something is recorded is decided once, where it comes in, by [`Tracer::admit`]. What is not recorded has no span: it costs a
//! look at the [`Tracer`], which is a null pointer while the configuration names no collector, and no memory. What is recorded carries a
//! [`TraceContext`] from process to process, and who gets one records too.
//!
//! - **From outside** (`traceparent` of a device or of an API's caller) the trace's id and the parent are taken, so that the spans stand
//!   in the caller's trace. Whether it is recorded is ours to say, by `sampling_ratio`: else whoever may publish could make the platform
//!   record all he does. `follow_outside` lets the flag of a trace from outside decide instead. What does not parse counts as absent.
//!   `tracestate` is not passed on.
//! - **Between processes of the platform** the flag decides.
//! - **What a collector does not take** is dropped and counted (`trunkline_spans_dropped_total`): the queue has a limit, and nobody but
//!   the export waits.
//!
//! The crates of OpenTelemetry's SDK are deliberately not used, only the messages of OTLP: a sampled-out span of theirs costs its
//! allocations, their queue's losses are no metric, and they read environment variables besides our configuration.

mod config;
mod context;
mod export;
mod random;
mod scope;
mod span;
mod tracer;

use http::HeaderMap;

pub use config::{Config, SAMPLING_RATIO_DEFAULT};
pub use context::TraceContext;
pub use export::{Export, FLUSH_WAIT_MAX, QUEUE_SPANS_MAX};
pub use scope::{Scope, child, within};
pub use span::{Kind, LINKS_MAX, Span};
pub use tracer::{Resource, Tracer};

/// Header, MQTT user property and metadata key of W3C's trace context.
pub const TRACEPARENT: &str = "traceparent";
/// The header beside it, in which others keep what is theirs.
pub const TRACESTATE: &str = "tracestate";

/// The `traceparent` in `headers`. Two of them count as none, as the standard demands.
pub fn traceparent_of(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok())?
}

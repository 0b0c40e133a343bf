//! Logs, metrics and traces of every crate: where they go and what form they have.
//!
//! **Invariants:** no service is known here; metrics and traces live in a [`Metrics`] and a [`Tracer`] that are passed around, never in a
//! global; names of metrics, labels and spans are constants, so that no id, address or payload can become one; spans carry ids, and never
//! secrets, payloads or mail addresses; nothing is sent anywhere unless the configuration says where to.

mod logs;
mod metrics;
pub mod traces;

pub use logs::{Error, Format, init};
pub use metrics::{Counter, Gauge, Histogram, Labels, Metrics};
pub use traces::Tracer;

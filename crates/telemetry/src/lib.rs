//! Logs and metrics of every crate: where they go and what form they have.
//!
//! OpenTelemetry is deliberately absent for now: traces across processes come with the split form of the platform, and then
//! they come here.
//!
//! **Invariants:** no service is known here; metrics live in a [`Metrics`] handle that is passed around, never in a global;
//! label names and values are constants, so that no id, address or payload can become one.

mod logs;
mod metrics;

pub use logs::{Error, Format, init};
pub use metrics::{Counter, Gauge, Histogram, Labels, Metrics};

//! Consumers of the log: the writer, which stores every message.
//!
//! Owns: what an envelope becomes in the message store, and the loop that brings it there. Does not own: the log, the database, what
//! may be published. Notifiers come here as well.
//!
//! - **Invariant:** nothing acknowledged is skipped: an entry is stored, or noted as unreadable, before the group commits it.
//! - **Invariant:** nothing stored is invisible: what cannot be decoded is stored as it came, with the reason.
//! - **Invariant:** what an envelope becomes depends on the envelope alone, so that storing it again changes nothing.

mod metrics;
mod transform;
mod writer;

pub use transform::transform;
pub use writer::{Error, Writer};

//! The bus: what a message is addressed by (topics), what it is (envelopes), and where it goes (`Log`, `Live`, `State`).
//!
//! Owns the one topic parser of all protocols, the three traits that every backend implements, their implementations in one
//! process and on NATS, events, dead letters and the authorization revision on top of them, and the suites that each
//! implementation must pass. Knows no session, no permission and no payload format.
//!
//! **Invariants:** nothing is acknowledged before its commit returned; nothing acknowledged is dropped before every required
//! group committed it; an I/O error on a commit is final; every queue has a named limit; subjects carry ids only.

#[cfg(feature = "conformance")]
#[allow(clippy::unwrap_used, clippy::missing_panics_doc)]
pub mod conformance;
pub mod dead_letters;
pub mod embedded;
pub mod envelope;
pub mod events;
pub mod feed;
pub mod live;
pub mod log;
pub mod nats;
pub mod revision;
mod ring;
pub mod state;
pub mod topic;

pub use dead_letters::DeadLetters;
pub use embedded::EmbeddedBus;
pub use envelope::{EnvelopeError, NewEntry, StoredEntry};
pub use live::Live;
pub use log::Log;
pub use nats::NatsBus;
pub use state::State;
pub use topic::{Filter, Ref, Route, Subtopic, Topic, TopicError};

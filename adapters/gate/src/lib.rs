//! Admission: who a device is, and whether it may publish to or receive from a channel. Every protocol adapter asks here.
//!
//! Owns the cache of what `things`, `channels` and `auth` answered, and keeps it honest: an answer is used again only while this
//! node holds its lease and no change of authorization has touched it. Owns no protocol, no socket and no log.
//!
//! **Invariants:** a warm decision costs no call and no allocation; a decision that was being made while a change arrived is made
//! anew; a change is acknowledged only when nothing from before it is answered any more; a topic of another domain, of a channel
//! that does not exist and of one that the client is not connected to are refused alike; a dependency that does not answer
//! is never told as wrong credentials.

mod credentials;
mod disturbances;
mod follow;
mod gate;
mod lease;
pub mod limits;
mod memory;
mod open;
mod place;
mod platform;
mod refusal;
mod registry;
mod session;
mod stamp;
mod trace;

pub use credentials::{Credentials, Realm};
pub use disturbances::Disturbances;
pub use gate::{Action, Gate, Permit};
pub use open::OpenGate;
pub use platform::PlatformGate;
pub use refusal::{Denial, Refusal};
pub use session::{Grant, Identity, Session};
pub use stamp::{Publication, stamp};
pub use trace::PublishTrace;

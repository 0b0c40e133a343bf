//! The ground under every crate of Trunkline: identifiers, time, secrets, and the one table of error codes.
//!
//! Owns the words that all services share and that carry no product decision. Knows no database, no wire format and no
//! service.
//!
//! **Invariants:** nothing here does I/O but [`time::SystemClock`] and the random bytes of [`secret`]; nothing here depends on
//! another crate of the workspace.

pub mod attributes;
pub mod digest;
pub mod error;
pub mod id;
pub mod secret;
pub mod time;

pub use error::{Code, Fault, FieldViolation};
pub use id::{
    ChannelId, ClientId, CredentialId, DomainId, GroupId, Id, MessageId, NodeId, RequestId, RoleId, SessionId, UserId,
};
pub use secret::Secret;
pub use time::{Clock, SystemClock, Timestamp};

//! The instruments: a load generator, the ledger of what it sent and was promised, and the checker that holds a platform to it.
//!
//! It owns measuring and judging, and knows the platform only from outside: by its protocols, its reader, its metrics and, if told
//! to, by its message store.
//!
//! **Invariants:** a message is in the ledger before its first byte is sent; an acknowledgement is in it only after it was received;
//! whatever a run finds, it prints its summary; each load is bounded in connections, messages and time.

pub mod chance;
pub mod check;
pub mod ingest;
pub mod ledger;
pub mod load;
pub mod mqtt;
pub mod overload;
pub mod process;
pub mod reader;
pub mod site;
pub mod split;
pub mod store;

mod caller;
mod content;
mod row;

pub use content::{Content, Hash};
pub use row::{Place, Row};

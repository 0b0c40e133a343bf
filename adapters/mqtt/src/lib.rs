//! MQTT 3.1.1 and 5 for devices: connections, sessions, and the way of a message to its subscribers.
//!
//! Owns what MQTT asks of a server beyond the codec: the session machine, the sessions that outlive their connections, the groups that
//! share subscriptions, the router that feeds this node's subscribers from the log, the tasks that carry bytes, and what lies between them
//! and a socket. Does not own who may do what (`trunkline-gate`), what is durable (`trunkline-bus`) or how packets look
//! (`trunkline-mqtt-wire`).
//!
//! **Invariants:** a PUBACK or PUBREC leaves only when the log holds the message, and in the order in which messages came; a message is
//! delivered only from the log or its tap, and only under a grant that holds at that moment; a client that does not read costs
//! bounded memory and nobody else's time; no input of a client ends more than its own connection; what a session promises at QoS 2 is in
//! its record before the client can know of it; a session that ends with its connection and has no will writes nothing.
//!
//! **Deliberately absent, and refused by name:** enhanced authentication.

mod adapter;
mod attendance;
mod config;
mod connection;
mod directory;
mod index;
pub mod limits;
pub mod machine;
mod mailbox;
mod message;
mod metrics;
mod queue;
pub mod reason;
mod retained;
mod retry;
mod router;
mod session;
mod shared;
mod subscription;
pub mod transport;
mod will;

pub use adapter::{Adapter, Deps};
pub use config::{Config, DeniedPublish, ProxyProtocol, Refusals, Transport, WebSocket};
pub use machine::Settings;
pub use transport::Listener;

#[cfg(test)]
mod start;

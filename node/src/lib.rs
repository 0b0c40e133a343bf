//! The platform as one process: configuration, data folder, wiring and life cycle. No product logic.
//!
//! **Invariants:** [`Node::open`] is the only function that knows every service, and all failures of start-up are in it; nothing is
//! written before every listener has its port; services meet through the hub alone, in this process or over sockets.

mod admin;
pub mod config;
mod data;
mod error;
mod listeners;
mod memory;
mod news;
mod node;
mod ops;
mod services;
mod storage;

pub use config::{Config, Flags};
pub use error::Error;
pub use listeners::Addresses;
pub use memory::return_large_memory;
pub use node::Node;
pub use services::HubMode;

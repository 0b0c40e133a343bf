//! The platform as one process, or a slice of it: configuration, data folder, wiring and life cycle. No product logic.
//!
//! **Invariants:** [`Node::open`] is the only function that knows every service, and all failures of start-up are in it; nothing is
//! written before every listener has its port; services meet through the hub alone, in this process or over sockets; a slice of a
//! platform makes nothing that is missing, which is [`migrate`]'s.

mod admin;
pub mod config;
mod data;
mod databases;
mod edges;
mod error;
mod files;
mod health;
mod keys;
mod life;
mod listeners;
mod migrate;
mod news;
mod node;
mod ops;
mod roles;
mod services;
mod storage;
mod traces;

pub use config::{Config, Flags, SliceFlags};
pub use error::Error;
pub use listeners::Addresses;
pub use migrate::migrate;
pub use node::Node;
pub use roles::{Role, Shape};

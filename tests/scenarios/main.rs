//! The platform from the outside: one module per promise, each scenario whole and over sockets.

#![allow(clippy::unwrap_used, missing_docs)]

mod clients;
mod denials;
mod first_message;
mod grpc;
mod mosquitto;
mod wire;

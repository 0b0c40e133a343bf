//! The platform from the outside: one module per promise, each scenario whole and over sockets.

#![allow(clippy::unwrap_used, missing_docs)]

mod clients;
mod connections;
mod delivery;
mod denials;
mod first_message;
mod grpc;
mod half_finished;
mod hostile;
mod http_publish;
mod isolation;
mod lists;
mod makes;
mod mosquitto;
mod not_offered;
mod refusals;
mod replays;
mod retained;
mod revocation;
mod rfc8428;
mod sessions;
mod shared;
mod slow_subscriber;
mod stalled;
mod standing;
mod subject;
mod traces;
mod transports;
mod wills;
mod wire;
mod wrong_requests;

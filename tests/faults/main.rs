//! What the platform promises, held to when it is killed, full, cut apart, or on a disk that fails. The ledger is the judge.
//!
//! The platform is a process of its own; nothing reaches it but signals, sockets and its files.

#![allow(clippy::unwrap_used, missing_docs)]

mod estate;
mod fsync;
mod full;
mod kill;
mod liar;
mod platform;
mod quota;
mod restart;
mod sessions;
mod shared;
mod split;
mod trace;
mod trial;

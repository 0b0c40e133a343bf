//! The edge from outside: HTTP in, what reaches the services behind it, and how their answers come back.

#![allow(clippy::unwrap_used)]

mod platform;
mod refusals;
mod requests;

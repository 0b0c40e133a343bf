//! The client commands of the binary: what `trunkline` does against a platform that runs.
//!
//! It speaks to the platform as any tool outside does, over HTTP and MQTT, with the words of its public interfaces.
//!
//! **Invariants:** no service is known here; what is printed holds no secret but that of the client that was made for the demo.

mod api;
mod demo;
mod doctor;
mod error;
mod login;
mod mqtt;
mod transcript;

pub use demo::{Demo, demo};
pub use doctor::{Doctor, doctor};
pub use error::Error;

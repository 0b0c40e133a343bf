//! What tests share: databases and folders of their own, clients of the protocols, waiting without sleeping, and the tools of
//! other makers.
//!
//! It is a dev-dependency only. Everything here panics with the mend instead of returning errors: a test that lacks
//! what it needs must fail, and has nothing better to do.
//!
//! **Invariant:** nothing here stands in for a part of the platform; what tests run is the real thing.

pub mod collector;
pub mod http;
pub mod mqtt;

mod authority;
mod nats;
mod postgres;
mod proxy;
mod server;
mod tool;
mod wait;

pub use authority::{Authority, Certificate};
pub use collector::Collector;
pub use nats::Nats;
pub use postgres::{Database, Postgres, TableLock};
pub use proxy::Proxy;
pub use server::PostgresServer;
pub use tempfile::TempDir;
pub use tool::tool;
pub use wait::{throughout, until, until_some};

/// An empty folder that is removed when it is dropped.
///
/// # Panics
///
/// If the system's folder for temporary files cannot be written.
#[must_use]
pub fn free_dir() -> TempDir {
    tempfile::Builder::new()
        .prefix("trunkline-test-")
        .tempdir()
        .expect("tests write to the folder for temporary files; set TMPDIR to one that can be written")
}

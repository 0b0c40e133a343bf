//! What an operator may say about the embedded bus.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::envelope::{ENVELOPE_OVERHEAD_BYTES_MAX, PAYLOAD_BYTES_DEFAULT, PAYLOAD_BYTES_MAX};
use crate::log::Tier;

/// Shards of a new log unless the configuration says otherwise.
pub const SHARDS_DEFAULT: u16 = 4;
/// Most shards that a log may be made with.
pub const SHARDS_MAX: u16 = 64;

const MIB: u64 = 1024 * 1024;
const QUEUE_BYTES_MIN: u64 = 4 * MIB;

/// Configuration of the embedded bus. Every value has a default; unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Shards, 1 to [`SHARDS_MAX`]. When absent, a new log is made with [`SHARDS_DEFAULT`] and one that exists keeps its number; a
    /// number other than that of a log that exists is refused.
    pub shards: Option<u16>,
    /// What an acknowledgement promises: `synced` (default) or `written`, which is faster and does not survive a power cut.
    pub tier: ConfiguredTier,
    /// Envelope bytes that the log may hold; default 10 GiB.
    pub bytes_max: u64,
    /// Envelope bytes that one domain may hold; default 1 GiB.
    pub domain_bytes_max: u64,
    /// How long messages are kept that every required consumer is done with, in seconds; default 86,400.
    pub keep_seconds: u64,
    /// Free bytes on the disk below which appends are refused; default 256 MiB.
    pub disk_free_bytes_min: u64,
    /// Largest payload in bytes, at most 1,000,000; default 256 KiB.
    pub payload_bytes_max: usize,
    /// Bytes that may wait to be committed, bookkeeping of 1 KiB an entry included, at least 4 MiB; default 16 MiB.
    pub queue_bytes_max: u64,
    /// Bytes of the newest messages kept in memory for consumers that keep up, in all; default 16 MiB.
    pub ring_bytes_max: usize,
}

/// The tiers that an embedded log can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfiguredTier {
    /// See [`Tier::Written`].
    Written,
    /// See [`Tier::Synced`].
    Synced,
}

impl From<ConfiguredTier> for Tier {
    fn from(tier: ConfiguredTier) -> Self {
        match tier {
            ConfiguredTier::Written => Self::Written,
            ConfiguredTier::Synced => Self::Synced,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: None,
            tier: ConfiguredTier::Synced,
            bytes_max: 10 * 1024 * MIB,
            domain_bytes_max: 1024 * MIB,
            keep_seconds: 86_400,
            disk_free_bytes_min: 256 * MIB,
            payload_bytes_max: PAYLOAD_BYTES_DEFAULT,
            queue_bytes_max: 16 * MIB,
            ring_bytes_max: 16 * 1024 * 1024,
        }
    }
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// One sentence that names the key and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if let Some(shards) = self.shards
            && !(1..=SHARDS_MAX).contains(&shards)
        {
            return Err(format!("`shards` is {shards} and may be 1 to {SHARDS_MAX}"));
        }
        if self.payload_bytes_max > PAYLOAD_BYTES_MAX {
            return Err(format!(
                "`payload_bytes_max` is {} and may be {PAYLOAD_BYTES_MAX}",
                self.payload_bytes_max
            ));
        }
        if self.queue_bytes_max < QUEUE_BYTES_MIN || self.queue_bytes_max > u64::from(u32::MAX) {
            return Err(format!(
                "`queue_bytes_max` is {} and may be {QUEUE_BYTES_MIN} to {}",
                self.queue_bytes_max,
                u32::MAX
            ));
        }
        Ok(())
    }

    /// How long committed messages are kept.
    pub const fn keep(&self) -> Duration {
        Duration::from_secs(self.keep_seconds)
    }

    /// Largest encoded envelope that can ever be taken.
    pub(super) fn entry_bytes_max(&self) -> u64 {
        let by_size = (self.payload_bytes_max + ENVELOPE_OVERHEAD_BYTES_MAX) as u64;
        by_size.min(self.bytes_max).min(self.domain_bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_check() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        let config = Config {
            shards: Some(0),
            ..Config::default()
        };
        assert!(config.check().unwrap_err().starts_with("`shards` is 0"));
    }
}

//! What an operator may say about the bus on NATS.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::embedded::{ConfiguredTier, SHARDS_MAX};
use crate::envelope::{ENVELOPE_OVERHEAD_BYTES_MAX, PAYLOAD_BYTES_DEFAULT, PAYLOAD_BYTES_MAX};

const MIB: u64 = 1024 * 1024;
const QUEUE_BYTES_MIN: u64 = 4 * MIB;
/// Longest prefix of stream names, in characters.
const PREFIX_CHARS_MAX: usize = 32;

/// Configuration of the bus on NATS. Every value has a default; unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// Servers of one cluster, `nats://host:port` or `tls://host:port`; default `nats://127.0.0.1:4222`.
    pub urls: Vec<String>,
    /// User name, of letters, digits, `_` and `-`; goes with `password` or `password_file`. Default none.
    pub user: Option<String>,
    /// Password of `user`. Default none; prefer `password_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// File whose first line is the password of `user`. Default none.
    pub password_file: Option<PathBuf>,
    /// File of NATS credentials (JWT and seed), instead of a user. Default none.
    pub credentials_file: Option<PathBuf>,
    /// Certificates (PEM) that servers are verified with, beside those of the system. Default none.
    pub tls_ca: Option<PathBuf>,
    /// Our own certificate (PEM), for servers that verify clients; goes with `tls_key`. Default none.
    pub tls_certificate: Option<PathBuf>,
    /// The private key (PEM) of `tls_certificate`. Default none.
    pub tls_key: Option<PathBuf>,
    /// What names of streams and subjects begin with: letters, digits, `_` and `-`; default `trunkline`.
    pub prefix: String,
    /// Shards of a new message log, 1 to [`SHARDS_MAX`]; default 4. A log that exists keeps its number.
    pub shards: Option<u16>,
    /// Hosts that hold each stream: 1 (default), 3 or 5.
    pub replicas: u8,
    /// Envelope bytes that the message log may hold; default 10 GiB.
    pub bytes_max: u64,
    /// Envelope bytes that one domain may hold; default 1 GiB.
    pub domain_bytes_max: u64,
    /// How long messages are kept that every required consumer is done with, in seconds; default 86,400.
    pub keep_seconds: u64,
    /// Largest payload in bytes, at most 1,000,000; default 256 KiB.
    pub payload_bytes_max: usize,
    /// Bytes that may wait for NATS' acknowledgement, bookkeeping of 1 KiB an entry included, at least 4 MiB; default 16 MiB.
    pub queue_bytes_max: u64,
    /// Bytes of the newest messages kept in memory for consumers that keep up, in all; default 16 MiB.
    pub ring_bytes_max: usize,
    /// Monitoring addresses (`http://host:port`) of every server that holds a stream: what proves, at start and after each break of the
    /// connection, that they sync each write. Default none, and then the tier is `written`.
    pub monitoring_urls: Vec<String>,
    /// The tier that acknowledgements must have; what the servers cannot give is refused at start. Default: what they give.
    pub tier: Option<ConfiguredTier>,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            urls: vec!["nats://127.0.0.1:4222".to_owned()],
            user: None,
            password: None,
            password_file: None,
            credentials_file: None,
            tls_ca: None,
            tls_certificate: None,
            tls_key: None,
            prefix: "trunkline".to_owned(),
            shards: None,
            replicas: 1,
            bytes_max: 10 * 1024 * MIB,
            domain_bytes_max: 1024 * MIB,
            keep_seconds: 86_400,
            payload_bytes_max: PAYLOAD_BYTES_DEFAULT,
            queue_bytes_max: 16 * MIB,
            ring_bytes_max: 16 * 1024 * 1024,
            monitoring_urls: Vec::new(),
            tier: None,
        }
    }
}

impl NatsConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// One sentence that names the key and what would be right.
    pub fn check(&self) -> Result<(), String> {
        self.check_identity()?;
        if self.prefix.len() > PREFIX_CHARS_MAX || !is_token(&self.prefix) {
            return Err(format!(
                "`prefix` may be 1 to {PREFIX_CHARS_MAX} letters, digits, `_` and `-`"
            ));
        }
        if !matches!(self.replicas, 1 | 3 | 5) {
            return Err(format!("`replicas` is {} and may be 1, 3 or 5", self.replicas));
        }
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

    fn check_identity(&self) -> Result<(), String> {
        if self.urls.is_empty() {
            return Err("`urls` names no server".to_owned());
        }
        if self.password.is_some() && self.password_file.is_some() {
            return Err("give `password` or `password_file`, not both".to_owned());
        }
        let has_password = self.password.is_some() || self.password_file.is_some();
        if self.user.is_some() != has_password {
            return Err("`user` and its `password` or `password_file` go together".to_owned());
        }
        if self.user.as_deref().is_some_and(|user| !is_token(user)) {
            return Err("`user` may have letters, digits, `_` and `-`".to_owned());
        }
        if self.user.is_some() && self.credentials_file.is_some() {
            return Err("give `user` or `credentials_file`, not both".to_owned());
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return Err("`tls_certificate` and `tls_key` go together".to_owned());
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

/// Whether `text` can stand in a subject as it is.
fn is_token(text: &str) -> bool {
    let may_stand = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '-';
    !text.is_empty() && text.chars().all(may_stand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_check() {
        assert_eq!(NatsConfig::default().check(), Ok(()));
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        let config = NatsConfig {
            replicas: 2,
            ..NatsConfig::default()
        };
        assert_eq!(config.check(), Err("`replicas` is 2 and may be 1, 3 or 5".to_owned()));
        let config = NatsConfig {
            user: Some("adapter".to_owned()),
            ..NatsConfig::default()
        };
        assert!(config.check().unwrap_err().contains("go together"));
    }
}

//! Why the bus on NATS cannot be opened or provisioned: one sentence each, and whether waiting may help.

use uuid::Uuid;

use crate::log::Tier;

/// Why the bus could not be opened or provisioned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NatsError {
    /// The configuration is wrong.
    #[error("the configuration of NATS is wrong: {0}")]
    Config(String),
    /// A file that the configuration names cannot be read.
    #[error("the file `{file}` that the configuration of NATS names cannot be used: {cause}")]
    File {
        /// Its path.
        file: String,
        /// What the operating system says.
        cause: String,
    },
    /// No server answers.
    #[error("NATS at {urls} cannot be reached: {cause}")]
    Unreachable {
        /// Where it was looked for.
        urls: String,
        /// What failed.
        cause: String,
    },
    /// The server answers, and one step failed in a way that may pass.
    #[error("NATS did not do its part of {step}: {cause}")]
    Failed {
        /// What was being done.
        step: &'static str,
        /// What failed.
        cause: String,
    },
    /// The server does not let us in, or does not let us do what we must.
    #[error("NATS refuses us: {0}")]
    Refused(String),
    /// The server is older than what we need.
    #[error("NATS has version {version} and must have {major}.{minor} or later", major = super::VERSION_MIN.0, minor = super::VERSION_MIN.1)]
    TooOld {
        /// What it says it is.
        version: String,
    },
    /// The server or the account has no JetStream.
    #[error("JetStream is not enabled on NATS, or not for this account; start nats-server with `-js`")]
    NoJetStream,
    /// A stream is not there.
    #[error("the stream `{stream}` is missing on NATS; run `trunkline migrate` first")]
    Missing {
        /// Its name.
        stream: String,
    },
    /// A stream belongs to somebody else.
    #[error(
        "the stream `{stream}` on NATS belongs to platform {found}, and this is platform {expected}; choose another prefix"
    )]
    OtherPlatform {
        /// Its name.
        stream: String,
        /// Whose it is, as the stream says.
        found: String,
        /// Who we are.
        expected: Uuid,
    },
    /// A stream is of a newer format.
    #[error(
        "the stream `{stream}` on NATS has format {found}, and this version reads {expected}; run the newer version"
    )]
    Newer {
        /// Its name.
        stream: String,
        /// Its format.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// A stream is configured in a way that breaks promises.
    #[error("the stream `{stream}` on NATS cannot be used: {why}")]
    Incompatible {
        /// Its name.
        stream: String,
        /// What is wrong, and what it should be.
        why: String,
    },
    /// The configured tier cannot be given.
    #[error("the tier `{wanted}` is configured and NATS gives `{given}`: {why}")]
    Tier {
        /// What is configured.
        wanted: Tier,
        /// What is proven.
        given: Tier,
        /// Why no more is proven.
        why: String,
    },
}

impl NatsError {
    /// Whether the same call may succeed later without anybody changing a configuration.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Failed { .. })
    }
}

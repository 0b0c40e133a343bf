//! Why a process does not start, or ends: one sentence each, naming the cause and the mend.

/// A failure of start-up or life.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error("the configuration is wrong: {0}")]
    Configuration(String),
    /// An address cannot be listened on.
    #[error(
        "{name} cannot listen on {address}: {cause}; choose another with --{name} ADDR:PORT, or port 0 for a free one"
    )]
    Listen {
        /// The listener's name, also that of its flag.
        name: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// What the operating system says.
        cause: String,
    },
    /// The data folder cannot be used.
    #[error("the data folder {folder} cannot be used: {cause}")]
    Data {
        /// Its path.
        folder: String,
        /// The cause with its mend.
        cause: String,
    },
    /// A key of the platform cannot be read.
    #[error("the key {file} cannot be used: {cause}; restore it from a backup, without it nobody can be recognised")]
    Key {
        /// Its path.
        file: String,
        /// The cause.
        cause: String,
    },
    /// A part of the platform cannot be opened.
    #[error("{part} cannot be opened: {cause}")]
    Part {
        /// The part's name.
        part: &'static str,
        /// What it says.
        cause: String,
    },
    /// The first administrator cannot be made.
    #[error("the first administrator cannot be made: {0}")]
    Admin(String),
    /// The log failed: nothing more is acknowledged, and the process ends.
    #[error("the message log failed and nothing more can be acknowledged: {0}; check the disk and start again")]
    Log(String),
    /// Another process serves `auth` now.
    #[error(
        "another process serves auth now, and only one may at a time; this one ends, and may be started again to wait its turn"
    )]
    Deposed,
    /// A task of the platform ended by itself.
    #[error("{part} ended by itself: {cause}")]
    Ended {
        /// The part's name.
        part: &'static str,
        /// What it says.
        cause: String,
    },
}

impl Error {
    /// Exit code of the process: 2 when it could not start, 1 when it failed later.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_)
            | Self::Listen { .. }
            | Self::Data { .. }
            | Self::Key { .. }
            | Self::Part { .. }
            | Self::Admin(_) => 2,
            Self::Log(_) | Self::Deposed | Self::Ended { .. } => 1,
        }
    }

    /// For `map_err`: names the part that cannot be opened.
    pub(crate) fn part<E: std::error::Error>(part: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Part {
            part,
            cause: chain(&error),
        }
    }
}

/// An error with its causes in one line. A cause that repeats what was said is left out.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text += &format!(": {words}");
        }
        source = cause.source();
    }
    text
}

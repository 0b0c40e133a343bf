//! Why the log cannot go on.

use std::io;

use super::store::{self, is_disk_full};
use super::{JOURNAL, OpenError};

/// What the database or the journal says.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Of the database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Of the journal.
    #[error("{JOURNAL}: {0}")]
    Journal(io::Error),
}

impl Failure {
    /// Whether the disk has no room, which a rollback mends.
    pub(super) fn is_disk_full(&self) -> bool {
        match self {
            Self::Store(cause) => is_disk_full(cause),
            Self::Journal(cause) => matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded),
        }
    }

    /// The same for whoever opens the log.
    pub(super) fn into_open_error(self) -> OpenError {
        let (file, cause) = match self {
            Self::Store(cause) => (super::FILE, cause.to_string()),
            Self::Journal(cause) => (JOURNAL, cause.to_string()),
        };
        OpenError::Unusable { file, cause }
    }
}

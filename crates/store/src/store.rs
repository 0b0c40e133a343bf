//! What every message store promises.

mod keys;
mod open;
mod postgres;
mod reading;
mod refusal;
mod row;
mod sqlite;
mod statement;

use async_trait::async_trait;

use crate::{LogPosition, Page, Query, StoredRecord, UnreadableEntry};

pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;

/// Bytes of text after which a page ends early, so that it fits a gRPC message of 4 MiB with any one record.
pub const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Rows of one shard, and how far that shard is stored once they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch<'a> {
    /// The consumer group that stores.
    pub group: &'a str,
    /// The shard that it has read.
    pub log_shard: u16,
    /// The last entry that the batch covers.
    pub position: LogPosition,
    /// The records of the entries up to there.
    pub records: &'a [StoredRecord],
    /// Those of the entries that could not be read.
    pub unreadable: &'a [UnreadableEntry],
}

/// What storing a batch changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inserted {
    /// Rows that were not there before.
    pub rows: u64,
}

/// A database that keeps messages. Two implementations: [`SqliteStore`] and [`PostgresStore`].
#[async_trait]
pub trait MessageStore: Send + Sync + 'static {
    /// Stores a batch in one transaction, durably once it returns. Records that are stored already are left as they are; the position
    /// becomes that of the batch, also backwards: a log that was restored from a backup is read again from where it stands.
    ///
    /// Not cancel safe in its answer: dropped, the batch is stored whole or not at all, and storing it again is harmless.
    ///
    /// # Errors
    /// [`Error::Refused`] when the database will not take one of the records, whatever is tried; nothing of the batch is stored then.
    /// Any other may pass with time.
    async fn insert(&self, batch: &Batch<'_>) -> Result<Inserted, Error>;

    /// How far a group has stored a shard; `None` before its first batch.
    async fn position(&self, group: &str, log_shard: u16) -> Result<Option<LogPosition>, Error>;

    /// Whether the database answers, in good time.
    async fn probe(&self) -> Result<(), Error>;

    /// Reads a page. A channel without records gives an empty one. Records and total are of one moment.
    async fn read(&self, query: &Query) -> Result<Page, Error>;
}

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not do it; trying again later may succeed.
    #[error("the message store could not {operation}")]
    Database {
        /// What it was to do.
        operation: &'static str,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The database did not do it in the time that it has; it may do less at once.
    #[error("the message store took too long to {operation}")]
    TooSlow {
        /// What it was to do.
        operation: &'static str,
    },
    /// The database will not take a record of the batch as it is.
    #[error("the message store refuses a record")]
    Refused {
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// The server could not be used, or its schema is not of this version.
    #[error("{0}")]
    Server(#[source] trunkline_db::Error),
    /// The file was written by a later version.
    #[error("the message store has format {found}, this version knows up to {known}")]
    NewerFormat {
        /// Format of the file.
        found: i64,
        /// Latest format that this version knows.
        known: i64,
    },
}

impl Error {
    /// Names the operation in which a driver's error came.
    fn during(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
        move |source| Error::Database { operation, source }
    }

    /// The same for the statements that hold records: they may be refused for what the records are.
    fn while_storing(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
        move |source| {
            if refusal::is_of_content(&source) {
                Error::Refused { source }
            } else if refusal::is_too_slow(&source) {
                Error::TooSlow { operation }
            } else {
                Error::Database { operation, source }
            }
        }
    }
}

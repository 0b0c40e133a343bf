//! The message store: what was measured and said on every channel, kept once and read in pages.
//!
//! Owns: the rows of stored records, how far each consumer group has stored the log, and the keys that make storing idempotent. Does
//! not own: decoding of payloads, who may read, or how a page looks on the wire.
//!
//! There is one implementation per database behind [`MessageStore`], because time series are where databases differ; [`SqliteStore`]
//! is the embedded one, [`PostgresStore`] that of the split platform.
//!
//! - **Invariant:** a record's key is (domain, channel, time, message id, index in pack); storing it again changes nothing.
//! - **Invariant:** rows and the position of the group that stored them commit together, so that they agree after any crash.
//! - **Invariant:** the store never decodes a payload and never drops one.

mod query;
mod record;
mod store;

pub use query::{Cursor, Filter, LimitOutOfRange, Order, Page, PageLimit, Query, TOTAL_MAX};
pub use record::{LogPosition, Origin, Protocol, PublisherKind, StoredRecord, UnreadableEntry};
pub use store::{Batch, Error, Inserted, MessageStore, PAGE_BYTES_MAX, PostgresStore, SqliteStore};

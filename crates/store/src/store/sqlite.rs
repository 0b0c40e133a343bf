//! The message store on SQLite.
//!
//! Why the rows lie as they do (schema/sqlite_0001_messages.sql): clustering the rows themselves by channel and time would spread
//! each batch over as many pages as it has channels, with the payloads on them. Here a batch appends its rows and touches only the
//! narrow index, whose pages stay cached; reading the latest of a channel walks the end of the index and looks up as many rows as the
//! page has. Both cost the same at a million rows as at a thousand.

use std::collections::hash_map::Entry;
use std::path::Path;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use sqlx::query::QueryScalar;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection};
use sqlx::{Arguments as _, AssertSqlSafe, SqlitePool};
use trunkline_core::{ChannelId, DomainId};

use super::keys::{ChannelKeys, Keys};
use super::open::{self, Pools};
use super::reading::reading;
use super::{Batch, Error, Inserted, MessageStore, PAGE_BYTES_MAX};
use super::{row, statement};
use crate::query::KeyRange;
use crate::{Cursor, Filter, LogPosition, Order, Page, Protocol, Query, StoredRecord, TOTAL_MAX, UnreadableEntry};

/// Messages in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    /// The writer connection is single: SQLite allows one.
    writer: SqlitePool,
    readers: SqlitePool,
    channel_keys: ChannelKeys,
}

impl SqliteStore {
    /// Opens the store in a file, making or updating it as needed.
    ///
    /// # Errors
    /// When the file cannot be opened or written, or is of a later version.
    pub async fn open(path: &Path) -> Result<SqliteStore, Error> {
        let Pools { writer, readers } = open::open(path).await?;
        Ok(SqliteStore {
            writer,
            readers,
            channel_keys: ChannelKeys::default(),
        })
    }

    /// Waits for what is under way and closes the file. Later calls fail.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

#[async_trait]
impl MessageStore for SqliteStore {
    async fn insert(&self, batch: &Batch<'_>) -> Result<Inserted, Error> {
        let mut keys = self.channel_keys.known(batch.records);
        let mut transaction = self
            .writer
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(Error::during("begin to store"))?;
        make_missing_keys(&mut transaction, &mut keys, batch.records)
            .await
            .map_err(Error::during("find channels"))?;
        let rows = insert_records(&mut transaction, &keys, batch.records)
            .await
            .map_err(Error::while_storing("store records"))?;
        for entry in batch.unreadable {
            insert_unreadable(&mut transaction, entry)
                .await
                .map_err(Error::during("store unreadable entries"))?;
        }
        upsert_position(&mut transaction, batch)
            .await
            .map_err(Error::during("store a position"))?;
        transaction.commit().await.map_err(Error::during("commit"))?;
        self.channel_keys.remember(keys);
        Ok(Inserted { rows })
    }

    async fn position(&self, group: &str, log_shard: u16) -> Result<Option<LogPosition>, Error> {
        let row: Option<(i64, i64)> = sqlx::query_as(statement::SELECT_POSITION)
            .bind(group)
            .bind(log_shard)
            .fetch_optional(&self.readers)
            .await
            .map_err(Error::during("read a position"))?;
        Ok(row.map(|(incarnation, sequence)| LogPosition {
            incarnation,
            sequence: sequence.cast_unsigned(),
        }))
    }

    async fn probe(&self) -> Result<(), Error> {
        let probe = sqlx::query("SELECT 1").execute(&self.readers);
        probe.await.map(drop).map_err(Error::during("answer"))
    }

    async fn read(&self, query: &Query) -> Result<Page, Error> {
        read(&self.readers, query).await
    }
}

reading!(SqlitePool, SqliteConnection, SqliteArguments, row::read_sqlite, "BEGIN");

/// Completes the keys of the records' channels, making those that are missing.
async fn make_missing_keys(
    connection: &mut SqliteConnection,
    keys: &mut Keys,
    records: &[StoredRecord],
) -> Result<(), sqlx::Error> {
    for origin in records.iter().map(|record| &record.origin) {
        let channel = (origin.domain_id, origin.channel_id);
        if let Entry::Vacant(missing) = keys.entry(channel) {
            missing.insert(channel_key(connection, channel).await?);
        }
    }
    Ok(())
}

async fn channel_key(connection: &mut SqliteConnection, channel: (DomainId, ChannelId)) -> Result<i64, sqlx::Error> {
    let of_channel = |statement: &'static str| -> QueryScalar<'_, Sqlite, i64, SqliteArguments> {
        sqlx::query_scalar(statement)
            .bind(channel.0.uuid())
            .bind(channel.1.uuid())
    };
    match of_channel(statement::SELECT_CHANNEL)
        .fetch_optional(&mut *connection)
        .await?
    {
        Some(key) => Ok(key),
        None => of_channel(statement::INSERT_CHANNEL).fetch_one(connection).await,
    }
}

/// Inserts the records that are not there and counts them.
async fn insert_records(
    connection: &mut SqliteConnection,
    keys: &Keys,
    records: &[StoredRecord],
) -> Result<u64, sqlx::Error> {
    let (mut rows, mut rest) = (0, records);
    for (count, text) in statement::INSERT_RECORDS.into_iter().zip(&*statement::INSERTS) {
        while let Some((some, others)) = rest.split_at_checked(count) {
            let mut query = sqlx::query(AssertSqlSafe(text.clone()));
            for record in some {
                let channel = (record.origin.domain_id, record.origin.channel_id);
                query = row::bind(query, keys[&channel], record);
            }
            rows += query.execute(&mut *connection).await?.rows_affected();
            rest = others;
        }
    }
    Ok(rows)
}

async fn insert_unreadable(connection: &mut SqliteConnection, entry: &UnreadableEntry) -> Result<(), sqlx::Error> {
    let insert = sqlx::query(statement::INSERT_UNREADABLE)
        .bind(entry.log_position.incarnation)
        .bind(entry.log_shard)
        .bind(entry.log_position.sequence.cast_signed())
        .bind(&entry.error);
    insert.execute(connection).await.map(drop)
}

async fn upsert_position(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    let upsert = sqlx::query(statement::UPSERT_POSITION)
        .bind(batch.group)
        .bind(batch.log_shard)
        .bind(batch.position.incarnation)
        .bind(batch.position.sequence.cast_signed());
    upsert.execute(connection).await.map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const POSITION: LogPosition = LogPosition {
        incarnation: 1,
        sequence: 1,
    };

    async fn open() -> (SqliteStore, TempDir) {
        let directory = TempDir::new().unwrap();
        let store = SqliteStore::open(&directory.path().join("messages.db")).await.unwrap();
        (store, directory)
    }

    async fn insert(store: &SqliteStore, unreadable: &[UnreadableEntry]) -> Result<Inserted, Error> {
        let batch = Batch {
            group: "writer",
            log_shard: 3,
            position: POSITION,
            records: &[],
            unreadable,
        };
        store.insert(&batch).await
    }

    #[tokio::test]
    async fn a_commit_that_fails_keeps_no_later_batch_out() {
        let (store, _directory) = open().await;
        let mut writer = store.writer.acquire().await.unwrap();
        writer.lock_handle().await.unwrap().set_commit_hook(|| false);
        drop(writer);
        insert(&store, &[]).await.unwrap_err();
        insert(&store, &[]).await.unwrap();
        assert_eq!(store.position("writer", 3).await.unwrap(), Some(POSITION));
    }

    #[tokio::test]
    async fn a_full_disk_keeps_no_later_batch_out() {
        let (store, _directory) = open().await;
        let set = sqlx::raw_sql("PRAGMA max_page_count = 1");
        set.execute(&store.writer).await.unwrap();
        let entry = UnreadableEntry {
            log_shard: 3,
            log_position: POSITION,
            error: "x".repeat(1 << 20),
        };
        insert(&store, std::slice::from_ref(&entry)).await.unwrap_err();
        insert(&store, &[entry]).await.unwrap();
    }
}

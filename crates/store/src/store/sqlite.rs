//! The message store on SQLite.
//!
//! Why the rows lie as they do (schema/sqlite_0001_messages.sql): clustering the rows themselves by channel and time would spread
//! each batch over as many pages as it has channels, with the payloads on them. Here a batch appends its rows and touches only the
//! narrow index, whose pages stay cached; reading the latest of a channel walks the end of the index and looks up as many rows as the
//! page has. Both cost the same at a million rows as at a thousand.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use sqlx::query::QueryScalar;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection};
use sqlx::{Arguments as _, AssertSqlSafe, SqlitePool};
use trunkline_core::{ChannelId, DomainId};

use super::open::{self, Pools};
use super::{Batch, Error, Inserted, MessageStore, PAGE_BYTES_MAX};
use super::{row, statement};
use crate::query::KeyRange;
use crate::{Cursor, Filter, LogPosition, Order, Page, Protocol, Query, StoredRecord, TOTAL_MAX, UnreadableEntry};

/// Channels whose key is remembered; beyond, the memory starts anew.
const CHANNEL_KEYS_MAX: usize = 100_000;

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

type Keys = HashMap<(DomainId, ChannelId), i64>;

/// Keys of channels that are committed.
#[derive(Debug, Default)]
struct ChannelKeys(Mutex<Keys>);

impl ChannelKeys {
    /// Those of the records' channels that are known.
    fn known(&self, records: &[StoredRecord]) -> Keys {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let channels = records
            .iter()
            .map(|record| (record.origin.domain_id, record.origin.channel_id));
        channels
            .filter_map(|channel| Some((channel, *keys.get(&channel)?)))
            .collect()
    }

    /// Remembers keys, once they are committed.
    fn remember(&self, found: Keys) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() + found.len() > CHANNEL_KEYS_MAX {
            keys.clear();
        }
        keys.extend(found);
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
            .map_err(Error::during("store records"))?;
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

    async fn read(&self, query: &Query) -> Result<Page, Error> {
        // One transaction, so that records and total are of one moment.
        let mut transaction = self.readers.begin().await.map_err(Error::during("begin to read"))?;
        let channel_key: Option<i64> = sqlx::query_scalar(statement::SELECT_CHANNEL)
            .bind(query.domain_id.uuid())
            .bind(query.channel_id.uuid())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(Error::during("find a channel"))?;
        let Some(channel_key) = channel_key else {
            return Ok(Page::default());
        };
        let (total, is_total_capped) = count(&mut transaction, channel_key, &query.filter)
            .await
            .map_err(Error::during("count records"))?;
        // Looking for records that are not there would walk the whole channel a second time.
        if !is_total_capped && query.offset >= total {
            return Ok(Page {
                total,
                ..Page::default()
            });
        }
        let (records, next) = read_records(&mut transaction, channel_key, query)
            .await
            .map_err(Error::during("read records"))?;
        transaction.commit().await.map_err(Error::during("end reading"))?;
        Ok(Page {
            records,
            total,
            is_total_capped,
            next,
        })
    }
}

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
    let mut rows = 0;
    for chunk in records.chunks(statement::RECORDS_MAX) {
        let mut query = sqlx::query(AssertSqlSafe(statement::insert_records(chunk.len())));
        for record in chunk {
            let channel = (record.origin.domain_id, record.origin.channel_id);
            query = row::bind(query, keys[&channel], record);
        }
        rows += query.execute(&mut *connection).await?.rows_affected();
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

/// The number of records that match, and whether there are more than that.
async fn count(
    connection: &mut SqliteConnection,
    channel_key: i64,
    filter: &Filter,
) -> Result<(u64, bool), sqlx::Error> {
    let arguments = match_arguments(channel_key, KeyRange::of_filter(filter), filter)?;
    let found: u32 = sqlx::query_scalar_with(statement::COUNT.as_str(), arguments)
        .fetch_one(connection)
        .await?;
    let found = u64::from(found);
    Ok((found.min(TOTAL_MAX), found > TOTAL_MAX))
}

/// The records of a page, and where the next one begins.
async fn read_records(
    connection: &mut SqliteConnection,
    channel_key: i64,
    query: &Query,
) -> Result<(Vec<StoredRecord>, Option<Cursor>), sqlx::Error> {
    let range = KeyRange::of_filter(&query.filter);
    let range = query.after.map_or(range, |cursor| range.after(cursor, query.order));
    let mut arguments = match_arguments(channel_key, range, &query.filter)?;
    let count_max = query.limit.count();
    // One more than the page may have tells whether there is a next one.
    arguments.add(count_max as i64 + 1).map_err(sqlx::Error::Encode)?;
    arguments
        .add(i64::try_from(query.offset).unwrap_or(i64::MAX))
        .map_err(sqlx::Error::Encode)?;
    let text = match query.order {
        Order::Descending => statement::SELECT_DESCENDING.as_str(),
        Order::Ascending => statement::SELECT_ASCENDING.as_str(),
    };
    let mut rows = sqlx::query_with(text, arguments).fetch(connection);
    let mut records: Vec<StoredRecord> = Vec::new();
    let mut text_bytes = 0;
    while let Some(row) = rows.try_next().await? {
        if records.len() == count_max || text_bytes >= PAGE_BYTES_MAX {
            let next = records.last().map(Cursor::of);
            return Ok((records, next));
        }
        let record = row::read(&row, query.domain_id, query.channel_id)?;
        text_bytes += record.text_bytes();
        records.push(record);
    }
    Ok((records, None))
}

/// The arguments `$1` to `$11` of the statements that match records.
fn match_arguments(channel_key: i64, range: KeyRange, filter: &Filter) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    let mut add_all = || {
        arguments.add(channel_key)?;
        for end in [range.start, range.end] {
            arguments.add(end.time)?;
            arguments.add(end.message_id.uuid())?;
            arguments.add(end.pack_index)?;
        }
        arguments.add(filter.subtopic.as_deref())?;
        arguments.add(filter.publisher_id)?;
        arguments.add(filter.protocol.map(Protocol::as_str))?;
        arguments.add(filter.name.as_deref())
    };
    add_all().map_err(sqlx::Error::Encode)?;
    Ok(arguments)
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

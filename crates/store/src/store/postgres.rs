//! The message store on Postgres.
//!
//! Rows come in by COPY, the cheapest way that the server has. COPY cannot leave out what is there already, but that is rare: position
//! and rows commit together, so only a log that went back, or a second writer, brings rows again. Then the batch is rolled back and
//! goes by way of the table `arrivals`, from where only what is new is taken, and so do those after it until one is all new.

mod copy;

use std::collections::HashSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use sqlx::Arguments as _;
use sqlx::postgres::{PgArguments, PgConnection, PgPool};
use trunkline_core::{ChannelId, DomainId};
use trunkline_db::postgres::{self, ANSWER_WAIT, Grant, Settings};
use trunkline_db::{Migrations, Step};
use uuid::Uuid;

use super::keys::{ChannelKeys, Keys};
use super::reading::reading;
use super::{Batch, Error, Inserted, MessageStore, PAGE_BYTES_MAX, refusal};
use super::{row, statement};
use crate::query::KeyRange;
use crate::{Cursor, Filter, LogPosition, Order, Page, Protocol, Query, StoredRecord, TOTAL_MAX, UnreadableEntry};
use copy::Encoder;

/// The schema, made by its owner; SQLite has its own.
const MIGRATIONS: Migrations = Migrations::without_ground(
    "messages",
    &[Step {
        name: "0001_messages",
        sqlite: "",
        postgres: include_str!("schema/postgres_0001_messages.sql"),
    }],
);

/// What a writer's database user may do.
const WRITER_GRANTS: [Grant<'static>; 5] = [
    ("INSERT", "messages"),
    ("SELECT, INSERT, DELETE", "arrivals"),
    ("SELECT, INSERT", "channels"),
    ("SELECT, INSERT, UPDATE", "positions"),
    ("INSERT", "unreadable_entries"),
];

/// What a reader's database user may do.
const READER_GRANTS: [Grant<'static>; 2] = [("SELECT", "messages"), ("SELECT", "channels")];

/// Connections that store at the same time.
const WRITERS: Settings = Settings {
    connections_max: 4,
    session: &[],
};

/// Connections that read at the same time. A page is a stretch of the index, and its statement says so in the only way that Postgres
/// listens to: the plan must not depend on what the server happens to know of the table.
const READERS: Settings = Settings {
    connections_max: 4,
    session: &[
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("enable_sort", "off"),
    ],
};

/// Bytes of rows that are sent at once.
const CHUNK_BYTES: usize = 64 * 1024;

static COPY_MESSAGES: LazyLock<String> = LazyLock::new(|| copy_into("messages"));
static COPY_ARRIVALS: LazyLock<String> = LazyLock::new(|| copy_into("arrivals"));

const TAKE_ARRIVALS: &str = "
WITH taken AS (
    DELETE FROM arrivals
    RETURNING *
)
INSERT INTO messages
SELECT *
FROM taken
ON CONFLICT DO NOTHING";

const INSERT_CHANNELS: &str = "
INSERT INTO channels (domain_id, channel_id)
SELECT *
FROM UNNEST($1, $2)
ON CONFLICT DO NOTHING";

const SELECT_CHANNELS: &str = "
SELECT domain_id, channel_id, channel_key
FROM channels
JOIN UNNEST($1, $2) AS wanted (domain_id, channel_id) USING (domain_id, channel_id)";

fn copy_into(table: &str) -> String {
    format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", copy::COLUMNS.join(", "))
}

/// Messages in one schema of a Postgres database.
#[derive(Debug)]
pub struct PostgresStore {
    writers: PgPool,
    readers: PgPool,
    channel_keys: ChannelKeys,
    /// The last batch brought rows that were there already.
    expects_duplicates: AtomicBool,
}

impl PostgresStore {
    /// Makes the schema of `platform` or brings it to the newest version, with the credentials of its owner. Two at once do it once.
    ///
    /// # Errors
    /// When the server does not let, a later version was here, or another platform is.
    pub async fn migrate(url: &str, platform: Uuid) -> Result<(), Error> {
        let migrated = postgres::migrate(url, &MIGRATIONS.of(platform)).await;
        migrated.map_err(Error::Server)
    }

    /// Lets a database user store messages, and do nothing else. The owner calls it after each [`PostgresStore::migrate`].
    ///
    /// # Errors
    /// When there is no such user, or the server does not let.
    pub async fn grant_writer(url: &str, user: &str) -> Result<(), Error> {
        let granted = postgres::grant(url, &MIGRATIONS, user, &WRITER_GRANTS).await;
        granted.map_err(Error::Server)
    }

    /// Lets a database user read messages, and do nothing else. The owner calls it after each [`PostgresStore::migrate`].
    ///
    /// # Errors
    /// When there is no such user, or the server does not let.
    pub async fn grant_reader(url: &str, user: &str) -> Result<(), Error> {
        let granted = postgres::grant(url, &MIGRATIONS, user, &READER_GRANTS).await;
        granted.map_err(Error::Server)
    }

    /// Opens the store of `platform` for whatever its user may do there.
    ///
    /// # Errors
    /// One sentence when the server does not answer, or the schema is missing, older or newer than this version, closed to the user, or
    /// another platform's.
    pub async fn open(url: &str, platform: Uuid) -> Result<PostgresStore, Error> {
        let migrations = MIGRATIONS.of(platform);
        let pool = async |settings| postgres::open(url, &migrations, settings).await.map_err(Error::Server);
        Ok(PostgresStore {
            writers: pool(WRITERS).await?,
            readers: pool(READERS).await?,
            channel_keys: ChannelKeys::default(),
            expects_duplicates: AtomicBool::new(false),
        })
    }

    /// Waits for what is under way and closes all connections. Later calls fail.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }

    /// Stores a batch; `None` when it holds rows that are there already and `way` cannot take them.
    async fn store(&self, batch: &Batch<'_>, way: Way) -> Result<Option<Inserted>, Error> {
        let mut keys = self.channel_keys.known(batch.records);
        let mut transaction = self.writers.begin().await.map_err(Error::during("begin to store"))?;
        make_missing_keys(&mut transaction, &mut keys, batch.records)
            .await
            .map_err(Error::during("find channels"))?;
        let rows = match insert_records(&mut transaction, &keys, batch.records, way).await {
            Ok(rows) => rows,
            Err(error) if way == Way::Straight && refusal::is_duplicate(&error) => return Ok(None),
            Err(error) => return Err(Error::while_storing("store records")(error)),
        };
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
        Ok(Some(Inserted { rows }))
    }

    async fn store_either_way(&self, batch: &Batch<'_>) -> Result<Inserted, Error> {
        if !self.expects_duplicates.load(Ordering::Relaxed)
            && let Some(inserted) = self.store(batch, Way::Straight).await?
        {
            return Ok(inserted);
        }
        let inserted = self
            .store(batch, Way::ByArrivals)
            .await?
            .unwrap_or(Inserted { rows: 0 });
        let has_duplicates = inserted.rows < batch.records.len() as u64;
        self.expects_duplicates.store(has_duplicates, Ordering::Relaxed);
        Ok(inserted)
    }
}

/// How rows come into their table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All or none.
    Straight,
    /// Those that are not there.
    ByArrivals,
}

#[async_trait]
impl MessageStore for PostgresStore {
    async fn insert(&self, batch: &Batch<'_>) -> Result<Inserted, Error> {
        let stored = in_time("store a batch", self.store_either_way(batch)).await;
        if matches!(stored, Err(Error::Database { .. } | Error::TooSlow { .. })) {
            self.channel_keys.forget();
        }
        stored
    }

    async fn position(&self, group: &str, log_shard: u16) -> Result<Option<LogPosition>, Error> {
        let select = sqlx::query_as(statement::SELECT_POSITION)
            .bind(group)
            .bind(i32::from(log_shard))
            .fetch_optional(&self.writers);
        let found = in_time("read a position", async {
            select.await.map_err(Error::during("read a position"))
        });
        Ok(found.await?.map(|(incarnation, sequence): (i64, i64)| LogPosition {
            incarnation,
            sequence: sequence.cast_unsigned(),
        }))
    }

    async fn probe(&self) -> Result<(), Error> {
        postgres::probe(&self.readers).await.map_err(Error::Server)
    }

    async fn read(&self, query: &Query) -> Result<Page, Error> {
        in_time("read", read(&self.readers, query)).await
    }
}

/// Waits for the server for so long and no longer.
async fn in_time<T>(operation: &'static str, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER_WAIT, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::TooSlow { operation }),
    }
}

reading!(
    PgPool,
    PgConnection,
    PgArguments,
    row::read_postgres,
    "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
);

/// Completes the keys of the records' channels, making those that are missing.
async fn make_missing_keys(
    connection: &mut PgConnection,
    keys: &mut Keys,
    records: &[StoredRecord],
) -> Result<(), sqlx::Error> {
    // Looked for before they are made, since also a row that is there already would use up a number.
    for is_to_be_made in [false, true] {
        let (domains, channels) = missing_channels(keys, records);
        if domains.is_empty() {
            return Ok(());
        }
        if is_to_be_made {
            let insert = sqlx::query(INSERT_CHANNELS).bind(&domains).bind(&channels);
            insert.execute(&mut *connection).await?;
        }
        let select = sqlx::query_as(SELECT_CHANNELS).bind(domains).bind(channels);
        let found: Vec<(Uuid, Uuid, i64)> = select.fetch_all(&mut *connection).await?;
        keys.extend(found.into_iter().map(|(domain, channel, key)| {
            let channel = (DomainId::from_uuid(domain), ChannelId::from_uuid(channel));
            (channel, key)
        }));
    }
    Ok(())
}

/// The records' channels without a key, each once.
fn missing_channels(keys: &Keys, records: &[StoredRecord]) -> (Vec<Uuid>, Vec<Uuid>) {
    let channels = records
        .iter()
        .map(|record| (record.origin.domain_id, record.origin.channel_id));
    let missing: HashSet<_> = channels.filter(|channel| !keys.contains_key(channel)).collect();
    let missing = missing.into_iter();
    missing.map(|(domain, channel)| (domain.uuid(), channel.uuid())).unzip()
}

/// Inserts the records and counts those that were not there.
async fn insert_records(
    connection: &mut PgConnection,
    keys: &Keys,
    records: &[StoredRecord],
    way: Way,
) -> Result<u64, sqlx::Error> {
    if records.is_empty() {
        return Ok(0);
    }
    let statement = match way {
        Way::Straight => COPY_MESSAGES.as_str(),
        Way::ByArrivals => COPY_ARRIVALS.as_str(),
    };
    let mut copy = connection.copy_in_raw(statement).await?;
    let mut encoder = Encoder::new();
    for record in records {
        let key = keys.get(&(record.origin.domain_id, record.origin.channel_id));
        encoder.push(*key.ok_or(sqlx::Error::RowNotFound)?, record);
        if encoder.bytes().len() >= CHUNK_BYTES {
            copy.send(encoder.bytes()).await?;
            encoder.clear();
        }
    }
    encoder.finish();
    copy.send(encoder.bytes()).await?;
    let rows = copy.finish().await?;
    match way {
        Way::Straight => Ok(rows),
        Way::ByArrivals => Ok(sqlx::query(TAKE_ARRIVALS).execute(connection).await?.rows_affected()),
    }
}

async fn insert_unreadable(connection: &mut PgConnection, entry: &UnreadableEntry) -> Result<(), sqlx::Error> {
    let insert = sqlx::query(statement::INSERT_UNREADABLE)
        .bind(entry.log_position.incarnation)
        .bind(i32::from(entry.log_shard))
        .bind(entry.log_position.sequence.cast_signed())
        .bind(&entry.error);
    insert.execute(connection).await.map(drop)
}

async fn upsert_position(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), sqlx::Error> {
    let upsert = sqlx::query(statement::UPSERT_POSITION)
        .bind(batch.group)
        .bind(i32::from(batch.log_shard))
        .bind(batch.position.incarnation)
        .bind(batch.position.sequence.cast_signed());
    upsert.execute(connection).await.map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sqlx::{AssertSqlSafe, Row as _};
    use trunkline_testkit::Postgres;

    use super::*;

    const TYPES: &str = "BIGINT, BIGINT, UUID, BIGINT, BIGINT, UUID, BIGINT, TEXT, UUID, TEXT, TEXT, BIGINT, BIGINT";
    const FILL: &str = "
        INSERT INTO messages (channel_key, time, log_incarnation, log_sequence, received_at, message_id, publisher_id, pack_index,
            log_shard, subtopic, publisher_kind, protocol, content_type)
        SELECT 1, number % 97, 1, number, 1, gen_random_uuid(), gen_random_uuid(), 0, 0, '', 'client', 'mqtt', ''
        FROM generate_series(1, 5000) AS number;
        ANALYZE messages";
    const VALUES: &str = "1, 0, gen_random_uuid(), 0, 9, gen_random_uuid(), 0, NULL, NULL, NULL, NULL, 10, 0";

    #[tokio::test]
    async fn a_page_is_one_stretch_of_the_index() {
        let database = Postgres::database().await;
        PostgresStore::migrate(database.url(), Uuid::nil()).await.unwrap();
        let store = PostgresStore::open(database.url(), Uuid::nil()).await.unwrap();
        // One channel that has all rows: the server would rather sort them than walk an index.
        sqlx::raw_sql(FILL).execute(&store.writers).await.unwrap();
        for (select, scan) in [
            (
                &*statement::SELECT_DESCENDING,
                "Index Scan Backward using messages_key on messages",
            ),
            (
                &*statement::SELECT_ASCENDING,
                "Index Scan using messages_key on messages",
            ),
        ] {
            let mut connection = store.readers.acquire().await.unwrap();
            let prepare = format!("SET plan_cache_mode = force_generic_plan; PREPARE page ({TYPES}) AS {select}");
            sqlx::raw_sql(AssertSqlSafe(prepare))
                .execute(&mut *connection)
                .await
                .unwrap();
            let explain = AssertSqlSafe(format!("EXPLAIN (COSTS OFF) EXECUTE page ({VALUES})"));
            let plan = sqlx::raw_sql(explain).fetch_all(&mut *connection).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|line| line.get(0)).collect();
            let [limit, step, condition, _filter] = &plan[..] else {
                panic!("{plan:#?}")
            };
            assert_eq!((limit.as_str(), step.trim()), ("Limit", format!("->  {scan}").as_str()));
            let stretch = "Index Cond: ((channel_key = $1) AND (ROW(\"time\", message_id, pack_index) >= ROW($2, $3, $4)) \
                AND (ROW(\"time\", message_id, pack_index) < ROW($5, $6, $7)))";
            assert_eq!(condition.trim(), stretch);
            connection.close().await.unwrap();
        }
    }
}

//! The log's SQL: one table per shard, so that every insert goes to the right edge of a tree. No decisions.

use std::path::Path;
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use trunkline_core::{DomainId, MessageId};

use crate::log::{Shard, Tier};

/// The format of the file. A file of another is refused.
pub(super) const FORMAT: i64 = 1;

/// Rows of the insert statements, largest first; every number of rows is a sum of them.
const INSERT_ROWS: [usize; 5] = [256, 64, 16, 4, 1];
const COLUMNS: usize = 5;

const META: &str = "
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS recorded (shard INTEGER PRIMARY KEY, head INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS held (
    shard INTEGER NOT NULL,
    domain BLOB NOT NULL,
    entries INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    first INTEGER NOT NULL,
    PRIMARY KEY (shard, domain)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS groups (name TEXT PRIMARY KEY, is_required INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS positions (
    name TEXT NOT NULL,
    shard INTEGER NOT NULL,
    committed INTEGER NOT NULL,
    PRIMARY KEY (name, shard)
) STRICT, WITHOUT ROWID;
";

/// One row of a shard's table.
pub(super) struct NewRow {
    pub(super) sequence: u64,
    pub(super) id: MessageId,
    pub(super) domain: DomainId,
    pub(super) appended_at: i64,
    pub(super) envelope: Vec<u8>,
}

/// One row that was removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Removed {
    pub(super) sequence: u64,
    pub(super) domain: DomainId,
    pub(super) bytes: u64,
}

/// What one domain holds in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// No entry of the domain has a lower sequence.
    pub(super) first: u64,
}

/// The writing connection. There is one: SQLite allows one writer.
pub(super) struct Store {
    connection: SqliteConnection,
    inserts: Vec<[Arc<str>; INSERT_ROWS.len()]>,
    is_in_transaction: bool,
}

/// How both connections open the file.
pub(super) fn options(path: &Path, tier: Tier) -> SqliteConnectOptions {
    let synchronous = match tier {
        Tier::Synced => SqliteSynchronous::Full,
        Tier::None | Tier::Written => SqliteSynchronous::Normal,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .page_size(4_096)
        .pragma("wal_autocheckpoint", "0")
        .pragma("cache_size", "-2000")
        .pragma("temp_store", "memory")
        .statement_cache_capacity(512)
        .disable_statement_logging()
}

fn number(value: u64) -> i64 {
    i64::try_from(value).expect("sequences and byte counts stay below 2^63")
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn domain_of(row: &sqlx::sqlite::SqliteRow, column: usize) -> Result<DomainId, sqlx::Error> {
    DomainId::from_slice(row.try_get(column)?).ok_or_else(|| sqlx::Error::Decode("a domain has 16 bytes".into()))
}

impl Store {
    /// Opens the file, making what is missing but the shards' tables.
    pub(super) async fn open(path: &Path, tier: Tier) -> Result<Self, sqlx::Error> {
        let mut connection = options(path, tier).connect().await?;
        sqlx::raw_sql(META).execute(&mut connection).await?;
        Ok(Self {
            connection,
            inserts: Vec::new(),
            is_in_transaction: false,
        })
    }

    /// Makes the tables of `shards` shards where they are missing.
    pub(super) async fn make_shards(&mut self, shards: u16) -> Result<(), sqlx::Error> {
        for shard in 0..shards {
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS log_{shard} (
                    sequence INTEGER PRIMARY KEY, id BLOB NOT NULL, domain BLOB NOT NULL, appended_at INTEGER NOT NULL,
                    envelope BLOB NOT NULL
                ) STRICT;
                CREATE UNIQUE INDEX IF NOT EXISTS log_{shard}_id ON log_{shard} (id);"
            );
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await?;
            self.inserts.push(INSERT_ROWS.map(|rows| insert_sql(shard, rows)));
        }
        Ok(())
    }

    /// A number that was kept under `name`; when there is none, keeps `fresh`.
    pub(super) async fn meta(&mut self, name: &str, fresh: i64) -> Result<i64, sqlx::Error> {
        sqlx::query("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(fresh)
            .execute(&mut self.connection)
            .await?;
        sqlx::query_scalar("SELECT value FROM meta WHERE name = ?")
            .bind(name)
            .fetch_one(&mut self.connection)
            .await
    }

    /// The head of `shard` when holdings were recorded last.
    pub(super) async fn recorded_head(&mut self, shard: Shard) -> Result<u64, sqlx::Error> {
        let head: Option<i64> = sqlx::query_scalar("SELECT head FROM recorded WHERE shard = ?")
            .bind(shard.0)
            .fetch_optional(&mut self.connection)
            .await?;
        Ok(unsigned(head.unwrap_or(0)))
    }

    /// What the domains of `shard` held when that was recorded last.
    pub(super) async fn recorded_held(&mut self, shard: Shard) -> Result<Vec<(DomainId, Held)>, sqlx::Error> {
        let rows = sqlx::query("SELECT domain, entries, bytes, first FROM held WHERE shard = ?")
            .bind(shard.0)
            .fetch_all(&mut self.connection)
            .await?;
        rows.iter().map(held_of).collect()
    }

    /// What entries after `sequence` add per domain, and the last of them.
    pub(super) async fn held_after(
        &mut self,
        shard: Shard,
        sequence: u64,
    ) -> Result<(Vec<(DomainId, Held)>, u64), sqlx::Error> {
        let sql = format!(
            "SELECT domain, count(*), sum(length(envelope)), min(sequence), max(sequence) FROM log_{shard}
             WHERE sequence > ? GROUP BY domain"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(number(sequence))
            .fetch_all(&mut self.connection)
            .await?;
        let mut last = sequence;
        for row in &rows {
            last = last.max(unsigned(row.try_get(4)?));
        }
        let held = rows.iter().map(held_of).collect::<Result<_, _>>()?;
        Ok((held, last))
    }

    /// Records what `domains` hold as of `head`. A domain that holds nothing is forgotten.
    pub(super) async fn record(
        &mut self,
        shard: Shard,
        head: u64,
        domains: &[(DomainId, Held)],
    ) -> Result<(), sqlx::Error> {
        self.begin().await?;
        for (domain, held) in domains {
            let sql = match held.entries {
                0 => "DELETE FROM held WHERE shard = ? AND domain = ?",
                _ => {
                    "INSERT INTO held (shard, domain, entries, bytes, first) VALUES (?, ?, ?, ?, ?)
                     ON CONFLICT (shard, domain) DO UPDATE
                     SET entries = excluded.entries, bytes = excluded.bytes, first = excluded.first"
                }
            };
            let mut query = sqlx::query(sql).bind(shard.0).bind(domain.as_bytes().as_slice());
            if held.entries > 0 {
                query = query
                    .bind(number(held.entries))
                    .bind(number(held.bytes))
                    .bind(number(held.first));
            }
            query.execute(&mut self.connection).await?;
        }
        sqlx::query(
            "INSERT INTO recorded (shard, head) VALUES (?, ?) ON CONFLICT (shard) DO UPDATE SET head = excluded.head",
        )
        .bind(shard.0)
        .bind(number(head))
        .execute(&mut self.connection)
        .await?;
        Ok(())
    }

    /// The highest message id of `shard`.
    pub(super) async fn id_max(&mut self, shard: Shard) -> Result<Option<MessageId>, sqlx::Error> {
        let sql = format!("SELECT id FROM log_{shard} ORDER BY id DESC LIMIT 1");
        let id: Option<Vec<u8>> = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_optional(&mut self.connection)
            .await?;
        Ok(id.and_then(|id| MessageId::from_slice(&id)))
    }

    /// Where `id` is in `shard`.
    pub(super) async fn find(&mut self, shard: Shard, id: MessageId) -> Result<Option<u64>, sqlx::Error> {
        let sql = format!("SELECT sequence FROM log_{shard} WHERE id = ?");
        let sequence: Option<i64> = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&mut self.connection)
            .await?;
        Ok(sequence.map(unsigned))
    }

    /// Inserts `rows`, whose sequences rise. Without a transaction, a single statement commits itself.
    pub(super) async fn insert(&mut self, shard: Shard, mut rows: Vec<NewRow>) -> Result<(), sqlx::Error> {
        let statements = &self.inserts[usize::from(shard.0)];
        let mut rows = rows.drain(..);
        for (size, sql) in INSERT_ROWS.iter().zip(statements) {
            while rows.len() >= *size {
                let mut query = sqlx::query(AssertSqlSafe(sql.clone()));
                for row in rows.by_ref().take(*size) {
                    query = query
                        .bind(number(row.sequence))
                        .bind(row.id.as_bytes().to_vec())
                        .bind(row.domain.as_bytes().to_vec())
                        .bind(row.appended_at)
                        .bind(row.envelope);
                }
                query.execute(&mut self.connection).await?;
            }
        }
        Ok(())
    }

    /// Whether `count` rows go in by one statement.
    pub(super) fn is_one_statement(count: usize) -> bool {
        INSERT_ROWS.contains(&count)
    }

    /// Removes up to `limit` of the oldest entries up to `through`, those only that are older than `before` if it is given.
    pub(super) async fn remove_oldest(
        &mut self,
        shard: Shard,
        through: u64,
        before: i64,
        limit: u32,
    ) -> Result<Vec<Removed>, sqlx::Error> {
        let sql = format!(
            "DELETE FROM log_{shard}
             WHERE sequence IN (SELECT sequence FROM log_{shard} WHERE sequence <= ? ORDER BY sequence LIMIT ?)
             AND appended_at < ?
             RETURNING sequence, domain, length(envelope)"
        );
        self.begin().await?;
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(number(through))
            .bind(limit)
            .bind(before)
            .fetch_all(&mut self.connection)
            .await?;
        rows.iter().map(removed_of).collect()
    }

    /// Removes up to `limit` of the oldest entries of `domain` from `first` up to `through`.
    pub(super) async fn remove_of_domain(
        &mut self,
        shard: Shard,
        domain: DomainId,
        sequences: std::ops::RangeInclusive<u64>,
        limit: u32,
    ) -> Result<Vec<Removed>, sqlx::Error> {
        let sql = format!(
            "DELETE FROM log_{shard}
             WHERE sequence IN (
                 SELECT sequence FROM log_{shard} WHERE sequence BETWEEN ? AND ? AND domain = ? ORDER BY sequence LIMIT ?
             )
             RETURNING sequence, domain, length(envelope)"
        );
        self.begin().await?;
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(number(*sequences.start()))
            .bind(number(*sequences.end()))
            .bind(domain.as_bytes().as_slice())
            .bind(limit)
            .fetch_all(&mut self.connection)
            .await?;
        rows.iter().map(removed_of).collect()
    }

    /// When the oldest entry of `shard` was appended.
    pub(super) async fn oldest_at(&mut self, shard: Shard) -> Result<Option<(u64, i64)>, sqlx::Error> {
        let sql = format!("SELECT sequence, appended_at FROM log_{shard} ORDER BY sequence LIMIT 1");
        let row = sqlx::query(AssertSqlSafe(sql))
            .fetch_optional(&mut self.connection)
            .await?;
        row.map(|row| Ok((unsigned(row.try_get(0)?), row.try_get(1)?)))
            .transpose()
    }

    /// Every group with its positions by shard.
    pub(super) async fn groups(&mut self) -> Result<Vec<(String, bool)>, sqlx::Error> {
        let rows = sqlx::query("SELECT name, is_required FROM groups ORDER BY name")
            .fetch_all(&mut self.connection)
            .await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get::<i64, _>(1)? != 0)))
            .collect()
    }

    /// Makes or changes a group.
    pub(super) async fn put_group(&mut self, name: &str, is_required: bool) -> Result<(), sqlx::Error> {
        self.begin().await?;
        sqlx::query(
            "INSERT INTO groups (name, is_required) VALUES (?, ?)
             ON CONFLICT (name) DO UPDATE SET is_required = excluded.is_required",
        )
        .bind(name)
        .bind(i64::from(is_required))
        .execute(&mut self.connection)
        .await?;
        Ok(())
    }

    /// The position of a group in `shard`.
    pub(super) async fn position(&mut self, name: &str, shard: Shard) -> Result<Option<u64>, sqlx::Error> {
        let committed: Option<i64> = sqlx::query_scalar("SELECT committed FROM positions WHERE name = ? AND shard = ?")
            .bind(name)
            .bind(shard.0)
            .fetch_optional(&mut self.connection)
            .await?;
        Ok(committed.map(unsigned))
    }

    /// Moves the position of a group.
    pub(super) async fn put_position(&mut self, name: &str, shard: Shard, committed: u64) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO positions (name, shard, committed) VALUES (?, ?, ?)
             ON CONFLICT (name, shard) DO UPDATE SET committed = excluded.committed",
        )
        .bind(name)
        .bind(shard.0)
        .bind(number(committed))
        .execute(&mut self.connection)
        .await?;
        Ok(())
    }

    /// Opens a transaction unless one is open.
    pub(super) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        if !self.is_in_transaction {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut self.connection).await?;
            self.is_in_transaction = true;
        }
        Ok(())
    }

    /// Whether something waits for a commit.
    pub(super) const fn is_in_transaction(&self) -> bool {
        self.is_in_transaction
    }

    /// Commits if a transaction is open. All that was done since the last commit is durable when this returns.
    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        if self.is_in_transaction {
            sqlx::query("COMMIT").execute(&mut self.connection).await?;
            self.is_in_transaction = false;
        }
        Ok(())
    }

    /// Undoes what was done since the last commit.
    pub(super) async fn roll_back(&mut self) -> Result<(), sqlx::Error> {
        if std::mem::take(&mut self.is_in_transaction) {
            // SQLite may have rolled back by itself, and then says that no transaction is open.
            let _ = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
        }
        sqlx::query("SELECT 1").execute(&mut self.connection).await?;
        Ok(())
    }

    /// Copies the write-ahead log into the file as far as readers allow; says whether all of it went.
    pub(super) async fn checkpoint(&mut self) -> Result<bool, sqlx::Error> {
        let row = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
            .fetch_one(&mut self.connection)
            .await?;
        let (frames, copied): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        Ok(frames == copied)
    }

    /// Makes writing down what domains hold fail from now on, also for who opens the file later.
    #[cfg(test)]
    pub(super) async fn forbid_records(&mut self) -> Result<(), sqlx::Error> {
        let sql = "CREATE TRIGGER no_records BEFORE INSERT ON recorded BEGIN SELECT RAISE(ABORT, 'forbidden'); END";
        sqlx::raw_sql(sql).execute(&mut self.connection).await.map(drop)
    }

    /// Closes the file.
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
}

/// Entries of `shard` from `from` up to before `until`, as sequence and envelope.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    shard: Shard,
    sequences: std::ops::Range<u64>,
    limit: crate::log::ReadLimit,
) -> Result<(Vec<(u64, Vec<u8>)>, bool), sqlx::Error> {
    use futures_util::TryStreamExt as _;
    let sql = format!(
        "SELECT sequence, envelope FROM log_{shard} WHERE sequence >= ? AND sequence < ? ORDER BY sequence LIMIT ?"
    );
    let rows_max = i64::try_from(limit.entries.max(1)).unwrap_or(i64::MAX);
    let mut rows = sqlx::query(AssertSqlSafe(sql))
        .bind(number(sequences.start))
        .bind(number(sequences.end))
        .bind(rows_max)
        .fetch(connection);
    let mut entries = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let envelope: Vec<u8> = row.try_get(1)?;
        bytes += envelope.len();
        if bytes > limit.bytes && !entries.is_empty() {
            return Ok((entries, true));
        }
        entries.push((unsigned(row.try_get(0)?), envelope));
    }
    let is_cut = entries.len() >= limit.entries.max(1);
    Ok((entries, is_cut))
}

fn insert_sql(shard: u16, rows: usize) -> Arc<str> {
    let row = format!("({})", ["?"; COLUMNS].join(", "));
    let values = vec![row; rows].join(", ");
    format!("INSERT INTO log_{shard} (sequence, id, domain, appended_at, envelope) VALUES {values}").into()
}

fn held_of(row: &sqlx::sqlite::SqliteRow) -> Result<(DomainId, Held), sqlx::Error> {
    let held = Held {
        entries: unsigned(row.try_get(1)?),
        bytes: unsigned(row.try_get(2)?),
        first: unsigned(row.try_get(3)?),
    };
    Ok((domain_of(row, 0)?, held))
}

fn removed_of(row: &sqlx::sqlite::SqliteRow) -> Result<Removed, sqlx::Error> {
    Ok(Removed {
        sequence: unsigned(row.try_get(0)?),
        domain: domain_of(row, 1)?,
        bytes: unsigned(row.try_get(2)?),
    })
}

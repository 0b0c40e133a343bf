//! How the message store's file is opened: durable first, and with room for the pages that every batch touches.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection, SqlitePool};

use super::Error;

/// Schema changes in their order; a file's `user_version` is how many of them it has seen. They have no twins for Postgres: a store
/// there lays its rows out in its own way.
const MIGRATIONS: [&str; 1] = [include_str!("schema/sqlite_0001_messages.sql")];

/// Connections that read at the same time.
const READERS_MAX: u32 = 4;

/// A reader that was not needed for so long is closed.
const READER_IDLE: Duration = Duration::from_secs(60);

/// How long work waits for its turn on a connection.
const TURN_WAIT: Duration = Duration::from_secs(5);

/// How long SQLite waits for a lock that another process holds, such as a backup.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Statements of a connection that stay prepared; it has fewer.
const STATEMENTS_MAX: usize = 32;

/// Page cache of the writer in KiB: the index pages of some thousand channels that send at the same time.
const WRITER_CACHE_KIB: u32 = 16 * 1024;

/// Page cache of each reader in KiB.
const READER_CACHE_KIB: u32 = 512;

/// Pages of the write-ahead log after which it is copied into the database, 32 MiB: a hot page is then copied once for many writes.
const CHECKPOINT_PAGES: u32 = 8_000;

/// The write-ahead log is cut back to this after a checkpoint.
const WAL_BYTES_MAX: u32 = 32 * 1024 * 1024;

/// The connections to one file.
pub(super) struct Pools {
    /// Single: SQLite allows one writer.
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
}

/// Opens a file, making or updating it as needed.
pub(super) async fn open(path: &Path) -> Result<Pools, Error> {
    let options = options(path);
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(TURN_WAIT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_release(|connection, _| Box::pin(is_reusable(connection)))
        .connect_with(cached(&options, WRITER_CACHE_KIB))
        .await
        .map_err(Error::during("open its file"))?;
    migrate(&writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        .acquire_timeout(TURN_WAIT)
        .idle_timeout(READER_IDLE)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_release(|connection, _| Box::pin(is_reusable(connection)))
        .connect_lazy_with(cached(&options, READER_CACHE_KIB).pragma("query_only", "ON"));
    Ok(Pools { writer, readers })
}

/// Whether a connection may be used again: not when sqlx still counts a transaction on it that SQLite has ended by itself, as it does
/// when the disk is full. No further one could begin there.
async fn is_reusable(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        // A rollback may still be under way; the answer comes after it.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// A commit returns after the write-ahead log is synced: `synchronous = NORMAL` would lose it to a power cut.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_WAIT)
        .statement_cache_capacity(STATEMENTS_MAX)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
        .pragma("journal_size_limit", WAL_BYTES_MAX.to_string())
}

fn cached(options: &SqliteConnectOptions, kib: u32) -> SqliteConnectOptions {
    options.clone().pragma("cache_size", format!("-{kib}"))
}

/// Brings the schema of the file to the latest version, in one transaction.
async fn migrate(writer: &SqlitePool) -> Result<(), Error> {
    let mut transaction = writer
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(Error::during("begin to migrate"))?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *transaction)
        .await
        .map_err(Error::during("read its format"))?;
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(Error::NewerFormat { found, known });
    }
    for migration in MIGRATIONS.into_iter().skip(usize::try_from(found).unwrap_or_default()) {
        sqlx::raw_sql(migration)
            .execute(&mut *transaction)
            .await
            .map_err(Error::during("migrate"))?;
    }
    let set_version = AssertSqlSafe(format!("PRAGMA user_version = {known}"));
    sqlx::raw_sql(set_version)
        .execute(&mut *transaction)
        .await
        .map_err(Error::during("set its format"))?;
    transaction.commit().await.map_err(Error::during("commit a migration"))
}

//! How SQLite files are opened: durable first, and small, because the whole platform on one machine opens half a dozen.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqliteConnection, SqlitePool};

use crate::Error;
use crate::migrations::Migrations;

/// Connections that read at the same time.
const READERS_MAX: u32 = 4;
/// A reader that was not needed for so long is closed.
const READER_IDLE: Duration = Duration::from_secs(60);
/// How long work waits for its turn on a connection.
const TURN_WAIT: Duration = Duration::from_secs(5);
/// How long SQLite waits for a lock that another process holds, such as a backup.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// Page cache of the writer, in KiB.
const WRITER_CACHE_KIB: u32 = 1024;
/// Page cache of each reader, in KiB.
const READER_CACHE_KIB: u32 = 512;
/// Prepared statements that each connection keeps.
const STATEMENTS_MAX: usize = 64;
/// The write-ahead log is cut back to this after a checkpoint.
const WAL_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// An open SQLite file. The writer connection is single: SQLite allows one, and a queue in front is fairer than its locks.
#[derive(Clone)]
pub(crate) struct SqliteDb {
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
}

impl SqliteDb {
    pub(crate) async fn open(path: &Path, migrations: &Migrations) -> Result<Self, Error> {
        let options = options(path);
        let mut connection = SqliteConnection::connect_with(&cached(&options, WRITER_CACHE_KIB)).await?;
        migrations.run_sqlite(&mut connection).await?;
        connection.close().await?;

        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(TURN_WAIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_release(|connection, _| Box::pin(is_reusable(connection)))
            .connect_with(cached(&options, WRITER_CACHE_KIB))
            .await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(TURN_WAIT)
            .idle_timeout(READER_IDLE)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_release(|connection, _| Box::pin(is_reusable(connection)))
            .connect_lazy_with(cached(&options, READER_CACHE_KIB).pragma("query_only", "ON"));
        Ok(Self { writer, readers })
    }

    pub(crate) async fn probe(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
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
        .foreign_keys(true)
        .busy_timeout(BUSY_WAIT)
        .statement_cache_capacity(STATEMENTS_MAX)
        .pragma("mmap_size", "0")
        .pragma("journal_size_limit", WAL_BYTES_MAX.to_string())
}

/// SQLite takes a negative size as KiB.
fn cached(options: &SqliteConnectOptions, cache_kib: u32) -> SqliteConnectOptions {
    options.clone().pragma("cache_size", format!("-{cache_kib}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tempfile::TempDir;

    use crate::database::Backend;
    use crate::{Db, Error, Migrations, Step, params};

    const EXAMPLE: Migrations = Migrations::new(
        "example",
        &[Step {
            name: "0001_notes",
            sqlite: "CREATE TABLE notes (text TEXT NOT NULL) STRICT;",
            postgres: "CREATE TABLE notes (text TEXT NOT NULL);",
        }],
    );
    const ADD: &str = "INSERT INTO notes (text) VALUES ($1)";

    async fn open() -> (Db, TempDir) {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}", folder.path().join("example.db").display());
        (Db::open(&url, &EXAMPLE).await.unwrap(), folder)
    }

    #[tokio::test]
    async fn a_commit_that_fails_keeps_no_later_write_out() {
        let (db, _folder) = open().await;
        let Backend::Sqlite(sqlite) = &db.backend else {
            unreachable!()
        };
        let mut writer = sqlite.writer.acquire().await.unwrap();
        writer.lock_handle().await.unwrap().set_commit_hook(|| false);
        drop(writer);
        db.execute(ADD, params!["a"]).await.unwrap_err();
        assert_eq!(db.execute(ADD, params!["b"]).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_full_disk_is_said_and_keeps_no_later_write_out() {
        let (db, _folder) = open().await;
        let Backend::Sqlite(sqlite) = &db.backend else {
            unreachable!()
        };
        let set = sqlx::raw_sql("PRAGMA max_page_count = 1");
        set.execute(&sqlite.writer).await.unwrap();
        let long = "x".repeat(1 << 20);
        let error = db.execute(ADD, params![long.clone()]).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        assert_eq!(db.execute(ADD, params![long]).await.unwrap(), 1);
    }
}

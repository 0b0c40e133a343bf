//! The durable keyspace's SQL. No decisions.

use std::path::Path;

use bytes::Bytes;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use crate::state::Versioned;

/// The file in the data folder.
pub(super) const FILE: &str = "state.db";

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY CHECK (id = 0), revision INTEGER NOT NULL) STRICT;
INSERT INTO counter (id, revision) VALUES (0, 0) ON CONFLICT (id) DO NOTHING;
";

/// The one connection.
pub(super) struct Store(SqliteConnection);

impl Store {
    pub(super) async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let mut connection = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", "-500")
            .disable_statement_logging()
            .connect()
            .await?;
        sqlx::raw_sql(TABLES).execute(&mut connection).await?;
        Ok(Self(connection))
    }

    pub(super) async fn get(&mut self, name: &str) -> Result<Option<Versioned>, sqlx::Error> {
        let row = sqlx::query("SELECT value, revision FROM state WHERE name = ?")
            .bind(name)
            .fetch_optional(&mut self.0)
            .await?;
        row.map(|row| versioned(&row)).transpose()
    }

    /// Every key whose name starts with `prefix`.
    pub(super) async fn list(&mut self, prefix: &str) -> Result<Vec<(String, Versioned)>, sqlx::Error> {
        // `/` follows `.` in ASCII, and no key holds it: this ends the range of names below the prefix.
        let rows = sqlx::query("SELECT value, revision, name FROM state WHERE name >= ? AND name < ? ORDER BY name")
            .bind(prefix)
            .bind(format!("{prefix}/"))
            .fetch_all(&mut self.0)
            .await?;
        rows.iter().map(|row| Ok((row.try_get(2)?, versioned(row)?))).collect()
    }

    /// Writes or deletes `name`; gives the change's revision, durable.
    pub(super) async fn put(&mut self, name: &str, value: Option<&[u8]>) -> Result<u64, sqlx::Error> {
        let mut transaction = self.0.begin_with("BEGIN IMMEDIATE").await?;
        let revision: i64 = sqlx::query_scalar("UPDATE counter SET revision = revision + 1 RETURNING revision")
            .fetch_one(&mut *transaction)
            .await?;
        match value {
            Some(value) => {
                sqlx::query(
                    "INSERT INTO state (name, value, revision) VALUES (?, ?, ?)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value, revision = excluded.revision",
                )
                .bind(name)
                .bind(value)
                .bind(revision)
                .execute(&mut *transaction)
                .await?;
            }
            None => {
                sqlx::query("DELETE FROM state WHERE name = ?")
                    .bind(name)
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        transaction.commit().await?;
        Ok(u64::try_from(revision).unwrap_or(0))
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        self.0.close().await
    }
}

fn versioned(row: &sqlx::sqlite::SqliteRow) -> Result<Versioned, sqlx::Error> {
    let value: Vec<u8> = row.try_get(0)?;
    let revision: i64 = row.try_get(1)?;
    Ok(Versioned {
        value: Bytes::from(value),
        revision: u64::try_from(revision).unwrap_or(0),
    })
}

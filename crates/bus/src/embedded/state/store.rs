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

/// The one connection, and how it is opened.
pub(super) struct Store {
    connection: SqliteConnection,
    options: SqliteConnectOptions,
}

impl Store {
    pub(super) async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", "-500")
            .disable_statement_logging();
        let mut connection = options.connect().await?;
        sqlx::raw_sql(TABLES).execute(&mut connection).await?;
        Ok(Self { connection, options })
    }

    /// After a commit that failed, such as on a full disk, sqlx may count a transaction that SQLite has rolled back, and would begin
    /// no other. A ping runs what is queued; if the count stays, the connection is opened anew.
    async fn mend(&mut self) -> Result<(), sqlx::Error> {
        if self.connection.is_in_transaction() {
            self.connection.ping().await?;
        }
        if self.connection.is_in_transaction() {
            self.connection = self.options.connect().await?;
        }
        Ok(())
    }

    pub(super) async fn get(&mut self, name: &str) -> Result<Option<Versioned>, sqlx::Error> {
        let row = sqlx::query("SELECT value, revision FROM state WHERE name = ?")
            .bind(name)
            .fetch_optional(&mut self.connection)
            .await?;
        row.map(|row| versioned(&row)).transpose()
    }

    /// Every key whose name starts with `prefix`.
    pub(super) async fn list(&mut self, prefix: &str) -> Result<Vec<(String, Versioned)>, sqlx::Error> {
        // `/` follows `.` in ASCII, and no key holds it: this ends the range of names below the prefix.
        let rows = sqlx::query("SELECT value, revision, name FROM state WHERE name >= ? AND name < ? ORDER BY name")
            .bind(prefix)
            .bind(format!("{prefix}/"))
            .fetch_all(&mut self.connection)
            .await?;
        rows.iter().map(|row| Ok((row.try_get(2)?, versioned(row)?))).collect()
    }

    /// Writes or deletes `name`; gives the change's revision, durable.
    pub(super) async fn put(&mut self, name: &str, value: Option<&[u8]>) -> Result<u64, sqlx::Error> {
        self.mend().await?;
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
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
        self.connection.close().await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_that_found_no_room_does_not_stand_in_the_way_of_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join(FILE)).await.unwrap();
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
            .fetch_one(&mut store.connection)
            .await
            .unwrap();
        let limit = |most: i64| sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {most}"));
        sqlx::raw_sql(limit(pages))
            .execute(&mut store.connection)
            .await
            .unwrap();
        let large = vec![0; 64 * 1024];
        assert!(store.put("a", Some(&large)).await.is_err());
        sqlx::raw_sql(limit(1_000_000))
            .execute(&mut store.connection)
            .await
            .unwrap();
        store.put("a", Some(&large)).await.unwrap();
        assert_eq!(store.get("a").await.unwrap().unwrap().value.len(), large.len());
    }
}

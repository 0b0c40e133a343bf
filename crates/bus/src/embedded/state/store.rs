//! The durable keyspace's SQL. No decisions.

use std::path::Path;

use bytes::Bytes;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, Sqlite, SqliteConnection, Transaction};

use crate::state::Versioned;

/// The file in the data folder.
pub(super) const FILE: &str = "state.db";

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY CHECK (id = 0), revision INTEGER NOT NULL) STRICT;
INSERT INTO counter (id, revision) VALUES (0, 0) ON CONFLICT (id) DO NOTHING;
";

/// A connection, and how it is opened. One writes, and another one reads what it has committed.
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

    /// Begins a transaction: what is changed in it is durable once it is committed, and never was when it is dropped.
    pub(super) async fn begin(&mut self) -> Result<Batch<'_>, sqlx::Error> {
        self.mend().await?;
        let transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Batch { transaction })
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
}

/// Changes of one transaction.
pub(super) struct Batch<'store> {
    transaction: Transaction<'store, Sqlite>,
}

impl Batch<'_> {
    /// The change that wrote `name` last; none when it is not there.
    pub(super) async fn revision(&mut self, name: &str) -> Result<Option<u64>, sqlx::Error> {
        let revision: Option<i64> = sqlx::query_scalar("SELECT revision FROM state WHERE name = ?")
            .bind(name)
            .fetch_optional(&mut *self.transaction)
            .await?;
        Ok(revision.and_then(|revision| u64::try_from(revision).ok()))
    }

    /// Writes or deletes `name`; gives the change's revision.
    pub(super) async fn put(&mut self, name: &str, value: Option<&[u8]>) -> Result<u64, sqlx::Error> {
        let revision: i64 = sqlx::query_scalar("UPDATE counter SET revision = revision + 1 RETURNING revision")
            .fetch_one(&mut *self.transaction)
            .await?;
        let change = match value {
            Some(value) => sqlx::query(
                "INSERT INTO state (name, value, revision) VALUES (?, ?, ?)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value, revision = excluded.revision",
            )
            .bind(name)
            .bind(value)
            .bind(revision),
            None => sqlx::query("DELETE FROM state WHERE name = ?").bind(name),
        };
        change.execute(&mut *self.transaction).await?;
        Ok(u64::try_from(revision).unwrap_or(0))
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await
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

    async fn put(store: &mut Store, value: &[u8]) -> Result<(), sqlx::Error> {
        let mut batch = store.begin().await?;
        batch.put("a", Some(value)).await?;
        batch.commit().await
    }

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
        assert!(put(&mut store, &large).await.is_err());
        sqlx::raw_sql(limit(1_000_000))
            .execute(&mut store.connection)
            .await
            .unwrap();
        put(&mut store, &large).await.unwrap();
        assert_eq!(store.get("a").await.unwrap().unwrap().value.len(), large.len());
    }
}

//! Where the message store of a test keeps its rows, and what an operator does to them.

use std::path::PathBuf;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use trunkline_store::{MessageStore, PostgresStore, SqliteStore};
use trunkline_testkit::Database;
use uuid::Uuid;

/// Where the store keeps its rows.
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres(Database),
}

impl Place {
    pub(super) async fn open(&self) -> Arc<dyn MessageStore> {
        match self {
            Place::Sqlite(file) => Arc::new(SqliteStore::open(file).await.unwrap()),
            Place::Postgres(database) => Arc::new(PostgresStore::open(database.url(), Uuid::nil()).await.unwrap()),
        }
    }

    /// Does what an operator does to the store's tables, in the words of its database.
    #[allow(dead_code, reason = "not every test file has an operator")]
    pub(crate) async fn operate(&self, on_sqlite: &'static str, on_postgres: &'static str) {
        match self {
            Place::Sqlite(file) => {
                let mut connection = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
                sqlx::raw_sql(on_sqlite).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
            Place::Postgres(database) => {
                let mut connection = Place::connect(database).await;
                sqlx::raw_sql(on_postgres).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }

    /// The one number of a query.
    #[allow(dead_code, reason = "not every test file asks")]
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        match self {
            Place::Sqlite(file) => {
                let mut connection = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
                sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
            }
            Place::Postgres(database) => {
                let mut connection = Place::connect(database).await;
                sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
            }
        }
    }

    pub(crate) async fn connect(database: &Database) -> PgConnection {
        let options: PgConnectOptions = database.url().parse().unwrap();
        options.options([("search_path", "messages")]).connect().await.unwrap()
    }
}

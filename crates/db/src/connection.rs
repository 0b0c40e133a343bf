//! One connection to either database: the only place where a statement meets a driver.

use std::ops::DerefMut;

use sea_query::{PostgresQueryBuilder, QueryStatementWriter, SqliteQueryBuilder};
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, SqlSafeStr, SqlStr, Sqlite, SqliteConnection};

use crate::value::{bind_postgres, bind_sqlite, from_built};
use crate::{Error, Row, Value};

/// A borrowed connection.
pub(crate) enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

/// A connection on loan from a pool.
pub(crate) enum Loan {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Loan {
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(connection) => Connection::Sqlite(connection.deref_mut()),
            Self::Postgres(connection) => Connection::Postgres(connection.deref_mut()),
        }
    }
}

/// A statement with its values, ready to run.
pub(crate) struct Statement {
    sql: SqlStr,
    values: Vec<Value>,
}

impl Statement {
    /// A fixed statement.
    pub(crate) fn fixed(sql: &'static str, values: Vec<Value>) -> Self {
        Self {
            sql: sql.into_sql_str(),
            values,
        }
    }

    /// A built one, in the dialect of `connection`. sea-query puts every value into a bind and quotes every name.
    pub(crate) fn built(statement: &impl QueryStatementWriter, connection: &Connection<'_>) -> Result<Self, Error> {
        let (sql, values) = match connection {
            Connection::Sqlite(_) => statement.build(SqliteQueryBuilder),
            Connection::Postgres(_) => statement.build(PostgresQueryBuilder),
        };
        Ok(Self {
            sql: AssertSqlSafe(sql).into_sql_str(),
            values: from_built(values)?,
        })
    }
}

impl Connection<'_> {
    /// Runs a statement and counts the rows that it touched.
    pub(crate) async fn execute(self, statement: Statement) -> Result<u64, Error> {
        let rows = match self {
            Self::Sqlite(connection) => {
                let query = bind_sqlite(sqlx::query(statement.sql), statement.values);
                query.execute(connection).await?.rows_affected()
            }
            Self::Postgres(connection) => {
                let query = bind_postgres(sqlx::query(statement.sql), statement.values);
                query.execute(connection).await?.rows_affected()
            }
        };
        Ok(rows)
    }

    /// The first row, if there is one.
    pub(crate) async fn fetch_optional(self, statement: Statement) -> Result<Option<Row>, Error> {
        let row = match self {
            Self::Sqlite(connection) => {
                let query = bind_sqlite(sqlx::query(statement.sql), statement.values);
                query.fetch_optional(connection).await?.map(Row::sqlite)
            }
            Self::Postgres(connection) => {
                let query = bind_postgres(sqlx::query(statement.sql), statement.values);
                query.fetch_optional(connection).await?.map(Row::postgres)
            }
        };
        Ok(row)
    }

    /// All rows.
    pub(crate) async fn fetch_all(self, statement: Statement) -> Result<Vec<Row>, Error> {
        let rows = match self {
            Self::Sqlite(connection) => {
                let query = bind_sqlite(sqlx::query(statement.sql), statement.values);
                query
                    .fetch_all(connection)
                    .await?
                    .into_iter()
                    .map(Row::sqlite)
                    .collect()
            }
            Self::Postgres(connection) => {
                let query = bind_postgres(sqlx::query(statement.sql), statement.values);
                query
                    .fetch_all(connection)
                    .await?
                    .into_iter()
                    .map(Row::postgres)
                    .collect()
            }
        };
        Ok(rows)
    }
}

//! A transaction: what [`crate::Db::write`] and [`crate::Db::read`] hand to their work.

use std::marker::PhantomData;
use std::ops::DerefMut;

use sea_query::{QueryStatementWriter, SelectStatement};
use sqlx::{Postgres, Sqlite, Transaction};

use crate::connection::{Connection, Statement};
use crate::{Error, Page, Row, Total, Value, page};

/// An open transaction. It is committed by the one who opened it and rolled back when dropped.
///
/// The first statement that fails ends it: all further ones are refused, and it cannot be committed. What may collide says
/// `ON CONFLICT DO NOTHING`.
///
/// `'env` is what the work may borrow from around it, as in [`std::thread::scope`].
pub struct Tx<'env> {
    inner: Inner,
    /// A statement met another transaction; whatever the work made of that error, the whole is worth repeating.
    pub(crate) is_overtaken: bool,
    /// A statement failed. Postgres takes no further one then, and rolls back where it is told to commit; so SQLite does too.
    pub(crate) is_broken: bool,
    /// The outbox got an event.
    pub(crate) has_events: bool,
    scope: PhantomData<&'env mut &'env ()>,
}

pub(crate) enum Inner {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Tx<'_> {
    pub(crate) const fn new(inner: Inner) -> Self {
        Self {
            inner,
            is_overtaken: false,
            is_broken: false,
            has_events: false,
            scope: PhantomData,
        }
    }

    /// Runs a statement and counts the rows that it touched.
    pub async fn execute(&mut self, sql: &'static str, params: Vec<Value>) -> Result<u64, Error> {
        let outcome = self.connection()?.execute(Statement::fixed(sql, params)).await;
        self.noted(outcome)
    }

    /// Runs a built INSERT, UPDATE or DELETE and counts the rows that it touched.
    pub async fn execute_built(&mut self, statement: &(impl QueryStatementWriter + Sync)) -> Result<u64, Error> {
        let connection = self.connection()?;
        let statement = Statement::built(statement, &connection)?;
        let outcome = connection.execute(statement).await;
        self.noted(outcome)
    }

    /// The first row, if there is one. Also for statements with RETURNING.
    pub async fn fetch_optional<T>(
        &mut self,
        sql: &'static str,
        params: Vec<Value>,
        map: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let outcome = self.connection()?.fetch_optional(Statement::fixed(sql, params)).await;
        self.noted(outcome)?.as_ref().map(map).transpose()
    }

    /// The first row of a statement that always has one, such as a count or an INSERT with RETURNING.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when there is none.
    pub async fn fetch_one<T>(
        &mut self,
        sql: &'static str,
        params: Vec<Value>,
        map: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let row = self.fetch_optional(sql, params, map).await?;
        row.ok_or_else(|| Error::from(sqlx::Error::RowNotFound))
    }

    /// All rows, in memory: the statement has a LIMIT or its result is small by nature.
    pub async fn fetch_all<T>(
        &mut self,
        sql: &'static str,
        params: Vec<Value>,
        map: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let outcome = self.connection()?.fetch_all(Statement::fixed(sql, params)).await;
        self.noted(outcome)?.iter().map(map).collect()
    }

    /// All rows of a built query; the same care about its size.
    pub async fn select<T>(
        &mut self,
        statement: &SelectStatement,
        map: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let connection = self.connection()?;
        let statement = Statement::built(statement, &connection)?;
        let outcome = connection.fetch_all(statement).await;
        self.noted(outcome)?.iter().map(map).collect()
    }

    /// One page of a built query that has an order but no limit, and how many rows it has in all.
    pub async fn list<T>(
        &mut self,
        statement: &SelectStatement,
        page: Page,
        map: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<(Total, Vec<T>), Error> {
        let counts = self
            .select(&page::count(statement), |row| row.get::<i64>(page::COUNT))
            .await?;
        let rows = self.select(&page::cut(statement, page), map).await?;
        Ok((Total::of(counts.first().copied().unwrap_or_default()), rows))
    }

    fn connection(&mut self) -> Result<Connection<'_>, Error> {
        if self.is_broken {
            return Err(Error::Defect("a statement before it in the transaction failed".into()));
        }
        Ok(match &mut self.inner {
            Inner::Sqlite(transaction) => Connection::Sqlite(transaction.deref_mut()),
            Inner::Postgres(transaction) => Connection::Postgres(transaction.deref_mut()),
        })
    }

    fn noted<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        self.is_overtaken |= matches!(outcome, Err(Error::Serialization));
        self.is_broken |= outcome.is_err();
        outcome
    }

    pub(crate) async fn commit(self) -> Result<(), Error> {
        match self.inner {
            Inner::Sqlite(transaction) => transaction.commit().await?,
            Inner::Postgres(transaction) => transaction.commit().await?,
        }
        Ok(())
    }

    pub(crate) async fn roll_back(self) -> Result<(), Error> {
        match self.inner {
            Inner::Sqlite(transaction) => transaction.rollback().await?,
            Inner::Postgres(transaction) => transaction.rollback().await?,
        }
        Ok(())
    }
}

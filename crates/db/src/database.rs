//! A service's database: opening it, reading from it, and writing to it in transactions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sea_query::SelectStatement;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::connection::{Loan, Statement};
use crate::migrations::Migrations;
use crate::sqlite::SqliteDb;
use crate::tenure::Number;
use crate::tx::Inner;
use crate::{Error, Page, Row, Total, Tx, Value, postgres};

/// How often a write is tried when other transactions come between.
pub const WRITE_TRIES_MAX: u32 = 10;
/// The wait before the second try; it doubles with each further one.
const RETRY_DELAY: Duration = Duration::from_millis(1);

/// What a service does with its rows.
const ROWS: &str = "SELECT, INSERT, UPDATE, DELETE";
const POSTGRES: postgres::Settings = postgres::Settings {
    connections_max: postgres::CONNECTIONS_MAX,
    session: &[],
};

const BEGIN_WRITE_SQLITE: &str = "BEGIN IMMEDIATE";
const BEGIN_WRITE_POSTGRES: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";
const BEGIN_READ_SQLITE: &str = "BEGIN DEFERRED";
const BEGIN_READ_POSTGRES: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// One service's database. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Db {
    pub(crate) backend: Backend,
    /// Rings when a transaction that fed the outbox was committed here.
    pub(crate) outbox_fed: Arc<Notify>,
    pub(crate) tenure: Number,
}

/// Where the rows live.
#[derive(Clone)]
pub(crate) enum Backend {
    Sqlite(SqliteDb),
    Postgres(PgPool),
}

impl Db {
    /// Opens the database at `url`.
    ///
    /// `sqlite:<path>` is a file, made when missing (its folder is not) and brought to the newest migration; `postgres://…` is a
    /// server, where the tables live in the schema that is named like the service and was made by [`Db::migrate`].
    ///
    /// # Errors
    /// [`Error::Newer`] when a newer version wrote it, before anything is changed; on Postgres also [`Error::Missing`],
    /// [`Error::Older`] and [`Error::Ungranted`]; [`Error::Defect`] for any other scheme.
    pub async fn open(url: &str, migrations: &Migrations) -> Result<Self, Error> {
        let backend = match Address::parse(url)? {
            Address::Sqlite(path) => Backend::Sqlite(SqliteDb::open(path.as_ref(), migrations).await?),
            Address::Postgres(url) => Backend::Postgres(postgres::open(url, migrations, POSTGRES).await?),
        };
        Ok(Self {
            backend,
            outbox_fed: Arc::new(Notify::new()),
            tenure: Number::none(),
        })
    }

    /// Brings the database at `url` to the newest migration, making what is missing. On Postgres it takes the credentials of the
    /// schema's owner; two at once do it once.
    ///
    /// # Errors
    /// Those of [`Db::open`], but for what it mends.
    pub async fn migrate(url: &str, migrations: &Migrations) -> Result<(), Error> {
        match Address::parse(url)? {
            Address::Sqlite(path) => SqliteDb::open(path.as_ref(), migrations).await?.close().await,
            Address::Postgres(url) => postgres::migrate(url, migrations).await?,
        }
        Ok(())
    }

    /// Both after one another, for who owns what he uses.
    pub async fn migrate_and_open(url: &str, migrations: &Migrations) -> Result<Self, Error> {
        Self::migrate(url, migrations).await?;
        Self::open(url, migrations).await
    }

    /// Lets the Postgres user of a service read and write its rows, and change no table. The owner calls it after each
    /// [`Db::migrate`].
    ///
    /// # Errors
    /// [`Error::Defect`] when there is no such user, or the database knows none.
    pub async fn grant(url: &str, migrations: &Migrations, user: &str) -> Result<(), Error> {
        match Address::parse(url)? {
            Address::Sqlite(_) => Err(Error::Defect("SQLite knows no users".into())),
            Address::Postgres(url) => {
                let tables = format!("ALL TABLES IN SCHEMA {}", migrations.service());
                postgres::grant(url, migrations, user, &[(ROWS, &tables)]).await
            }
        }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not in good time.
    pub async fn probe(&self) -> Result<(), Error> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.probe().await,
            Backend::Postgres(pool) => postgres::probe(pool).await,
        }
    }

    /// Closes all connections after the work in hand. On SQLite this folds the write-ahead log into the file.
    pub async fn close(&self) {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.close().await,
            Backend::Postgres(pool) => pool.close().await,
        }
    }

    /// The first row, if there is one. Reads only: on SQLite a statement that writes is refused here.
    pub async fn fetch_optional<T>(
        &self,
        sql: &'static str,
        params: Vec<Value>,
        map: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let row = self.in_time(async {
            let mut loan = self.reader().await?;
            loan.connection().fetch_optional(Statement::fixed(sql, params)).await
        });
        row.await?.as_ref().map(map).transpose()
    }

    /// The first row of a query that always has one, such as a count. Reads only.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when there is none.
    pub async fn fetch_one<T>(
        &self,
        sql: &'static str,
        params: Vec<Value>,
        map: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let row = self.fetch_optional(sql, params, map).await?;
        row.ok_or_else(|| Error::from(sqlx::Error::RowNotFound))
    }

    /// All rows, in memory: the statement has a LIMIT or its result is small by nature. Reads only.
    pub async fn fetch_all<T>(
        &self,
        sql: &'static str,
        params: Vec<Value>,
        map: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let rows = self.in_time(async {
            let mut loan = self.reader().await?;
            loan.connection().fetch_all(Statement::fixed(sql, params)).await
        });
        rows.await?.iter().map(map).collect()
    }

    /// All rows of a built query; the same care about its size.
    pub async fn select<T>(
        &self,
        statement: &SelectStatement,
        map: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let rows = self.in_time(async {
            let mut loan = self.reader().await?;
            let connection = loan.connection();
            let statement = Statement::built(statement, &connection)?;
            connection.fetch_all(statement).await
        });
        rows.await?.iter().map(map).collect()
    }

    /// One page of a built query that has an order but no limit, and how many rows it has in all, as of one instant.
    pub async fn list<T>(
        &self,
        statement: &SelectStatement,
        page: Page,
        map: impl Fn(&Row) -> Result<T, Error>,
    ) -> Result<(Total, Vec<T>), Error> {
        let listed = self.in_time(async {
            let mut tx = self.begin_read().await?;
            let listed = tx.list(statement, page, map).await?;
            tx.roll_back().await?;
            Ok(listed)
        });
        listed.await
    }

    /// Runs one statement as a transaction of its own and counts the rows that it touched.
    pub async fn execute(&self, sql: &'static str, params: Vec<Value>) -> Result<u64, Error> {
        self.write(|tx| Box::pin(tx.execute(sql, params.clone()))).await
    }

    /// Runs `work` in one transaction, isolated as if nothing else wrote, and commits it; on an error nothing is changed.
    ///
    /// `work` runs again from its start when another transaction came between, so it has no effects but those on `tx`. When
    /// the caller goes away, the transaction is rolled back, unless its commit is already under way.
    ///
    /// ```no_run
    /// # use trunkline_db::{Db, Error, params};
    /// # async fn rename(db: &Db, id: uuid::Uuid, name: &str) -> Result<u64, Error> {
    /// db.write(|tx| {
    ///     Box::pin(async {
    ///         tx.execute("UPDATE clients SET name = $2 WHERE id = $1", params![id, name]).await
    ///     })
    /// })
    /// .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of `work`; [`Error::Serialization`] after [`WRITE_TRIES_MAX`] tries; [`Error::Unavailable`], after which the changes may
    /// have been made all the same when the connection was lost during the commit.
    pub async fn write<'env, T, E: From<Error>>(
        &self,
        work: impl for<'t> Fn(&'t mut Tx<'env>) -> BoxFuture<'t, Result<T, E>>,
    ) -> Result<T, E> {
        let mut delay = RETRY_DELAY;
        for _ in 1..WRITE_TRIES_MAX {
            match self.in_time(self.try_write(&work)).await? {
                Outcome::Done(done) => return done,
                Outcome::Overtaken => tokio::time::sleep(delay).await,
            }
            delay *= 2;
        }
        match self.in_time(self.try_write(&work)).await? {
            Outcome::Done(done) => done,
            Outcome::Overtaken => Err(Error::Serialization.into()),
        }
    }

    /// Runs `work` on one snapshot: all its queries see the same instant, and none of its statements may write.
    pub async fn read<'env, T, E: From<Error>>(
        &self,
        work: impl for<'t> FnOnce(&'t mut Tx<'env>) -> BoxFuture<'t, Result<T, E>>,
    ) -> Result<T, E> {
        let done = self.in_time(async {
            let mut tx = self.begin_read().await?;
            let done = work(&mut tx).await?;
            tx.roll_back().await?;
            Ok(done)
        });
        done.await
    }

    /// Waits for Postgres for so long and no longer; SQLite has limits for each of its waits.
    async fn in_time<T, E: From<Error>>(&self, answer: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        // Boxed, since it is held twice below.
        let answer = Box::pin(answer);
        match &self.backend {
            Backend::Sqlite(_) => answer.await,
            Backend::Postgres(_) => postgres::within(postgres::ANSWER_WAIT, answer).await,
        }
    }

    async fn try_write<'env, T, E: From<Error>>(
        &self,
        work: &impl for<'t> Fn(&'t mut Tx<'env>) -> BoxFuture<'t, Result<T, E>>,
    ) -> Result<Outcome<T, E>, Error> {
        let mut tx = self.begin_write().await?;
        let done = match self.tenure.check(&mut tx).await {
            Ok(()) => work(&mut tx).await,
            Err(error) => Err(error.into()),
        };
        if tx.is_overtaken {
            tx.roll_back().await?;
            return Ok(Outcome::Overtaken);
        }
        if done.is_err() {
            // SQLite may have rolled back by itself, and then refuses to; what the work failed for says more.
            tx.roll_back().await.ok();
            return Ok(Outcome::Done(done));
        }
        if tx.is_broken {
            tx.roll_back().await?;
            return Err(Error::Defect(
                "a transaction went on after a statement of it failed".into(),
            ));
        }
        let has_events = tx.has_events;
        match tx.commit().await {
            Ok(()) => {}
            Err(Error::Serialization) => return Ok(Outcome::Overtaken),
            Err(error) => return Err(error),
        }
        if has_events {
            self.outbox_fed.notify_one();
        }
        Ok(Outcome::Done(done))
    }

    async fn begin_write<'env>(&self) -> Result<Tx<'env>, Error> {
        let inner = match &self.backend {
            Backend::Sqlite(sqlite) => Inner::Sqlite(sqlite.writer.begin_with(BEGIN_WRITE_SQLITE).await?),
            Backend::Postgres(pool) => Inner::Postgres(pool.begin_with(BEGIN_WRITE_POSTGRES).await?),
        };
        Ok(Tx::new(inner))
    }

    async fn begin_read<'env>(&self) -> Result<Tx<'env>, Error> {
        let inner = match &self.backend {
            Backend::Sqlite(sqlite) => Inner::Sqlite(sqlite.readers.begin_with(BEGIN_READ_SQLITE).await?),
            Backend::Postgres(pool) => Inner::Postgres(pool.begin_with(BEGIN_READ_POSTGRES).await?),
        };
        Ok(Tx::new(inner))
    }

    async fn reader(&self) -> Result<Loan, Error> {
        Ok(match &self.backend {
            Backend::Sqlite(sqlite) => Loan::Sqlite(sqlite.readers.acquire().await?),
            Backend::Postgres(pool) => Loan::Postgres(pool.acquire().await?),
        })
    }
}

/// How one try of a write ended.
enum Outcome<T, E> {
    Done(Result<T, E>),
    Overtaken,
}

/// Where a database is.
enum Address<'a> {
    Sqlite(&'a str),
    Postgres(&'a str),
}

impl<'a> Address<'a> {
    fn parse(url: &'a str) -> Result<Self, Error> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            Ok(Self::Sqlite(path))
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Ok(Self::Postgres(url))
        } else {
            Err(Error::Defect(
                "a database address starts with `sqlite:` or `postgres://`".into(),
            ))
        }
    }
}

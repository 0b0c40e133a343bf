//! Postgres databases for tests: each test has its own, on the server that `cargo xtask test` started.

use std::sync::{Mutex, PoisonError};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::tool::variable;

/// The server that all tests share.
pub struct Postgres;

impl Postgres {
    /// Makes an empty database.
    ///
    /// # Panics
    ///
    /// If `TRUNKLINE_TEST_POSTGRES` is not set, or the server it names cannot be reached or refuses.
    pub async fn database() -> Database {
        let server = variable("TRUNKLINE_TEST_POSTGRES");
        let name = format!("test_{}", Uuid::new_v4().simple());
        if let Err(error) = run(&server, format!("CREATE DATABASE {name}")).await {
            panic!("no database could be made on the Postgres that TRUNKLINE_TEST_POSTGRES names: {error}");
        }
        let (prefix, _) = server.rsplit_once('/').expect("a Postgres URL ends in /<database>");
        Database {
            url: format!("{prefix}/{name}"),
            server,
            name,
            users: Mutex::default(),
        }
    }
}

/// A database of one test. It is dropped with this value, even while connections to it are open.
pub struct Database {
    url: String,
    server: String,
    name: String,
    users: Mutex<Vec<String>>,
}

/// A table that nobody else can use; given back when this is dropped.
pub struct TableLock {
    _session: PgConnection,
}

impl Database {
    /// Where to connect, as `postgres://…`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes a user without any rights, who goes with the database; gives the name, and where he connects.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn user(&self) -> (String, String) {
        let name = format!("user_{}", Uuid::new_v4().simple());
        self.run(format!("CREATE ROLE {name} LOGIN")).await;
        self.users
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(name.clone());
        let (_, address) = self.url.rsplit_once('@').expect("a Postgres URL names its user");
        let url = format!("postgres://{name}@{address}");
        (name, url)
    }

    /// Ends every connection to it and lets no further one in, as if the server had stopped.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn go_away(&self) {
        let name = &self.name;
        self.run(format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"))
            .await;
        self.end_connections().await;
    }

    /// Lets connections in again.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn come_back(&self) {
        self.run(format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", self.name))
            .await;
    }

    /// Ends every connection to it.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn end_connections(&self) {
        self.run(format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
            self.name
        ))
        .await;
    }

    /// Lets nobody else read or write a table, such as `auth.users`, until the lock is dropped.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn lock(&self, table: &str) -> TableLock {
        let mut session = PgConnection::connect(&self.url)
            .await
            .expect("the database lets nobody in");
        let statements = AssertSqlSafe(format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"));
        let locked = sqlx::raw_sql(statements).execute(&mut session).await;
        locked.expect("the server refuses");
        TableLock { _session: session }
    }

    async fn run(&self, statement: String) {
        run(&self.server, statement).await.expect("the server refuses");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let server = self.server.clone();
        let mut statements = vec![format!("DROP DATABASE {} WITH (FORCE)", self.name)];
        let users = std::mem::take(self.users.get_mut().unwrap_or_else(PoisonError::into_inner));
        statements.extend(users.into_iter().map(|user| format!("DROP ROLE {user}")));
        // On a thread and a runtime of its own, since the test's may be ending and cannot be blocked.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime of one thread can be made");
            let mut statements = statements.into_iter();
            statements.try_for_each(|statement| runtime.block_on(run(&server, statement)))
        });
        // A server that goes away with its run takes the database along: worth a line, not a second panic.
        match dropping.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("the database {} stays behind: {error}", self.name),
            Err(_) => eprintln!("the database {} stays behind", self.name),
        }
    }
}

async fn run(server: &str, statement: String) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(server).await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}

//! Postgres databases for tests: each test has its own, on the server that `cargo xtask test` started.

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
        }
    }
}

/// A database of one test. It is dropped with this value, even while connections to it are open.
pub struct Database {
    url: String,
    server: String,
    name: String,
}

impl Database {
    /// Where to connect, as `postgres://…`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, statement) = (self.server.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        // On a thread and a runtime of its own, since the test's may be ending and cannot be blocked.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime
                .expect("a runtime of one thread can be made")
                .block_on(run(&server, statement))
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

//! How a Postgres server is opened: one schema per service, found by the search path.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

use crate::Error;
use crate::migrations::Migrations;

/// Connections that one service of one process holds at most.
const CONNECTIONS_MAX: u32 = 8;
/// A connection that was not needed for so long is closed.
const CONNECTION_IDLE: Duration = Duration::from_secs(300);
/// How long work waits for its turn on a connection.
const TURN_WAIT: Duration = Duration::from_secs(5);

/// Migrates the service's schema and gives its connections.
pub(crate) async fn open(url: &str, migrations: &Migrations) -> Result<PgPool, Error> {
    let options = url
        .parse::<PgConnectOptions>()?
        .options([("search_path", migrations.service())])
        .application_name(&format!("trunkline {}", migrations.service()));
    let mut connection = PgConnection::connect_with(&options).await?;
    migrations.run_postgres(&mut connection).await?;
    connection.close().await?;

    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(TURN_WAIT)
        .idle_timeout(CONNECTION_IDLE)
        .connect_with(options)
        .await?;
    Ok(pool)
}

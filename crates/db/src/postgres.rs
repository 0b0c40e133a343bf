//! How a Postgres server is used: one schema per service, made and changed by its owner, used by others with fewer rights.
//!
//! `crates/store` lays its rows out by itself and stands on this too; services use [`crate::Db`].

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use crate::Error;
use crate::migrations::Migrations;

/// Connections that one service of one process holds at most.
pub(crate) const CONNECTIONS_MAX: u32 = 8;
/// A connection that was not needed for so long is closed.
const CONNECTION_IDLE: Duration = Duration::from_secs(300);
/// How long work waits for its turn on a connection, and for a server that is away.
pub const TURN_WAIT: Duration = Duration::from_secs(5);
/// How long a connection may take to prove, before and after each use, that it still is one.
const PROOF_WAIT: Duration = Duration::from_secs(1);
/// How long a probe for health waits.
pub const PROBE_WAIT: Duration = Duration::from_secs(2);
/// How long an answer is waited for, all statements of a transaction together: whoever waits longer waits for a server or a network
/// that hangs, and does better on another connection.
pub const ANSWER_WAIT: Duration = Duration::from_secs(8);

/// What every session sets: durable commits, and limits by which the server gives up by itself before we do, and lets go of a client
/// that it cannot reach.
const SESSION: [(&str, &str); 8] = [
    ("synchronous_commit", "on"),
    ("statement_timeout", "6s"),
    ("lock_timeout", "4s"),
    ("idle_in_transaction_session_timeout", "20s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "20s"),
];

/// Lifts the limits above for the one who changes tables.
const UNLIMITED: &str = "SET statement_timeout = 0; SET lock_timeout = 0";

/// The oldest server, as its `server_version_num` has it.
const VERSION_MIN: i32 = 13_00_00;

const SERVER: &str = "
    SELECT current_setting('server_version_num')::INTEGER, current_setting('server_encoding'), current_setting('fsync')";

/// Whether the user may use a schema, and its comment, which says whose it is.
const SCHEMA: &str = "
    SELECT has_schema_privilege(oid, 'USAGE'), obj_description(oid, 'pg_namespace')
    FROM pg_namespace
    WHERE nspname = $1";

/// Until the end of the transaction, nobody else claims a schema or changes rights in it. The first half of the lock's key is ours, the
/// second of the schema's name.
const TAKE_TURN: &str = "SELECT pg_advisory_xact_lock(x'74726b67'::INTEGER, hashtext($1))";

/// What a database user may do: privileges such as `SELECT, INSERT`, and tables of the schema.
pub type Grant<'a> = (&'a str, &'a str);

/// How a pool is made.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Connections that it holds at most.
    pub connections_max: u32,
    /// What its sessions set besides the limits that all have.
    pub session: &'static [(&'static str, &'static str)],
}

/// Brings the service's schema to the newest migration, making it when missing. Two at once do it once.
///
/// # Errors
/// [`Error::Newer`] when a newer version was here and [`Error::OtherPlatform`] when it is somebody else's, before anything is changed;
/// [`Error::Unfit`].
pub async fn migrate(url: &str, migrations: &Migrations) -> Result<(), Error> {
    let mut connection = connect(url, migrations).await?;
    check_server(&mut connection).await?;
    claim(&mut connection, migrations).await?;
    sqlx::raw_sql(UNLIMITED).execute(&mut connection).await?;
    migrations.run_postgres(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Lets `user` use the service's schema: the rows of its tables as `grants` say, and nothing else there, whatever he was granted
/// before. The owner calls it after each [`migrate`]; several at once take turns.
///
/// # Errors
/// [`Error::Defect`] when there is no such user.
pub async fn grant(url: &str, migrations: &Migrations, user: &str, grants: &[Grant<'_>]) -> Result<(), Error> {
    let (schema, user) = (migrations.service(), quoted(user));
    let mut statements = vec![
        // The server does not order changes of the same rights: it ends all but one with an error.
        TAKE_TURN.replace("$1", &format!("'{schema}'")),
        format!("REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {user}"),
        format!("REVOKE ALL ON SCHEMA {schema} FROM {user}"),
        format!("GRANT USAGE ON SCHEMA {schema} TO {user}"),
    ];
    statements.extend(
        grants
            .iter()
            .map(|(privileges, table)| format!("GRANT {privileges} ON {table} TO {user}")),
    );
    let tables = migrations.tables();
    statements
        .extend(tables.map(|table| format!("REVOKE ALL ON {table} FROM {user}; GRANT SELECT ON {table} TO {user}")));
    let mut connection = connect(url, migrations).await?;
    // Several statements of one text are one transaction.
    sqlx::raw_sql(AssertSqlSafe(statements.join(";\n")))
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(())
}

/// Connects to a schema that is of exactly this version.
///
/// # Errors
/// [`Error::Missing`], [`Error::Older`], [`Error::Newer`], [`Error::Ungranted`], [`Error::Unclaimed`], [`Error::OtherPlatform`],
/// [`Error::Unfit`]: each a sentence that says what to do.
pub async fn open(url: &str, migrations: &Migrations, settings: Settings) -> Result<PgPool, Error> {
    let mut connection = connect(url, migrations).await?;
    check_server(&mut connection).await?;
    check(&mut connection, migrations).await?;
    connection.close().await?;
    let options = options(url, migrations)?.options(settings.session.iter().copied());
    Ok(PgPoolOptions::new()
        .max_connections(settings.connections_max)
        .acquire_timeout(TURN_WAIT)
        .idle_timeout(CONNECTION_IDLE)
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(prove(connection)))
        .after_release(|connection, _| Box::pin(prove(connection)))
        .connect_lazy_with(options))
}

/// Whether the server answers.
///
/// # Errors
/// [`Error::Unavailable`] when it does not within [`PROBE_WAIT`].
pub async fn probe(pool: &PgPool) -> Result<(), Error> {
    let answer = async { sqlx::query("SELECT 1").execute(pool).await.map_err(Error::from) };
    within(PROBE_WAIT, answer).await.map(drop)
}

/// Waits for an answer for so long and no longer.
pub(crate) async fn within<T, E: From<Error>>(
    wait: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match tokio::time::timeout(wait, answer).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(Error::Unavailable(elapsed.into()).into()),
    }
}

/// A connection whose server or network hangs must not be used, nor hold a place in the pool for long while it is asked.
async fn prove(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(PROOF_WAIT, connection.ping()).await {
        Ok(proof) => proof.map(|()| true),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// One connection outside any pool.
pub(crate) async fn connect(url: &str, migrations: &Migrations) -> Result<PgConnection, Error> {
    let options = options(url, migrations)?;
    within(TURN_WAIT, async { Ok(PgConnection::connect_with(&options).await?) }).await
}

/// Refuses a server that is too old and a database whose texts are not Unicode; warns of one that keeps nothing.
async fn check_server(connection: &mut PgConnection) -> Result<(), Error> {
    let (version, encoding, fsync): (i32, String, String) = sqlx::query_as(SERVER).fetch_one(connection).await?;
    if fsync != "on" {
        tracing::warn!("Postgres runs with fsync off: what was acknowledged may be lost in a power cut");
    }
    fitness(version, &encoding).map_err(|reason| Error::Unfit { reason })
}

fn fitness(version: i32, encoding: &str) -> Result<(), String> {
    if version < VERSION_MIN {
        let (found, wanted) = (version / 10_000, VERSION_MIN / 10_000);
        return Err(format!(
            "this Postgres is of version {found}, and Trunkline needs {wanted} or a later one"
        ));
    }
    if encoding != "UTF8" {
        return Err(format!(
            "the database has the encoding {encoding}; make one with the encoding UTF8"
        ));
    }
    Ok(())
}

fn options(url: &str, migrations: &Migrations) -> Result<PgConnectOptions, Error> {
    let options = url.parse::<PgConnectOptions>()?;
    Ok(options
        .options([("search_path", migrations.service())])
        .options(SESSION)
        .application_name(&format!("trunkline {}", migrations.service())))
}

async fn check(connection: &mut PgConnection, migrations: &Migrations) -> Result<(), Error> {
    let service = migrations.service();
    match look(connection, service).await? {
        None => Err(Error::Missing { service }),
        Some((false, _)) => Err(Error::Ungranted { service }),
        Some((true, mark)) => {
            check_mark(mark, migrations)?;
            migrations.check_postgres(connection).await
        }
    }
}

/// Makes the schema that of the migrations' platform, if it is nobody's. Of two at once, one gets it.
async fn claim(connection: &mut PgConnection, migrations: &Migrations) -> Result<(), Error> {
    let (service, Some(platform)) = (migrations.service(), migrations.platform()) else {
        return Ok(());
    };
    let mut claiming = connection.begin().await?;
    sqlx::query(TAKE_TURN).bind(service).execute(&mut *claiming).await?;
    let (_, mark) = look(&mut claiming, service).await?.unwrap_or_default();
    if let Err(error) = check_mark(mark, migrations) {
        let Error::Unclaimed { .. } = error else {
            return Err(error);
        };
        let mark = mark_of(platform);
        let statements = format!("CREATE SCHEMA IF NOT EXISTS {service}; COMMENT ON SCHEMA {service} IS '{mark}'");
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *claiming).await?;
    }
    Ok(claiming.commit().await?)
}

async fn look(connection: &mut PgConnection, service: &str) -> Result<Option<(bool, Option<String>)>, Error> {
    Ok(sqlx::query_as(SCHEMA).bind(service).fetch_optional(connection).await?)
}

/// Whether the schema belongs to the migrations' platform, as its comment says.
fn check_mark(mark: Option<String>, migrations: &Migrations) -> Result<(), Error> {
    let service = migrations.service();
    let Some(expected) = migrations.platform().map(mark_of) else {
        return Ok(());
    };
    match mark {
        Some(found) if found == expected => Ok(()),
        Some(found) => Err(Error::OtherPlatform {
            service,
            found,
            expected,
        }),
        None => Err(Error::Unclaimed { service }),
    }
}

fn mark_of(platform: Uuid) -> String {
    format!("platform {platform}")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_and_a_database_without_unicode_are_refused() {
        assert_eq!(fitness(15_00_20, "UTF8"), Ok(()));
        let old = Err("this Postgres is of version 12, and Trunkline needs 13 or a later one".to_owned());
        assert_eq!(fitness(12_00_17, "UTF8"), old);
        let latin = Err("the database has the encoding LATIN1; make one with the encoding UTF8".to_owned());
        assert_eq!(fitness(15_00_20, "LATIN1"), latin);
    }
}

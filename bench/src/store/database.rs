//! A database that a measurement has for itself on a Postgres server, and what the server tells about itself.

use anyhow::{Context as _, Result, ensure};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use uuid::Uuid;

use crate::ingest::FileSystem;
use crate::process;

/// A database that nobody else uses. It is there until [`Database::remove`].
pub struct Database {
    url: String,
    name: String,
    owner: PgConnection,
}

impl Database {
    /// Makes one on a server, `postgres://…/<database>` as its superuser.
    ///
    /// # Errors
    /// When the server does not let.
    pub async fn make(server: &str) -> Result<Self> {
        let options: PgConnectOptions = server.parse().context("--postgres is no address")?;
        let (prefix, _) = server.rsplit_once('/').context("--postgres ends in /<database>")?;
        let mut owner = options.connect().await.context("Postgres does not answer")?;
        let name = format!("bench_{}", Uuid::now_v7().simple());
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut owner).await?;
        Ok(Self {
            url: format!("{prefix}/{name}"),
            name,
            owner,
        })
    }

    /// Its address, as the superuser.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What decides how fast the server can be, in words.
    ///
    /// # Errors
    /// When the server keeps nothing, so that its figures do not count.
    pub async fn settings(&mut self) -> Result<String> {
        let show = "
            SELECT current_setting('fsync'), current_setting('server_version'), current_setting('shared_buffers'),
                   current_setting('data_directory')";
        let (fsync, version, buffers, folder): (String, String, String, String) =
            sqlx::query_as(show).fetch_one(&mut self.owner).await?;
        ensure!(fsync == "on", "this Postgres does not sync: no result of it is stored");
        let file_system = FileSystem::of(folder.as_ref())?;
        ensure!(
            file_system.keeps_synced(),
            "the files of this Postgres are on {file_system}, which keeps nothing; TMPDIR can name another folder"
        );
        Ok(format!(
            "Postgres {version} on {file_system}, fsync on, shared buffers {buffers}"
        ))
    }

    /// The server's first process, which is the parent of all others.
    ///
    /// # Errors
    /// When the server runs on another machine.
    pub async fn server_process(&mut self) -> Result<u32> {
        let (own,): (i32,) = sqlx::query_as("SELECT pg_backend_pid()")
            .fetch_one(&mut self.owner)
            .await?;
        process::parent(u32::try_from(own)?).context("Postgres does not run on this machine")
    }

    /// Takes it away, whoever is connected to it.
    ///
    /// # Errors
    /// When the server does not let.
    pub async fn remove(mut self) -> Result<()> {
        let force = AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        sqlx::raw_sql(force).execute(&mut self.owner).await?;
        Ok(())
    }
}

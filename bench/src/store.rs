//! Rows from the message store itself, its file or its Postgres: faster than the reader, and in the order of the log.

pub mod bare;
pub mod database;
pub mod rows;

use std::path::Path;

use anyhow::{Context as _, Result};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use uuid::Uuid;

use crate::Place;
use crate::row::Row;

const SELECT_ROWS: &str = "
    SELECT channels.domain_id, channels.channel_id, publisher_id, protocol, message_id, CAST(pack_index AS BIGINT),
           COALESCE(name, ''), COALESCE(string_value, '')
    FROM messages
    JOIN channels ON channels.channel_key = messages.channel_key
    WHERE channels.domain_id = $1 AND channels.channel_id = $2
    ORDER BY log_incarnation, log_shard, log_sequence, pack_index";

type Columns = (Uuid, Uuid, Uuid, String, Uuid, i64, String, String);

/// Every record of a channel, in the order of the log. The platform may be running.
///
/// # Errors
/// When the file is not there or is no message store.
pub async fn rows(file: &Path, place: &Place) -> Result<Vec<Row>> {
    let mut connection = open(file).await?;
    let rows: Vec<Columns> = sqlx::query_as(SELECT_ROWS)
        .bind(id(&place.domain)?)
        .bind(id(&place.channel)?)
        .fetch_all(&mut connection)
        .await
        .with_context(|| format!("{} is no message store", file.display()))?;
    connection.close().await?;
    Ok(rows.into_iter().map(row).collect())
}

/// The same from the Postgres at `url`, as whoever may read the schema `messages`.
///
/// # Errors
/// When it does not answer or is no message store.
pub async fn rows_on_postgres(url: &str, place: &Place) -> Result<Vec<Row>> {
    let options: PgConnectOptions = url
        .parse()
        .context("the address of the message store is none of Postgres")?;
    let mut connection = options.options([("search_path", "messages")]).connect().await?;
    let rows: Vec<Columns> = sqlx::query_as(SELECT_ROWS)
        .bind(id(&place.domain)?)
        .bind(id(&place.channel)?)
        .fetch_all(&mut connection)
        .await
        .context("this Postgres is no message store")?;
    connection.close().await?;
    Ok(rows.into_iter().map(row).collect())
}

/// Holds the write lock of a database file as another process would, until it is dropped.
pub struct Foreigner(Option<SqliteConnection>);

impl Foreigner {
    /// Begins a transaction that writes.
    ///
    /// # Errors
    /// When the file cannot be opened or its lock is not to be had within the driver's patience.
    pub async fn hold(file: &Path) -> Result<Self> {
        let mut connection = open(file).await?;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await?;
        Ok(Self(Some(connection)))
    }

    /// Ends the transaction and lets others write.
    ///
    /// # Errors
    /// When the database cannot be closed.
    pub async fn release(mut self) -> Result<()> {
        if let Some(mut connection) = self.0.take() {
            sqlx::query("ROLLBACK").execute(&mut connection).await?;
            connection.close().await?;
        }
        Ok(())
    }
}

fn id(text: &str) -> Result<Uuid> {
    text.parse().with_context(|| format!("`{text}` is no id"))
}

async fn open(file: &Path) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(file);
    let opened = options.connect().await;
    opened.with_context(|| format!("{} cannot be opened", file.display()))
}

fn row((domain, channel, publisher, protocol, message_id, pack_index, name, text): Columns) -> Row {
    Row {
        place: Place {
            domain: domain.to_string(),
            channel: channel.to_string(),
        },
        publisher: publisher.to_string(),
        protocol,
        message_id,
        pack_index: u32::try_from(pack_index).unwrap_or(u32::MAX),
        name,
        text,
    }
}

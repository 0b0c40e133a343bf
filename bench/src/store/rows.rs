//! Rows per second into Postgres: through the message store, as the writer brings them, beside one raw COPY of the same rows into the
//! same table, in one run and in the order A B B A.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use trunkline_core::{ChannelId, DomainId, MessageId};
use trunkline_store::{Batch, LogPosition, MessageStore, Origin, PostgresStore, Protocol, PublisherKind, StoredRecord};
use uuid::Uuid;

use super::database::Database;
use crate::{Content, process};

/// Channels that the rows are spread over, all of one domain for each shard.
const CHANNELS: usize = 64;
/// The consumer group that stores.
const GROUP: &str = "writer";

/// Takes all rows away and lets no part pay for the one before.
const CLEAR: &str = "TRUNCATE messages; CHECKPOINT";

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// A Postgres server, as its superuser.
    pub postgres: String,
    /// Rows of each part.
    pub rows: usize,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Shards that store at the same time.
    pub shards: usize,
    /// Bytes of the payload that a row came in.
    pub payload_bytes: usize,
    /// Rounds of A B B A.
    pub rounds: usize,
}

/// How long a part took.
struct Part {
    name: &'static str,
    rows: u64,
    time: Duration,
    /// Time of this process on the processor.
    processor: Duration,
}

impl Part {
    fn rows_per_second(&self) -> f64 {
        self.rows as f64 / self.time.as_secs_f64()
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let processor_us = self.processor.as_secs_f64() * 1e6 / self.rows as f64;
        write!(
            formatter,
            "{:<18} {:>9.0} rows/s   {processor_us:>5.2} µs of this process's processor a row",
            self.name,
            self.rows_per_second(),
        )
    }
}

const STORE: &str = "message store";
const RAW: &str = "raw COPY";

/// Measures in a database of its own, which it removes, and prints each part as it ends, then the ratio.
///
/// # Errors
/// When the server does not let, or keeps nothing.
pub async fn run(options: &Options) -> Result<()> {
    let mut database = Database::make(&options.postgres).await?;
    let outcome = match database.settings().await {
        Ok(settings) => {
            println!("{settings}");
            measure(options, database.url()).await
        }
        Err(error) => Err(error),
    };
    database.remove().await?;
    outcome
}

async fn measure(options: &Options, url: &str) -> Result<()> {
    PostgresStore::migrate(url, Uuid::nil()).await?;
    let store = Arc::new(PostgresStore::open(url, Uuid::nil()).await?);
    let options_of_schema = url.parse::<PgConnectOptions>()?.options([("search_path", "messages")]);
    let mut raw = options_of_schema.connect().await?;
    let records = Arc::new(records(options));
    // The rows as the server writes them out, so that raw COPY sends exactly those.
    through_store(&store, &records, options).await?;
    let image = image(&mut raw).await?;
    let mut parts = Vec::new();
    for _ in 0..options.rounds {
        for name in [STORE, RAW, RAW, STORE] {
            sqlx::raw_sql(CLEAR).execute(&mut raw).await?;
            let (started, before) = (Instant::now(), process::processor_time(std::process::id())?);
            let rows = match name {
                STORE => through_store(&store, &records, options).await?,
                _ => raw_copy(&mut raw, &image).await?,
            };
            let time = started.elapsed();
            let processor = process::processor_time(std::process::id())? - before;
            ensure!(
                rows == options.rows as u64,
                "{rows} rows were stored of {}",
                options.rows
            );
            let part = Part {
                name,
                rows,
                time,
                processor,
            };
            println!("{part}");
            parts.push(part);
        }
    }
    println!("{STORE} / {RAW} = {:.2}", mean(&parts, STORE) / mean(&parts, RAW));
    store.close().await;
    Ok(raw.close().await?)
}

/// Rows per second of all parts of a name together.
fn mean(parts: &[Part], name: &str) -> f64 {
    let named = || parts.iter().filter(|part| part.name == name);
    let time: Duration = named().map(|part| part.time).sum();
    named().map(|part| part.rows).sum::<u64>() as f64 / time.as_secs_f64()
}

/// Every shard's rows, in batches, each shard one after the other.
async fn through_store(
    store: &Arc<PostgresStore>,
    records: &Arc<Vec<Vec<StoredRecord>>>,
    options: &Options,
) -> Result<u64> {
    let shards: Vec<_> = (0..options.shards)
        .map(|shard| {
            let (store, records, batch_rows) = (store.clone(), records.clone(), options.batch_rows);
            tokio::spawn(async move {
                let mut rows = 0;
                for (number, records) in records[shard].chunks(batch_rows).enumerate() {
                    let batch = Batch {
                        group: GROUP,
                        log_shard: shard as u16,
                        position: position(number as u64 + 1),
                        records,
                        unreadable: &[],
                    };
                    rows += store.insert(&batch).await?.rows;
                }
                anyhow::Ok(rows)
            })
        })
        .collect();
    let mut rows = 0;
    for shard in shards {
        rows += shard.await??;
    }
    Ok(rows)
}

/// The table as COPY writes it.
async fn image(connection: &mut PgConnection) -> Result<Vec<u8>> {
    let mut image = Vec::new();
    let mut chunks = connection
        .copy_out_raw("COPY messages TO STDOUT (FORMAT binary)")
        .await?;
    while let Some(chunk) = chunks.try_next().await? {
        image.extend_from_slice(&chunk);
    }
    Ok(image)
}

async fn raw_copy(connection: &mut PgConnection, image: &[u8]) -> Result<u64> {
    /// Bytes sent at once, as many as the store sends.
    const CHUNK_BYTES: usize = 64 * 1024;
    let mut copy = connection
        .copy_in_raw("COPY messages FROM STDIN (FORMAT binary)")
        .await?;
    for chunk in image.chunks(CHUNK_BYTES) {
        copy.send(chunk).await?;
    }
    Ok(copy.finish().await?)
}

fn position(sequence: u64) -> LogPosition {
    LogPosition {
        incarnation: 1,
        sequence,
    }
}

/// The rows of each shard: messages of one record each, in the order of time.
fn records(options: &Options) -> Vec<Vec<StoredRecord>> {
    let per_shard = options.rows / options.shards;
    let extra = options.rows % options.shards;
    (0..options.shards)
        .map(|shard| {
            let (domain_id, publisher_id) = (DomainId::new(), Uuid::now_v7());
            let channels: Vec<_> = (0..CHANNELS).map(|_| ChannelId::new()).collect();
            let count = per_shard + usize::from(shard < extra);
            let record = |number: usize| {
                let time = 1_700_000_000_000_000_000 + number as i64 * 1_000;
                let content = Content::new("rows", shard as u32, number as u64, time as u64, options.payload_bytes);
                let origin = Origin {
                    domain_id,
                    channel_id: channels[number % CHANNELS],
                    message_id: MessageId::new(),
                    subtopic: String::new(),
                    publisher_id,
                    publisher_kind: PublisherKind::Client,
                    device_id: Some(publisher_id),
                    protocol: Protocol::Mqtt,
                    content_type: String::new(),
                    received_at: time,
                    log_shard: shard as u16,
                    log_position: position(number as u64 + 1),
                };
                StoredRecord {
                    name: Some(content.name),
                    string_value: Some(content.text),
                    ..StoredRecord::new(Arc::new(origin), time, 0)
                }
            };
            (0..count).map(record).collect()
        })
        .collect()
}

//! The least that must be done: the same batches into the same two schemas, without protocol, admission or envelope. What the platform
//! reaches is held against it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::Content;

/// The log's table for one shard.
const LOG: &str = "
    CREATE TABLE log_0 (
        sequence INTEGER PRIMARY KEY, id BLOB NOT NULL, domain BLOB NOT NULL, appended_at INTEGER NOT NULL,
        envelope BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX log_0_id ON log_0 (id);";
/// The message store's tables are its own.
const STORE: &str = include_str!("../../../crates/store/src/store/schema/sqlite_0001_messages.sql");
/// Bytes that an envelope has around its payload.
const ENVELOPE_BYTES: usize = 150;
/// Rows of one statement.
const STATEMENT_ROWS: usize = 64;
/// Entries of one commit.
const BATCH_ENTRIES_MAX: usize = 4_096;
/// Entries that are stored in one transaction.
const STORE_ENTRIES_MAX: usize = 1_024;
/// Pages of the write-ahead log after which it is copied back.
const CHECKPOINT_PAGES: &str = "8000";

/// What the loop reached.
#[derive(Debug, Clone, Copy)]
pub struct Bare {
    /// Entries that were durable, per second.
    pub acknowledged: f64,
    /// Commits of the log per second.
    pub commits: f64,
    /// Entries stored per second.
    pub stored: f64,
}

/// An entry and whom to tell that it is durable.
type Job = (Vec<u8>, oneshot::Sender<()>);

/// Runs the loop in `folder` with `in_flight` publishers of `payload_bytes` each.
///
/// # Errors
/// When the databases cannot be written.
pub async fn run(folder: &Path, in_flight: usize, payload_bytes: usize, time: Duration) -> Result<Bare> {
    let log = open(&folder.join("log.db"), LOG).await?;
    let store = open(&folder.join("messages.db"), STORE).await?;
    let (jobs, waiting) = mpsc::channel(BATCH_ENTRIES_MAX);
    let counts = Arc::new([const { AtomicU64::new(0) }; 2]);
    let until = Instant::now() + time;
    let publishers: Vec<_> = (0..in_flight)
        .map(|number| tokio::spawn(publish(jobs.clone(), number as u32, payload_bytes, until)))
        .collect();
    drop(jobs);
    let reader = SqliteConnectOptions::new()
        .filename(folder.join("log.db"))
        .connect()
        .await?;
    let writer = tokio::spawn(write(reader, store, counts.clone(), until));
    let started = Instant::now();
    let commits = own(log, waiting, &counts[0]).await?;
    let seconds = started.elapsed().as_secs_f64();
    for publisher in publishers {
        publisher.await?;
    }
    writer.await??;
    let rate = |count: u64| count as f64 / seconds;
    Ok(Bare {
        acknowledged: rate(counts[0].load(Relaxed)),
        commits: rate(commits),
        stored: rate(counts[1].load(Relaxed)),
    })
}

async fn open(file: &Path, schema: &'static str) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .statement_cache_capacity(2 * STATEMENT_ROWS);
    let mut connection = options.connect().await.context("the bare loop has no database")?;
    sqlx::raw_sql(schema).execute(&mut connection).await?;
    Ok(connection)
}

async fn publish(jobs: mpsc::Sender<Job>, number: u32, payload_bytes: usize, until: Instant) {
    for sequence in 0.. {
        if Instant::now() >= until {
            return;
        }
        let mut entry = vec![0; ENVELOPE_BYTES];
        entry.extend(Content::new("bare", number, sequence, sequence, payload_bytes).payload());
        let (done, durable) = oneshot::channel();
        if jobs.send((entry, done)).await.is_err() || durable.await.is_err() {
            return;
        }
    }
}

/// The single owner of the log: one commit for all that wait.
async fn own(mut log: SqliteConnection, mut waiting: mpsc::Receiver<Job>, acknowledged: &AtomicU64) -> Result<u64> {
    let (mut jobs, mut sequence, mut commits) = (Vec::new(), 0_i64, 0);
    let domain = Uuid::now_v7();
    while waiting.recv_many(&mut jobs, BATCH_ENTRIES_MAX).await > 0 {
        let mut transaction = log.begin().await?;
        for rows in jobs.chunks(STATEMENT_ROWS) {
            let sql = insert("INSERT INTO log_0 VALUES", 5, rows.len(), "");
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for (entry, _) in rows {
                sequence += 1;
                query = query
                    .bind(sequence)
                    .bind(Uuid::now_v7())
                    .bind(domain)
                    .bind(sequence)
                    .bind(entry.as_slice());
            }
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        commits += 1;
        acknowledged.fetch_add(jobs.len() as u64, Relaxed);
        for (_, done) in jobs.drain(..) {
            // Who does not wait any more need not be told.
            let _ = done.send(());
        }
    }
    log.close().await?;
    Ok(commits)
}

/// Reads the log and stores what it finds, as the platform's writer does.
async fn write(
    mut log: SqliteConnection,
    mut store: SqliteConnection,
    counts: Arc<[AtomicU64; 2]>,
    until: Instant,
) -> Result<()> {
    const SELECT: &str = "SELECT sequence, id, envelope FROM log_0 WHERE sequence > $1 ORDER BY sequence LIMIT $2";
    let (mut position, publisher) = (0_i64, Uuid::now_v7());
    while Instant::now() < until {
        let entries: Vec<(i64, Uuid, Vec<u8>)> = sqlx::query_as(SELECT)
            .bind(position)
            .bind(STORE_ENTRIES_MAX as i64)
            .fetch_all(&mut log)
            .await?;
        let Some((last, ..)) = entries.last() else {
            tokio::task::yield_now().await;
            continue;
        };
        position = *last;
        let mut transaction = store.begin().await?;
        for rows in entries.chunks(STATEMENT_ROWS) {
            const COLUMNS: &str = "INSERT INTO messages (channel_key, time, message_id, pack_index, subtopic, publisher_id, \
                publisher_kind, protocol, content_type, name, string_value, log_incarnation, log_shard, log_sequence, received_at) VALUES";
            let sql = insert(COLUMNS, 15, rows.len(), " ON CONFLICT DO NOTHING");
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for (sequence, id, envelope) in rows {
                let text = std::str::from_utf8(&envelope[ENVELOPE_BYTES..]).unwrap_or_default();
                query = query
                    .bind(1)
                    .bind(sequence)
                    .bind(id)
                    .bind(0)
                    .bind("")
                    .bind(publisher)
                    .bind("client")
                    .bind("mqtt");
                query = query
                    .bind("application/senml+json")
                    .bind("name")
                    .bind(text)
                    .bind(1)
                    .bind(0)
                    .bind(sequence)
                    .bind(sequence);
            }
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        counts[1].fetch_add(entries.len() as u64, Relaxed);
    }
    Ok(store.close().await?)
}

fn insert(head: &str, columns: usize, rows: usize, tail: &str) -> String {
    let row = format!(" ({})", vec!["?"; columns].join(", "));
    format!("{head}{}{tail}", vec![row; rows].join(","))
}

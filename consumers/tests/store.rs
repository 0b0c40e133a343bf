//! The writer while its message store fails, and between a damaged log and a whole one.
#![allow(clippy::unwrap_used)]

mod platform;

use platform::{Channel, PATIENCE, Platform};
use sqlx::{AssertSqlSafe, SqlitePool};
use trunkline_testkit::until;

async fn open_file(platform: &Platform, file: &str) -> SqlitePool {
    let path = platform.directory.path().join(file);
    SqlitePool::connect(path.to_str().unwrap()).await.unwrap()
}

async fn execute(file: &SqlitePool, sql: String) {
    sqlx::query(AssertSqlSafe(sql)).execute(file).await.unwrap();
}

#[tokio::test]
async fn a_store_that_fails_is_tried_again_and_nothing_is_skipped() {
    let platform = Platform::open().await;
    let channel = Channel::new();
    let operator = open_file(&platform, "messages.db").await;
    execute(&operator, "ALTER TABLE messages RENAME TO elsewhere".to_owned()).await;

    let running = platform.start().await;
    platform.publish(channel, br#"{"a":1}"#).await;
    platform.publish(channel, br#"{"a":2}"#).await;
    let retries = platform.metrics.counter("trunkline_writer_retries_total", "", &[]);
    until(PATIENCE, || async { retries.value() > 1 }).await;
    let shard = platform.bus.log.shard_of(channel.domain_id);
    assert_eq!(platform.bus.log.committed("writer", shard), Ok(0));

    execute(&operator, "ALTER TABLE elsewhere RENAME TO messages".to_owned()).await;
    assert_eq!(platform.stored(channel, 2).await.total, 2);
    platform.committed().await;
    running.stop().await;
}

#[tokio::test]
async fn a_writer_whose_store_fails_ends_when_it_is_told_to() {
    let platform = Platform::open().await;
    let running = platform.start().await;
    platform.store.close().await;
    platform.publish(Channel::new(), b"x").await;
    let retries = platform.metrics.counter("trunkline_writer_retries_total", "", &[]);
    until(PATIENCE, || async { retries.value() > 0 }).await;
    running.stop().await;
}

#[tokio::test]
async fn a_damaged_entry_is_noted_and_blocks_nothing() {
    let platform = Platform::open().await;
    let channel = Channel::new();
    for number in 1..=5 {
        platform
            .publish(channel, format!(r#"{{"a":{number}}}"#).as_bytes())
            .await;
    }
    let shard = platform.bus.log.shard_of(channel.domain_id);
    let log = open_file(&platform, "log.db").await;
    execute(
        &log,
        format!("UPDATE log_{shard} SET envelope = x'ff' WHERE sequence = 3"),
    )
    .await;
    log.close().await;

    let platform = platform.restart().await;
    let running = platform.start().await;
    let page = platform.stored(channel, 4).await;
    platform.committed().await;
    running.stop().await;
    let payloads: Vec<_> = page
        .records
        .iter()
        .rev()
        .map(|record| record.payload.as_deref().unwrap())
        .collect();
    assert_eq!(payloads, [r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":4}"#, r#"{"a":5}"#]);
    let store = open_file(&platform, "messages.db").await;
    let noted: Vec<i64> = sqlx::query_scalar("SELECT log_sequence FROM unreadable_entries")
        .fetch_all(&store)
        .await
        .unwrap();
    assert_eq!(noted, [3]);
}

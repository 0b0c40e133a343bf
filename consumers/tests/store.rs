//! The writer while its message store fails.
#![allow(clippy::unwrap_used)]

mod platform;

use platform::{Channel, PATIENCE, Platform};
use trunkline_testkit::until;

#[tokio::test]
async fn a_store_that_fails_is_tried_again_and_nothing_is_skipped() {
    let platform = Platform::open().await;
    let channel = Channel::new();
    let path = platform.directory.path().join("messages.db");
    let operator = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query("ALTER TABLE messages RENAME TO elsewhere")
        .execute(&operator)
        .await
        .unwrap();

    let running = platform.start().await;
    platform.publish(channel, br#"{"a":1}"#).await;
    platform.publish(channel, br#"{"a":2}"#).await;
    let retries = platform.metrics.counter("trunkline_writer_retries_total", "", &[]);
    until(PATIENCE, || async { retries.value() > 1 }).await;
    let shard = platform.bus.log.shard_of(channel.domain_id);
    assert_eq!(platform.bus.log.committed("writer", shard), Ok(0));

    sqlx::query("ALTER TABLE elsewhere RENAME TO messages")
        .execute(&operator)
        .await
        .unwrap();
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

//! What the writer promises, between the embedded log and a message store.
#![allow(clippy::unwrap_used)]

mod platform;

use platform::{Channel, Platform};
use trunkline_bus::log::{Shard, WRITER_GROUP};
use trunkline_store::{Batch, LogPosition, StoredRecord};
use trunkline_testkit::until;

on_both!(
    messages_of_every_shard_are_stored_and_committed,
    messages_from_before_the_writer_are_stored,
    a_restart_goes_on_and_stores_nothing_twice,
    reading_the_log_again_changes_no_row,
    a_position_of_another_log_or_beyond_its_end_is_not_believed,
    a_batch_larger_than_a_transaction_is_stored_whole,
    a_backlog_of_large_messages_is_stored_in_several_batches,
    a_large_payload_is_decoded_like_a_small_one,
    the_writer_ends_when_it_is_told_to,
    a_writer_that_stops_has_stored_what_it_committed,
);

fn payloads(records: &[StoredRecord]) -> Vec<&str> {
    let mut payloads: Vec<_> = records
        .iter()
        .map(|record| record.payload.as_deref().unwrap())
        .collect();
    payloads.sort_unstable();
    payloads
}

/// Lets the store forget how far it is, as a crash between reading and storing would leave it.
async fn rewind(platform: &Platform, shard: u16) {
    let incarnation = platform.bus.log.incarnation().0;
    let position = LogPosition {
        incarnation,
        sequence: 0,
    };
    let batch = Batch {
        group: WRITER_GROUP,
        log_shard: shard,
        position,
        records: &[],
        unreadable: &[],
    };
    platform.store.insert(&batch).await.unwrap();
}

async fn messages_of_every_shard_are_stored_and_committed(platform: Platform) {
    let channels: Vec<_> = (0..20).map(|_| Channel::new()).collect();
    let running = platform.start().await;
    for channel in &channels {
        platform
            .publish(*channel, br#"[{"n":"a","v":1},{"n":"b","v":2}]"#)
            .await;
    }
    for channel in &channels {
        assert_eq!(platform.stored(*channel, 2).await.records.len(), 2);
    }
    platform.committed().await;
    running.stop().await;
}

async fn messages_from_before_the_writer_are_stored(platform: Platform) {
    let channel = Channel::new();
    platform.publish(channel, br#"{"a":1}"#).await;
    let running = platform.start().await;
    assert_eq!(payloads(&platform.stored(channel, 1).await.records), [r#"{"a":1}"#]);
    running.stop().await;
}

async fn a_restart_goes_on_and_stores_nothing_twice(platform: Platform) {
    let channel = Channel::new();
    let running = platform.start().await;
    platform.publish(channel, br#"{"a":1}"#).await;
    platform.stored(channel, 1).await;
    running.stop().await;

    platform.publish(channel, br#"{"a":2}"#).await;
    let platform = platform.restart().await;
    let running = platform.start().await;
    platform.publish(channel, br#"{"a":3}"#).await;
    let page = platform.stored(channel, 3).await;
    assert_eq!(payloads(&page.records), [r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#]);
    running.stop().await;
}

async fn reading_the_log_again_changes_no_row(platform: Platform) {
    let channel = Channel::new();
    let running = platform.start().await;
    for _ in 0..10 {
        platform
            .publish(channel, br#"[{"n":"a","v":1},{"n":"a","t":-1,"v":1}]"#)
            .await;
    }
    let before = platform.stored(channel, 20).await;
    running.stop().await;

    let shard = platform.bus.log.shard_of(channel.domain_id);
    rewind(&platform, shard.0).await;
    let running = platform.start().await;
    platform
        .publish(
            Channel {
                channel_id: Channel::new().channel_id,
                ..channel
            },
            b"the last one",
        )
        .await;
    platform.committed().await;
    running.stop().await;
    assert_eq!(platform.read(channel).await, before);
}

async fn a_position_of_another_log_or_beyond_its_end_is_not_believed(platform: Platform) {
    let incarnation = platform.bus.log.incarnation().0;
    let channel = Channel::new();
    let shard = platform.bus.log.shard_of(channel.domain_id).0;
    platform.publish(channel, br#"{"a":1}"#).await;
    for position in [
        LogPosition {
            incarnation,
            sequence: 1_000,
        },
        LogPosition {
            incarnation: incarnation - 1,
            sequence: 1,
        },
    ] {
        let batch = Batch {
            group: WRITER_GROUP,
            log_shard: shard,
            position,
            records: &[],
            unreadable: &[],
        };
        platform.store.insert(&batch).await.unwrap();
        let running = platform.start().await;
        let believed = LogPosition {
            incarnation,
            sequence: 1,
        };
        let is_believed = || async { platform.store.position(WRITER_GROUP, shard).await.unwrap() == Some(believed) };
        until(platform::PATIENCE, is_believed).await;
        running.stop().await;
    }
    assert_eq!(platform.read(channel).await.total, 1);
}

async fn a_batch_larger_than_a_transaction_is_stored_whole(platform: Platform) {
    let channel = Channel::new();
    let pack = format!("[{}]", vec![r#"{"n":"a","v":1}"#; 1_500].join(","));
    for _ in 0..3 {
        platform.publish(channel, pack.as_bytes()).await;
    }
    let running = platform.start().await;
    assert_eq!(platform.stored(channel, 4_500).await.total, 4_500);
    platform.committed().await;
    running.stop().await;
}

async fn a_backlog_of_large_messages_is_stored_in_several_batches(platform: Platform) {
    let channel = Channel::new();
    let payload = format!(r#"{{"a":"{}"}}"#, "x".repeat(250_000));
    for _ in 0..100 {
        platform.publish(channel, payload.as_bytes()).await;
    }
    let running = platform.start().await;
    platform.committed().await;
    let batches = platform
        .metrics
        .counter("trunkline_writer_batches_total", "", &[])
        .value();
    assert!(batches >= 3, "{batches}");
    assert_eq!(platform.read(channel).await.total, 100);
    running.stop().await;
}

async fn a_large_payload_is_decoded_like_a_small_one(platform: Platform) {
    let channel = Channel::new();
    let running = platform.start().await;
    let payload = format!(r#"{{"a":"{}"}}"#, "x".repeat(200_000));
    platform.publish(channel, payload.as_bytes()).await;
    assert_eq!(
        platform.stored(channel, 1).await.records[0].payload.as_deref(),
        Some(payload.as_str())
    );
    running.stop().await;
}

async fn the_writer_ends_when_it_is_told_to(platform: Platform) {
    platform.start().await.stop().await;
}

async fn a_writer_that_stops_has_stored_what_it_committed(platform: Platform) {
    let channel = Channel::new();
    for _ in 0..200 {
        platform.publish(channel, br#"{"a":1}"#).await;
    }
    let running = platform.start().await;
    let shard = platform.bus.log.shard_of(channel.domain_id);
    let has_begun = || async { platform.bus.log.committed(WRITER_GROUP, Shard(shard.0)).unwrap() > 0 };
    until(platform::PATIENCE, has_begun).await;
    running.stop().await;
    let committed = platform.bus.log.committed(WRITER_GROUP, shard).unwrap();
    assert!(platform.read(channel).await.total >= committed);
}

//! The writer while its message store fails or refuses, and between a damaged log and a whole one.
#![allow(clippy::unwrap_used)]

mod platform;

use std::time::Duration;

use platform::{Channel, PATIENCE, Place, Platform};
use sqlx::{AssertSqlSafe, SqlitePool};
use trunkline_bus::StoredEntry;
use trunkline_bus::dead_letters::{OPERATOR_GROUP, REASON_PROPERTY};
use trunkline_bus::embedded::Config;
use trunkline_bus::log::ReadLimit;
use trunkline_testkit::until;

on_both!(
    a_store_that_fails_is_tried_again_and_nothing_is_skipped,
    a_damaged_entry_is_noted_and_blocks_nothing,
    a_refused_record_is_parked_and_all_others_are_stored,
    a_refused_record_holds_its_place_until_it_is_parked,
);

/// Has the store refuse records of the name `poison`.
async fn refuse_poison(place: &Place) {
    let on_sqlite = "CREATE TRIGGER refuse BEFORE INSERT ON messages WHEN NEW.name = 'poison'
        BEGIN SELECT RAISE(ABORT, 'no poison here'); END";
    let on_postgres = "ALTER TABLE messages ADD CONSTRAINT refuse CHECK (name <> 'poison')";
    place.operate(on_sqlite, on_postgres).await;
}

/// What the dead letters hold for a domain.
async fn letters(platform: &Platform, channel: Channel) -> Vec<StoredEntry> {
    let log = platform.dead_letters.log();
    let shard = log.shard_of(channel.domain_id);
    log.read(shard, 1, ReadLimit::default()).await.unwrap().entries
}

async fn a_store_that_fails_is_tried_again_and_nothing_is_skipped(platform: Platform) {
    let channel = Channel::new();
    let rename = "ALTER TABLE messages RENAME TO elsewhere";
    platform.place.operate(rename, rename).await;

    let running = platform.start().await;
    platform.publish(channel, br#"{"a":1}"#).await;
    platform.publish(channel, br#"{"a":2}"#).await;
    let retries = platform.retries();
    until(PATIENCE, || async { retries.value() > 1 }).await;
    let shard = platform.bus.log.shard_of(channel.domain_id);
    assert_eq!(platform.bus.log.committed("writer", shard), Ok(0));

    let rename_back = "ALTER TABLE elsewhere RENAME TO messages";
    platform.place.operate(rename_back, rename_back).await;
    assert_eq!(platform.stored(channel, 2).await.total, 2);
    platform.committed().await;
    running.stop().await;
    assert!(letters(&platform, channel).await.is_empty());
}

#[tokio::test]
async fn a_writer_whose_store_went_away_ends_when_it_is_told_to() {
    let platform = Platform::on_postgres().await;
    let Place::Postgres(database) = &platform.place else {
        unreachable!()
    };
    let running = platform.start().await;
    database.go_away().await;
    platform.publish(Channel::new(), b"x").await;
    let retries = platform.retries();
    until(PATIENCE, || async { retries.value() > 0 }).await;
    running.stop().await;
}

#[tokio::test]
async fn a_store_that_went_away_and_comes_back_gets_everything_once() {
    let platform = Platform::on_postgres().await;
    let Place::Postgres(database) = &platform.place else {
        unreachable!()
    };
    let channel = Channel::new();
    let running = platform.start().await;
    platform.publish(channel, br#"{"a":1}"#).await;
    platform.stored(channel, 1).await;

    let retries = platform.retries();
    for round in 1..=3 {
        database.go_away().await;
        let before = retries.value();
        for number in 0..50 {
            platform
                .publish(channel, format!(r#"{{"a":{number}}}"#).as_bytes())
                .await;
        }
        until(PATIENCE, || async { retries.value() > before }).await;
        database.come_back().await;
        platform.committed().await;
        assert_eq!(platform.read(channel).await.total, 1 + 50 * round);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_network_that_hangs_heals_within_ten_seconds_of_its_return() {
    let platform = Platform::on_postgres_behind_a_proxy().await;
    let channel = Channel::new();
    let running = platform.start().await;
    platform.publish(channel, br#"{"a":1}"#).await;
    platform.stored(channel, 1).await;

    let proxy = platform.proxy.as_ref().unwrap();
    proxy.hold();
    for number in 0..50 {
        platform
            .publish(channel, format!(r#"{{"a":{number}}}"#).as_bytes())
            .await;
    }
    let retries = platform.retries();
    until(PATIENCE, || async { retries.value() > 0 }).await;
    proxy.reset();
    proxy.heal();
    let returned = std::time::Instant::now();
    platform.committed().await;
    assert!(returned.elapsed() < Duration::from_secs(10), "{:?}", returned.elapsed());
    assert_eq!(platform.read(channel).await.total, 51);
    running.stop().await;
}

#[tokio::test]
async fn a_table_that_is_locked_delays_and_loses_nothing() {
    let platform = Platform::on_postgres().await;
    let Place::Postgres(database) = &platform.place else {
        unreachable!()
    };
    let channel = Channel::new();
    let mut operator = Place::connect(database).await;
    let lock = "BEGIN; LOCK TABLE messages IN EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut operator).await.unwrap();
    let running = platform.start().await;
    for number in 0..100 {
        platform
            .publish(channel, format!(r#"{{"a":{number}}}"#).as_bytes())
            .await;
    }
    let retries = platform.retries();
    until(PATIENCE, || async { retries.value() > 1 }).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut operator).await.unwrap();
    platform.committed().await;
    assert_eq!(platform.read(channel).await.total, 100);
    assert!(letters(&platform, channel).await.is_empty());
    running.stop().await;
}

async fn a_damaged_entry_is_noted_and_blocks_nothing(platform: Platform) {
    let channel = Channel::new();
    for number in 1..=5 {
        platform
            .publish(channel, format!(r#"{{"a":{number}}}"#).as_bytes())
            .await;
    }
    let shard = platform.bus.log.shard_of(channel.domain_id);
    let file = platform.directory.path().join("log.db");
    let log = SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
    let damage = format!("UPDATE log_{shard} SET envelope = x'ff' WHERE sequence = 3");
    sqlx::query(AssertSqlSafe(damage)).execute(&log).await.unwrap();
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
    let noted = platform
        .place
        .number("SELECT MAX(log_sequence) FROM unreadable_entries");
    assert_eq!(noted.await, 3);
}

async fn a_refused_record_is_parked_and_all_others_are_stored(platform: Platform) {
    let channel = Channel::new();
    for number in 0..200 {
        let name = if number % 67 == 65 { "poison" } else { "n" };
        let pack = format!(r#"[{{"n":"a","v":1}},{{"n":"b","v":2}},{{"n":"{name}","v":{number}}}]"#);
        platform.publish(channel, pack.as_bytes()).await;
    }
    refuse_poison(&platform.place).await;
    let running = platform.start().await;
    platform.committed().await;
    running.stop().await;

    assert_eq!(platform.read(channel).await.total, 3 * 200 - 3);
    let shard = platform.bus.log.shard_of(channel.domain_id);
    let position = platform.store.position("writer", shard.0).await.unwrap();
    assert_eq!(
        position.unwrap().sequence,
        200,
        "also past a message whose last record is refused"
    );
    let letters = letters(&platform, channel).await;
    assert_eq!(letters.len(), 3);
    for letter in letters {
        assert!(letter.envelope.payload.windows(6).any(|window| window == b"poison"));
        let reason = letter.envelope.user_properties.last().unwrap();
        assert_eq!(reason.name, REASON_PROPERTY);
        assert!(reason.value.starts_with("record 2 of its pack: "), "{}", reason.value);
    }
}

async fn a_refused_record_holds_its_place_until_it_is_parked(platform: Platform) {
    let room_for_one = Config {
        bytes_max: 10_000,
        domain_bytes_max: 10_000,
        ..Config::default()
    };
    let platform = platform.restart_with(room_for_one).await;
    let channel = Channel::new();
    let poison = format!(r#"[{{"n":"poison","vs":"{}"}}]"#, "x".repeat(6_000));
    for payload in [r#"{"a":1}"#, &poison, r#"{"a":2}"#, &poison, r#"{"a":3}"#] {
        platform.publish(channel, payload.as_bytes()).await;
    }
    refuse_poison(&platform.place).await;

    let running = platform.start().await;
    let retries = platform.retries();
    until(PATIENCE, || async { retries.value() > 1 }).await;
    let shard = platform.bus.log.shard_of(channel.domain_id);
    assert_eq!(platform.bus.log.committed("writer", shard), Ok(0));
    assert_eq!(letters(&platform, channel).await.len(), 1);
    let position = platform.store.position("writer", shard.0).await.unwrap();
    assert_eq!(
        position.unwrap().sequence,
        3,
        "all before the second poison, and not more"
    );

    let log = platform.dead_letters.log();
    let seen_to = log.commit(OPERATOR_GROUP, log.shard_of(channel.domain_id), 1);
    seen_to.await.unwrap();
    platform.committed().await;
    running.stop().await;
    assert_eq!(platform.read(channel).await.total, 3);
    assert_eq!(letters(&platform, channel).await.len(), 1);
}

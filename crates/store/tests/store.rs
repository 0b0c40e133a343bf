//! What every message store promises, held against both.
#![allow(clippy::unwrap_used)]

mod fixture;

use std::sync::Arc;

use fixture::{Fixture, GROUP, batch, times};
use tempfile::TempDir;
use trunkline_core::{ChannelId, DomainId};
use trunkline_store::{
    Batch, Error, Filter, LogPosition, Order, Origin, Page, PageLimit, Protocol, PublisherKind, Query, SqliteStore,
    StoredRecord, UnreadableEntry,
};
use uuid::Uuid;

/// Holds each claim against SQLite and against Postgres.
macro_rules! on_both {
    ($($claim:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $claim() {
                super::$claim(super::Fixture::sqlite().await).await;
            })+
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $claim() {
                super::$claim(super::Fixture::postgres().await).await;
            })+
        }
    };
}

on_both!(
    a_record_reads_back_as_it_was_stored,
    storing_a_batch_again_changes_nothing,
    a_batch_of_which_a_part_is_there_or_comes_twice_adds_the_rest,
    equal_times_of_different_messages_are_different_records,
    rows_and_position_are_those_of_the_last_commit_after_a_reopening,
    a_batch_that_is_dropped_half_way_leaves_neither_rows_nor_position,
    the_position_is_that_of_the_last_batch_even_backwards,
    positions_of_other_groups_and_shards_are_their_own,
    an_unreadable_entry_is_stored_once_and_in_the_way_of_nothing,
    a_page_has_the_latest_first_and_from_is_inclusive_and_to_exclusive,
    records_of_one_time_are_ordered_by_message_and_place,
    every_filter_narrows,
    channels_and_domains_never_mix,
    offset_and_limit_cut_a_page_and_the_total_stays,
    cursors_visit_every_record_once_in_both_orders,
    a_page_of_large_records_ends_early_and_says_where_to_go_on,
    a_total_beyond_ten_thousand_is_capped_and_says_so,
);

async fn a_record_reads_back_as_it_was_stored(fixture: Fixture) {
    let origin = Arc::new(Origin {
        subtopic: "a/b".to_owned(),
        publisher_kind: PublisherKind::Rule,
        device_id: Some(Uuid::from_u128(8)),
        protocol: Protocol::Coap,
        content_type: "application/senml+json".to_owned(),
        log_position: LogPosition {
            incarnation: i64::MAX,
            sequence: 1 << 40,
        },
        ..fixture.origin()
    });
    let full = StoredRecord {
        name: Some("urn:x".to_owned()),
        unit: Some("Cel".to_owned()),
        value: Some(-1.25e-300),
        string_value: Some("ü\u{1}".to_owned()),
        bool_value: Some(false),
        data_value: Some("AP8=".to_owned()),
        sum: Some(f64::MAX),
        update_time: Some(500_000_000),
        payload: Some("{\"a\": 1}".to_owned()),
        decode_error: Some("because".to_owned()),
        ..StoredRecord::new(origin.clone(), i64::MIN, 9_999)
    };
    let empty = StoredRecord::new(origin, 0, 0);
    fixture.insert(&[full.clone(), empty.clone()]).await;
    assert_eq!(fixture.read(&fixture.latest()).await.records, [empty, full]);
}

async fn storing_a_batch_again_changes_nothing(fixture: Fixture) {
    let records: Vec<_> = (0..200).map(|time| fixture.record(time)).collect();
    assert_eq!(fixture.insert(&records).await, 200);
    assert_eq!(fixture.insert(&records).await, 0);
    assert_eq!(fixture.insert(&records[100..]).await, 0);
    assert_eq!(fixture.read(&fixture.latest()).await.total, 200);
}

async fn a_batch_of_which_a_part_is_there_or_comes_twice_adds_the_rest(fixture: Fixture) {
    let records: Vec<_> = (0..300).map(|time| fixture.record(time)).collect();
    assert_eq!(fixture.insert(&records[..100]).await, 100);
    assert_eq!(fixture.insert(&records[50..200]).await, 100);
    let twice: Vec<_> = records[200..].iter().chain(&records[200..]).cloned().collect();
    assert_eq!(fixture.insert(&twice).await, 100);
    assert_eq!(fixture.insert(&[fixture.record(300)]).await, 1);
    assert_eq!(fixture.read(&fixture.latest()).await.total, 301);
}

async fn equal_times_of_different_messages_are_different_records(fixture: Fixture) {
    assert_eq!(fixture.insert(&[fixture.record(1), fixture.record(1)]).await, 2);
}

async fn rows_and_position_are_those_of_the_last_commit_after_a_reopening(fixture: Fixture) {
    let records: Vec<_> = (0..10).map(|time| fixture.record(time)).collect();
    fixture.store.insert(&batch(&records, 41)).await.unwrap();

    let store = fixture.place.open().await;
    let position = store.position(GROUP, 3).await.unwrap();
    assert_eq!(
        position,
        Some(LogPosition {
            incarnation: 1,
            sequence: 41
        })
    );
    assert_eq!(store.insert(&batch(&records, 41)).await.unwrap().rows, 0);
    assert_eq!(store.read(&fixture.latest()).await.unwrap().total, 10);
}

async fn a_batch_that_is_dropped_half_way_leaves_neither_rows_nor_position(fixture: Fixture) {
    let records: Vec<_> = (0..5_000).map(|time| fixture.record(time)).collect();
    let batch = batch(&records, 8);
    let insert = fixture.store.insert(&batch);
    let polled_once = futures_util::future::poll_immediate(insert).await;
    assert!(polled_once.is_none(), "5000 rows are not stored by one poll");

    assert_eq!(fixture.store.position(GROUP, 3).await.unwrap(), None);
    assert_eq!(fixture.read(&fixture.latest()).await.total, 0);
    assert_eq!(fixture.insert(&records).await, 5_000);
}

async fn the_position_is_that_of_the_last_batch_even_backwards(fixture: Fixture) {
    fixture.store.insert(&batch(&[], 10)).await.unwrap();
    fixture.store.insert(&batch(&[], 9)).await.unwrap();
    assert_eq!(fixture.store.position(GROUP, 3).await.unwrap().unwrap().sequence, 9);

    let later_log = Batch {
        position: LogPosition {
            incarnation: 2,
            sequence: 1,
        },
        ..batch(&[], 0)
    };
    fixture.store.insert(&later_log).await.unwrap();
    assert_eq!(
        fixture.store.position(GROUP, 3).await.unwrap(),
        Some(later_log.position)
    );
}

async fn positions_of_other_groups_and_shards_are_their_own(fixture: Fixture) {
    fixture.store.insert(&batch(&[], 10)).await.unwrap();
    assert_eq!(fixture.store.position("rules", 3).await.unwrap(), None);
    assert_eq!(fixture.store.position(GROUP, 2).await.unwrap(), None);
}

async fn an_unreadable_entry_is_stored_once_and_in_the_way_of_nothing(fixture: Fixture) {
    let entry = UnreadableEntry {
        log_shard: 3,
        log_position: LogPosition {
            incarnation: 1,
            sequence: 2,
        },
        error: "no envelope".to_owned(),
    };
    let batch = Batch {
        unreadable: &[entry],
        ..batch(&[], 2)
    };
    fixture.store.insert(&batch).await.unwrap();
    fixture.store.insert(&batch).await.unwrap();
    assert_eq!(fixture.store.position(GROUP, 3).await.unwrap(), Some(batch.position));
}

async fn a_page_has_the_latest_first_and_from_is_inclusive_and_to_exclusive(fixture: Fixture) {
    let records: Vec<_> = [3, 1, 2, 5, 4].map(|time| fixture.record(time)).into();
    fixture.insert(&records).await;
    assert_eq!(times(&fixture.read(&fixture.latest()).await), [5, 4, 3, 2, 1]);
    assert_eq!(
        fixture
            .matching(Filter {
                from: Some(2),
                to: Some(4),
                ..Filter::default()
            })
            .await,
        [3, 2]
    );
    let ascending = Query {
        order: Order::Ascending,
        ..fixture.latest()
    };
    assert_eq!(times(&fixture.read(&ascending).await), [1, 2, 3, 4, 5]);
}

async fn records_of_one_time_are_ordered_by_message_and_place(fixture: Fixture) {
    let origins = [Arc::new(fixture.origin()), Arc::new(fixture.origin())];
    let record = |message: usize, place| StoredRecord::new(origins[message].clone(), 1, place);
    fixture
        .insert(&[record(1, 0), record(0, 1), record(0, 0), record(1, 1)])
        .await;
    let descending = [record(1, 1), record(1, 0), record(0, 1), record(0, 0)];
    assert_eq!(fixture.read(&fixture.latest()).await.records, descending);
}

async fn every_filter_narrows(fixture: Fixture) {
    let with = |time: i64, change: fn(&mut Origin)| {
        let mut origin = fixture.origin();
        change(&mut origin);
        StoredRecord::new(Arc::new(origin), time, 0)
    };
    let mut named = fixture.record(4);
    named.name = Some("n".to_owned());
    let records = [
        with(1, |origin| origin.subtopic = "a/b".to_owned()),
        with(2, |origin| origin.publisher_id = Uuid::from_u128(99)),
        with(3, |origin| origin.protocol = Protocol::Http),
        named,
    ];
    fixture.insert(&records).await;
    let narrow = |change: fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    };
    let cases = [
        (narrow(|filter| filter.subtopic = Some("a/b".to_owned())), vec![1]),
        (narrow(|filter| filter.subtopic = Some(String::new())), vec![4, 3, 2]),
        (narrow(|filter| filter.subtopic = Some("a.b".to_owned())), vec![]),
        (
            narrow(|filter| filter.publisher_id = Some(Uuid::from_u128(99))),
            vec![2],
        ),
        (narrow(|filter| filter.protocol = Some(Protocol::Http)), vec![3]),
        (narrow(|filter| filter.name = Some("n".to_owned())), vec![4]),
    ];
    for (filter, expected) in cases {
        assert_eq!(fixture.matching(filter.clone()).await, expected, "{filter:?}");
    }
}

async fn channels_and_domains_never_mix(fixture: Fixture) {
    fixture.insert(&[fixture.record(1)]).await;
    let other_channel = Query::latest(fixture.domain_id, ChannelId::new());
    let other_domain = Query::latest(DomainId::new(), fixture.channel_id);
    assert_eq!(fixture.read(&other_channel).await, Page::default());
    assert_eq!(fixture.read(&other_domain).await, Page::default());
}

async fn offset_and_limit_cut_a_page_and_the_total_stays(fixture: Fixture) {
    let records: Vec<_> = (1..=20).map(|time| fixture.record(time)).collect();
    fixture.insert(&records).await;
    let query = Query {
        offset: 5,
        limit: PageLimit::parse(3).unwrap(),
        ..fixture.latest()
    };
    let page = fixture.read(&query).await;
    assert_eq!(
        (times(&page), page.total, page.is_total_capped),
        (vec![15, 14, 13], 20, false)
    );
    let beyond = fixture
        .read(&Query {
            offset: u64::MAX,
            ..query
        })
        .await;
    assert_eq!((times(&beyond), beyond.total, beyond.next), (vec![], 20, None));
}

async fn cursors_visit_every_record_once_in_both_orders(fixture: Fixture) {
    let records: Vec<_> = (0..50).map(|number| fixture.record(number / 4)).collect();
    fixture.insert(&records).await;
    for order in [Order::Descending, Order::Ascending] {
        let whole = fixture
            .read(&Query {
                order,
                ..fixture.latest()
            })
            .await
            .records;
        let mut query = Query {
            order,
            limit: PageLimit::parse(7).unwrap(),
            ..fixture.latest()
        };
        let mut visited = Vec::new();
        loop {
            let page = fixture.read(&query).await;
            assert_eq!(page.total, 50);
            visited.extend(page.records);
            query.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        assert_eq!(visited, whole);
    }
}

async fn a_page_of_large_records_ends_early_and_says_where_to_go_on(fixture: Fixture) {
    let large = |time| StoredRecord {
        payload: Some("x".repeat(1_000_000)),
        ..fixture.record(time)
    };
    let records: Vec<_> = (1..=5).map(large).collect();
    fixture.insert(&records).await;
    let first = fixture.read(&fixture.latest()).await;
    assert_eq!(times(&first), [5, 4, 3]);
    let second = fixture
        .read(&Query {
            after: first.next,
            ..fixture.latest()
        })
        .await;
    assert_eq!((times(&second), second.next), (vec![2, 1], None));
}

async fn a_total_beyond_ten_thousand_is_capped_and_says_so(fixture: Fixture) {
    let records: Vec<_> = (0..10_000).map(|time| fixture.record(time)).collect();
    fixture.insert(&records).await;
    let exact = fixture.read(&fixture.latest()).await;
    assert_eq!((exact.total, exact.is_total_capped), (10_000, false));
    fixture.insert(&[fixture.record(10_000)]).await;
    let capped = fixture.read(&fixture.latest()).await;
    assert_eq!((capped.total, capped.is_total_capped), (10_000, true));
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("messages.db");
    SqliteStore::open(&path).await.unwrap().close().await;
    let pool = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query("PRAGMA user_version = 99").execute(&pool).await.unwrap();
    pool.close().await;
    assert!(matches!(
        SqliteStore::open(&path).await,
        Err(Error::NewerFormat { found: 99, .. })
    ));
}

#[test]
fn a_limit_of_zero_is_the_default_and_one_beyond_a_thousand_is_refused() {
    assert_eq!(PageLimit::parse(0).unwrap().count(), 10);
    assert_eq!(PageLimit::parse(1000).unwrap().count(), 1000);
    assert!(PageLimit::parse(1001).is_err());
    assert!(PageLimit::parse(u64::MAX).is_err());
}

//! What every message store promises, held against the one on SQLite.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use tempfile::TempDir;
use trunkline_core::{ChannelId, DomainId, MessageId};
use trunkline_store::{
    Batch, Error, Filter, LogPosition, MessageStore, Order, Origin, Page, PageLimit, Protocol, PublisherKind, Query,
    SqliteStore, StoredRecord, UnreadableEntry,
};
use uuid::Uuid;

const GROUP: &str = "writer";

struct Fixture {
    store: SqliteStore,
    directory: TempDir,
    domain_id: DomainId,
    channel_id: ChannelId,
}

impl Fixture {
    async fn open() -> Fixture {
        let directory = TempDir::new().unwrap();
        let store = SqliteStore::open(&directory.path().join("messages.db")).await.unwrap();
        Fixture {
            store,
            directory,
            domain_id: DomainId::new(),
            channel_id: ChannelId::new(),
        }
    }

    fn origin(&self) -> Origin {
        Origin {
            domain_id: self.domain_id,
            channel_id: self.channel_id,
            message_id: MessageId::new(),
            subtopic: String::new(),
            publisher_id: Uuid::from_u128(7),
            publisher_kind: PublisherKind::Client,
            device_id: None,
            protocol: Protocol::Mqtt,
            content_type: String::new(),
            received_at: 5,
            log_shard: 3,
            log_position: LogPosition {
                incarnation: 1,
                sequence: 9,
            },
        }
    }

    fn record(&self, time: i64) -> StoredRecord {
        StoredRecord {
            value: Some(1.5),
            ..StoredRecord::new(Arc::new(self.origin()), time, 0)
        }
    }

    async fn insert(&self, records: &[StoredRecord]) -> u64 {
        self.store.insert(&batch(records, 1)).await.unwrap().rows
    }

    fn latest(&self) -> Query {
        Query {
            limit: PageLimit::parse(1000).unwrap(),
            ..Query::latest(self.domain_id, self.channel_id)
        }
    }

    async fn read(&self, query: &Query) -> Page {
        self.store.read(query).await.unwrap()
    }

    async fn matching(&self, filter: Filter) -> Vec<i64> {
        times(
            &self
                .read(&Query {
                    filter,
                    ..self.latest()
                })
                .await,
        )
    }
}

fn batch(records: &[StoredRecord], sequence: u64) -> Batch<'_> {
    Batch {
        group: GROUP,
        log_shard: 3,
        position: LogPosition {
            incarnation: 1,
            sequence,
        },
        records,
        unreadable: &[],
    }
}

fn times(page: &Page) -> Vec<i64> {
    page.records.iter().map(|record| record.time).collect()
}

#[tokio::test]
async fn a_record_reads_back_as_it_was_stored() {
    let fixture = Fixture::open().await;
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
        string_value: Some("ü\0".to_owned()),
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

#[tokio::test]
async fn storing_a_batch_again_changes_nothing() {
    let fixture = Fixture::open().await;
    let records: Vec<_> = (0..200).map(|time| fixture.record(time)).collect();
    assert_eq!(fixture.insert(&records).await, 200);
    assert_eq!(fixture.insert(&records).await, 0);
    assert_eq!(fixture.insert(&records[100..]).await, 0);
    assert_eq!(fixture.read(&fixture.latest()).await.total, 200);
}

#[tokio::test]
async fn equal_times_of_different_messages_are_different_records() {
    let fixture = Fixture::open().await;
    assert_eq!(fixture.insert(&[fixture.record(1), fixture.record(1)]).await, 2);
}

#[tokio::test]
async fn rows_and_position_are_those_of_the_last_commit_after_a_reopening() {
    let fixture = Fixture::open().await;
    let records: Vec<_> = (0..10).map(|time| fixture.record(time)).collect();
    fixture.store.insert(&batch(&records, 41)).await.unwrap();
    fixture.store.close().await;

    let store = SqliteStore::open(&fixture.directory.path().join("messages.db"))
        .await
        .unwrap();
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

#[tokio::test]
async fn a_batch_that_is_dropped_half_way_leaves_neither_rows_nor_position() {
    let fixture = Fixture::open().await;
    let records: Vec<_> = (0..5_000).map(|time| fixture.record(time)).collect();
    let batch = batch(&records, 8);
    let insert = fixture.store.insert(&batch);
    let polled_once = futures_util::future::poll_immediate(insert).await;
    assert!(polled_once.is_none(), "5000 rows are not stored by one poll");

    assert_eq!(fixture.store.position(GROUP, 3).await.unwrap(), None);
    assert_eq!(fixture.read(&fixture.latest()).await.total, 0);
    assert_eq!(fixture.insert(&records).await, 5_000);
}

#[tokio::test]
async fn the_position_is_that_of_the_last_batch_even_backwards() {
    let fixture = Fixture::open().await;
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

#[tokio::test]
async fn positions_of_other_groups_and_shards_are_their_own() {
    let fixture = Fixture::open().await;
    fixture.store.insert(&batch(&[], 10)).await.unwrap();
    assert_eq!(fixture.store.position("rules", 3).await.unwrap(), None);
    assert_eq!(fixture.store.position(GROUP, 2).await.unwrap(), None);
}

#[tokio::test]
async fn an_unreadable_entry_is_stored_once_and_in_the_way_of_nothing() {
    let fixture = Fixture::open().await;
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

#[tokio::test]
async fn a_page_has_the_latest_first_and_from_is_inclusive_and_to_exclusive() {
    let fixture = Fixture::open().await;
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

#[tokio::test]
async fn records_of_one_time_are_ordered_by_message_and_place() {
    let fixture = Fixture::open().await;
    let origins = [Arc::new(fixture.origin()), Arc::new(fixture.origin())];
    let record = |message: usize, place| StoredRecord::new(origins[message].clone(), 1, place);
    fixture
        .insert(&[record(1, 0), record(0, 1), record(0, 0), record(1, 1)])
        .await;
    let descending = [record(1, 1), record(1, 0), record(0, 1), record(0, 0)];
    assert_eq!(fixture.read(&fixture.latest()).await.records, descending);
}

#[tokio::test]
async fn every_filter_narrows() {
    let fixture = Fixture::open().await;
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
    let filter = Filter::default;
    assert_eq!(
        fixture
            .matching(Filter {
                subtopic: Some("a/b".to_owned()),
                ..filter()
            })
            .await,
        [1]
    );
    assert_eq!(
        fixture
            .matching(Filter {
                subtopic: Some(String::new()),
                ..filter()
            })
            .await,
        [4, 3, 2]
    );
    assert_eq!(
        fixture
            .matching(Filter {
                subtopic: Some("a.b".to_owned()),
                ..filter()
            })
            .await,
        Vec::<i64>::new()
    );
    assert_eq!(
        fixture
            .matching(Filter {
                publisher_id: Some(Uuid::from_u128(99)),
                ..filter()
            })
            .await,
        [2]
    );
    assert_eq!(
        fixture
            .matching(Filter {
                protocol: Some(Protocol::Http),
                ..filter()
            })
            .await,
        [3]
    );
    assert_eq!(
        fixture
            .matching(Filter {
                name: Some("n".to_owned()),
                ..filter()
            })
            .await,
        [4]
    );
}

#[tokio::test]
async fn channels_and_domains_never_mix() {
    let fixture = Fixture::open().await;
    fixture.insert(&[fixture.record(1)]).await;
    let other_channel = Query::latest(fixture.domain_id, ChannelId::new());
    let other_domain = Query::latest(DomainId::new(), fixture.channel_id);
    assert_eq!(fixture.read(&other_channel).await, Page::default());
    assert_eq!(fixture.read(&other_domain).await, Page::default());
}

#[tokio::test]
async fn offset_and_limit_cut_a_page_and_the_total_stays() {
    let fixture = Fixture::open().await;
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

#[tokio::test]
async fn cursors_visit_every_record_once_in_both_orders() {
    let fixture = Fixture::open().await;
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

#[tokio::test]
async fn a_page_of_large_records_ends_early_and_says_where_to_go_on() {
    let fixture = Fixture::open().await;
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

#[tokio::test]
async fn a_total_beyond_ten_thousand_is_capped_and_says_so() {
    let fixture = Fixture::open().await;
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
    let fixture = Fixture::open().await;
    fixture.store.close().await;
    let path = fixture.directory.path().join("messages.db");
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

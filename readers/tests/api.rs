//! Reading through the contract's client, on a real store.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use tempfile::TempDir;
use tonic::{Code, Status};
use trunkline_core::{ChannelId, DomainId, MessageId};
use trunkline_proto::messages::v1::messages_service_client::MessagesServiceClient;
use trunkline_proto::messages::v1::messages_service_server::MessagesServiceServer;
use trunkline_proto::messages::v1::{Message, ReadMessagesRequest, ReadMessagesResponse};
use trunkline_readers::Readers;
use trunkline_store::{
    Batch, LogPosition, MessageStore, Origin, PostgresStore, Protocol, PublisherKind, SqliteStore, StoredRecord,
};
use trunkline_testkit::{Database, Postgres};
use uuid::Uuid;

/// Holds each claim on a store of either database.
macro_rules! on_both {
    ($($claim:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $claim() {
                super::$claim(super::Fixture::on_sqlite().await).await;
            })+
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $claim() {
                super::$claim(super::Fixture::on_postgres().await).await;
            })+
        }
    };
}

on_both!(
    a_measurement_reads_back_whole,
    a_json_object_reads_back_as_it_was_written_and_data_with_its_error,
    offset_limit_and_times_cut_the_page,
    an_offset_beyond_a_million_is_refused_with_what_reaches_further,
    filters_narrow_and_empty_ones_do_not,
    another_domain_sees_nothing_of_the_channel,
    a_wrong_field_is_refused_by_name,
    a_store_that_does_not_answer_is_unavailable_without_internals,
);

struct Fixture {
    store: Arc<dyn MessageStore>,
    client: MessagesServiceClient<MessagesServiceServer<Readers>>,
    origin: Origin,
    place: Place,
}

/// Where the store keeps its rows.
enum Place {
    Sqlite {
        store: Arc<SqliteStore>,
        _directory: TempDir,
    },
    Postgres(Database),
}

impl Place {
    async fn go_away(&self) {
        match self {
            Place::Sqlite { store, .. } => store.close().await,
            Place::Postgres(database) => database.go_away().await,
        }
    }
}

impl Fixture {
    async fn on_sqlite() -> Fixture {
        let directory = TempDir::new().unwrap();
        let store = SqliteStore::open(&directory.path().join("messages.db")).await.unwrap();
        let store = Arc::new(store);
        let place = Place::Sqlite {
            store: store.clone(),
            _directory: directory,
        };
        Fixture::new(store, place)
    }

    async fn on_postgres() -> Fixture {
        let database = Postgres::database().await;
        PostgresStore::migrate(database.url(), Uuid::nil()).await.unwrap();
        let store = PostgresStore::open(database.url(), Uuid::nil()).await.unwrap();
        Fixture::new(Arc::new(store), Place::Postgres(database))
    }

    fn new(store: Arc<dyn MessageStore>, place: Place) -> Fixture {
        let client = MessagesServiceClient::new(MessagesServiceServer::new(Readers::new(store.clone())));
        let origin = Origin {
            domain_id: DomainId::new(),
            channel_id: ChannelId::new(),
            message_id: MessageId::new(),
            subtopic: "a/b".to_owned(),
            publisher_id: Uuid::from_u128(7),
            publisher_kind: PublisherKind::Client,
            device_id: None,
            protocol: Protocol::Mqtt,
            content_type: "application/senml+json".to_owned(),
            received_at: 5,
            log_shard: 0,
            log_position: LogPosition {
                incarnation: 1,
                sequence: 1,
            },
        };
        Fixture {
            store,
            client,
            origin,
            place,
        }
    }

    fn record(&self, time: i64) -> StoredRecord {
        let origin = Origin {
            message_id: MessageId::new(),
            ..self.origin.clone()
        };
        StoredRecord::new(Arc::new(origin), time, 0)
    }

    async fn insert(&self, records: &[StoredRecord]) {
        let position = LogPosition {
            incarnation: 1,
            sequence: 1,
        };
        let batch = Batch {
            group: "writer",
            log_shard: 0,
            position,
            records,
            unreadable: &[],
        };
        self.store.insert(&batch).await.unwrap();
    }

    fn request(&self) -> ReadMessagesRequest {
        ReadMessagesRequest {
            domain_id: self.origin.domain_id.to_string(),
            channel_id: self.origin.channel_id.to_string(),
            ..ReadMessagesRequest::default()
        }
    }

    async fn read(&self, request: ReadMessagesRequest) -> Result<ReadMessagesResponse, Status> {
        self.client
            .clone()
            .read_messages(request)
            .await
            .map(tonic::Response::into_inner)
    }

    async fn refused(&self, request: ReadMessagesRequest) -> String {
        let status = self.read(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        status.message().to_owned()
    }
}

async fn a_measurement_reads_back_whole(fixture: Fixture) {
    let record = StoredRecord {
        pack_index: 3,
        name: Some("urn:x".to_owned()),
        unit: Some("Cel".to_owned()),
        value: Some(21.5),
        sum: Some(2.0),
        update_time: Some(60_000_000_000),
        ..fixture.record(1_276_020_076_001_000_000)
    };
    fixture.insert(std::slice::from_ref(&record)).await;
    let expected = Message {
        channel: fixture.origin.channel_id.to_string(),
        subtopic: "a/b".to_owned(),
        publisher: "00000000-0000-0000-0000-000000000007".to_owned(),
        protocol: "mqtt".to_owned(),
        name: Some("urn:x".to_owned()),
        unit: Some("Cel".to_owned()),
        time: 1_276_020_076_001_000_000,
        update_time: Some(60_000_000_000),
        value: Some(21.5),
        sum: Some(2.0),
        content_type: Some("application/senml+json".to_owned()),
        message_id: record.origin.message_id.to_string(),
        pack_index: 3,
        ..Message::default()
    };
    let page = fixture.read(fixture.request()).await.unwrap();
    assert_eq!(page.messages, [expected]);
    assert_eq!(
        (page.total, page.total_is_capped, page.offset, page.limit),
        (1, false, 0, 10)
    );
}

async fn a_json_object_reads_back_as_it_was_written_and_data_with_its_error(fixture: Fixture) {
    let object = StoredRecord {
        payload: Some("{\"a\": 1.10}".to_owned()),
        ..fixture.record(2)
    };
    let data = StoredRecord {
        data_value: Some("AP8=".to_owned()),
        decode_error: Some("because".to_owned()),
        ..fixture.record(1)
    };
    fixture.insert(&[object, data]).await;
    let messages = fixture.read(fixture.request()).await.unwrap().messages;
    assert_eq!(&messages[0].payload.as_ref().unwrap().text[..], b"{\"a\": 1.10}");
    assert_eq!(messages[1].data_value.as_deref(), Some("AP8="));
    assert_eq!(messages[1].decode_error.as_deref(), Some("because"));
}

async fn offset_limit_and_times_cut_the_page(fixture: Fixture) {
    let records: Vec<_> = (1..=20).map(|time| fixture.record(time)).collect();
    fixture.insert(&records).await;
    let request = ReadMessagesRequest {
        offset: 1,
        limit: 2,
        from: Some(5),
        to: Some(10),
        ..fixture.request()
    };
    let page = fixture.read(request).await.unwrap();
    assert_eq!(
        page.messages.iter().map(|message| message.time).collect::<Vec<_>>(),
        [8, 7]
    );
    assert_eq!((page.total, page.offset, page.limit), (5, 1, 2));
}

async fn an_offset_beyond_a_million_is_refused_with_what_reaches_further(fixture: Fixture) {
    let at = |offset| ReadMessagesRequest {
        offset,
        ..fixture.request()
    };
    assert_eq!(fixture.read(at(1_000_000)).await.unwrap().offset, 1_000_000);
    for offset in [1_000_001, u64::MAX] {
        assert_eq!(
            fixture.refused(at(offset)).await,
            "offset: must be at most 1000000; `from` and `to` reach further"
        );
    }
}

async fn filters_narrow_and_empty_ones_do_not(fixture: Fixture) {
    let named = StoredRecord {
        name: Some("n".to_owned()),
        ..fixture.record(2)
    };
    fixture.insert(&[fixture.record(1), named]).await;
    let text = |text: &str| Some(text.to_owned());
    let total = async |request| fixture.read(request).await.unwrap().total;
    assert_eq!(
        total(ReadMessagesRequest {
            name: text("n"),
            ..fixture.request()
        })
        .await,
        1
    );
    assert_eq!(
        total(ReadMessagesRequest {
            protocol: text("http"),
            ..fixture.request()
        })
        .await,
        0
    );
    assert_eq!(
        total(ReadMessagesRequest {
            publisher: text(&Uuid::nil().to_string()),
            ..fixture.request()
        })
        .await,
        0
    );
    assert_eq!(
        total(ReadMessagesRequest {
            subtopic: text("a.b"),
            ..fixture.request()
        })
        .await,
        0
    );
    assert_eq!(
        total(ReadMessagesRequest {
            subtopic: text("a/b"),
            ..fixture.request()
        })
        .await,
        2
    );
    assert_eq!(
        total(ReadMessagesRequest {
            subtopic: text(""),
            ..fixture.request()
        })
        .await,
        0
    );
    let empty = ReadMessagesRequest {
        name: text(""),
        protocol: text(""),
        publisher: text(""),
        ..fixture.request()
    };
    assert_eq!(total(empty).await, 2);
}

async fn another_domain_sees_nothing_of_the_channel(fixture: Fixture) {
    fixture.insert(&[fixture.record(1)]).await;
    let request = ReadMessagesRequest {
        domain_id: DomainId::new().to_string(),
        ..fixture.request()
    };
    assert_eq!(fixture.read(request).await.unwrap().total, 0);
}

async fn a_wrong_field_is_refused_by_name(fixture: Fixture) {
    let request = || fixture.request();
    let limit = fixture
        .refused(ReadMessagesRequest {
            limit: 1001,
            ..request()
        })
        .await;
    assert_eq!(limit, "limit: a page has at most 1000 records");
    let channel = fixture
        .refused(ReadMessagesRequest {
            channel_id: "x".to_owned(),
            ..request()
        })
        .await;
    assert_eq!(channel, "channel_id: must be a UUID");
    let publisher = fixture
        .refused(ReadMessagesRequest {
            publisher: Some("x".to_owned()),
            ..request()
        })
        .await;
    assert_eq!(publisher, "publisher: must be a UUID");
    let protocol = fixture
        .refused(ReadMessagesRequest {
            protocol: Some("x".to_owned()),
            ..request()
        })
        .await;
    assert!(protocol.starts_with("protocol: must be mqtt"));
}

async fn a_store_that_does_not_answer_is_unavailable_without_internals(fixture: Fixture) {
    fixture.place.go_away().await;
    let status = fixture.read(fixture.request()).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "the message store does not answer")
    );
}

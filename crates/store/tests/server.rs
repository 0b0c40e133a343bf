//! What only a store on a server has: rights, several processes, a plan that could be another.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "the fixture is that of the claims on both stores")]
mod fixture;

use std::sync::Arc;
use std::time::Duration;

use fixture::{Fixture, Place, batch};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use trunkline_store::{Error, MessageStore, PostgresStore, StoredRecord};
use trunkline_testkit::{Database, Postgres};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

fn database(fixture: &Fixture) -> &Database {
    match &fixture.place {
        Place::Postgres { database } => database,
        Place::Sqlite { .. } => unreachable!("these tests are of Postgres"),
    }
}

async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    options.options([("search_path", "messages")]).connect().await.unwrap()
}

#[tokio::test]
async fn a_schema_that_was_not_made_is_refused_in_one_sentence() {
    let database = Postgres::database().await;
    let error = PostgresStore::open(database.url(), Uuid::nil()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the database has no schema for messages; run `trunkline migrate` with the owner's credentials"
    );
}

#[tokio::test]
async fn a_writer_may_store_and_a_reader_may_read_and_neither_anything_else() {
    let fixture = Fixture::postgres().await;
    let database = database(&fixture);
    let ((writer, writer_url), (reader, reader_url)) = (database.user().await, database.user().await);
    PostgresStore::grant_writer(database.url(), &writer).await.unwrap();
    PostgresStore::grant_reader(database.url(), &reader).await.unwrap();

    let records = [fixture.record(1), fixture.record(2)];
    let writing = PostgresStore::open(&writer_url, Uuid::nil()).await.unwrap();
    writing.insert(&batch(&records[..1], 1)).await.unwrap();
    assert_eq!(writing.insert(&batch(&records, 2)).await.unwrap().rows, 1);
    assert_eq!(writing.position("writer", 3).await.unwrap().unwrap().sequence, 2);
    assert!(writing.read(&fixture.latest()).await.is_err());

    let reading = PostgresStore::open(&reader_url, Uuid::nil()).await.unwrap();
    assert_eq!(reading.read(&fixture.latest()).await.unwrap().total, 2);
    assert!(reading.insert(&batch(&records, 3)).await.is_err());

    for (url, forbidden) in [
        (&writer_url, "SELECT * FROM messages"),
        (&writer_url, "DELETE FROM messages"),
        (&writer_url, "UPDATE channels SET channel_key = 0"),
        (&writer_url, "DROP TABLE arrivals"),
        (&writer_url, "CREATE TABLE messages.extra (id UUID)"),
        (&writer_url, "TRUNCATE messages"),
        (&reader_url, "SELECT * FROM positions"),
        (&reader_url, "DELETE FROM messages"),
        (
            &reader_url,
            "INSERT INTO channels (domain_id, channel_id) VALUES (gen_random_uuid(), gen_random_uuid())",
        ),
        (&reader_url, "CREATE TABLE messages.extra (id UUID)"),
    ] {
        let done = sqlx::raw_sql(forbidden).execute(&mut connect(url).await).await;
        assert!(done.is_err(), "{forbidden}");
    }
}

#[tokio::test]
async fn a_text_that_postgres_cannot_keep_is_refused_and_nothing_of_its_batch_is_stored() {
    let fixture = Fixture::postgres().await;
    let with_nul = StoredRecord {
        string_value: Some("a\0b".to_owned()),
        ..fixture.record(2)
    };
    let records = [fixture.record(1), with_nul, fixture.record(3)];
    let error = fixture.store.insert(&batch(&records, 7)).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert_eq!(fixture.store.position("writer", 3).await.unwrap(), None);
    assert_eq!(fixture.read(&fixture.latest()).await.total, 0);
    assert_eq!(fixture.insert(&records[..1]).await, 1);
}

#[tokio::test]
async fn writers_of_the_same_rows_at_the_same_time_store_each_once() {
    let fixture = Fixture::postgres().await;
    let records: Arc<Vec<StoredRecord>> = Arc::new((0..2_000).map(|time| fixture.record(time)).collect());
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (store, records) = (fixture.store.clone(), records.clone());
            tokio::spawn(async move {
                let mut rows = 0;
                for chunk in records.chunks(100) {
                    rows += store.insert(&batch(chunk, 1)).await.unwrap().rows;
                }
                rows
            })
        })
        .collect();
    let mut rows = 0;
    for writer in writers {
        rows += tokio::time::timeout(PATIENCE, writer).await.unwrap().unwrap();
    }
    assert_eq!(rows, 2_000);
    assert_eq!(fixture.read(&fixture.latest()).await.total, 2_000);
}

#[tokio::test]
async fn a_store_that_lost_its_server_forgets_what_it_knew_of_it() {
    let fixture = Fixture::postgres().await;
    let database = database(&fixture);
    fixture.insert(&[fixture.record(1)]).await;
    // As a restored backup would.
    let forget =
        "TRUNCATE messages, channels, positions RESTART IDENTITY; SELECT setval('channels_channel_key_seq', 100)";
    sqlx::raw_sql(forget)
        .execute(&mut connect(database.url()).await)
        .await
        .unwrap();
    database.go_away().await;
    fixture.store.insert(&batch(&[fixture.record(2)], 2)).await.unwrap_err();
    database.come_back().await;
    fixture.insert(&[fixture.record(2)]).await;
    assert_eq!(fixture.read(&fixture.latest()).await.total, 1);
}

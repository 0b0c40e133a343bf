//! What no user of the log can bring about: a damaged file, an owner that panics.

use trunkline_core::{DomainId, MessageId, SystemClock};

use super::store::{FORMAT, NewRow, Store};
use super::*;
use crate::conformance::{entry, entry_with_id, in_time};

const SHARD: Shard = Shard(0);

async fn open(dir: &Path) -> Arc<EmbeddedLog> {
    let config = Config {
        shards: Some(1),
        ..Config::default()
    };
    let disk_free: DiskProbe = Arc::new(|_: &Path| Ok(u64::MAX));
    let (log, _owner) = EmbeddedLog::open(dir, config, Arc::new(SystemClock), disk_free)
        .await
        .unwrap();
    log
}

/// The file of a log that is closed or has failed.
fn stored(dir: &Path) -> Store {
    let mut store = Store::open(&dir.join(FILE)).unwrap();
    store.make_shards(1).unwrap();
    store
}

/// A row at `sequence`; `damage` replaces its envelope.
fn row(sequence: u64, damage: Option<&[u8]>) -> NewRow {
    let entry = entry(DomainId::new(), "x");
    NewRow {
        sequence,
        id: entry.id(),
        may_repeat: true,
        domain: entry.domain(),
        appended_at: SystemClock.now().micros() / 1_000,
        envelope: damage.unwrap_or(entry.encoded()).to_vec(),
    }
}

fn sequences(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.sequence).collect()
}

#[tokio::test]
async fn a_damaged_entry_hides_neither_those_before_it_nor_those_after() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.close().await;
    let mut store = stored(dir.path());
    let rows = vec![row(1, None), row(2, None), row(3, Some(b"\xff")), row(4, None)];
    store.insert(SHARD, &rows).unwrap();
    store.commit().unwrap();
    store.close().unwrap();

    let log = open(dir.path()).await;
    let page = log.read(SHARD, 1, ReadLimit::default()).await.unwrap();
    assert_eq!((sequences(&page), page.next, page.skipped), (vec![1, 2], 3, 0));
    let damaged = log.read(SHARD, page.next, ReadLimit::default()).await.unwrap_err();
    assert_eq!(
        damaged,
        LogError::Damaged {
            shard: SHARD,
            sequence: 3
        }
    );
    let page = log.read(SHARD, 4, ReadLimit::default()).await.unwrap();
    assert_eq!((sequences(&page), page.next), (vec![4], 5));
    log.close().await;
}

#[tokio::test]
async fn an_entry_is_not_kept_when_the_books_of_its_transaction_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.close().await;
    let mut store = stored(dir.path());
    store.begin().unwrap();
    let rows: Vec<_> = (1..=commit::RECORD_EVERY).map(|sequence| row(sequence, None)).collect();
    store.insert(SHARD, &rows).unwrap();
    store.commit().unwrap();
    store.forbid_records().unwrap();
    store.close().unwrap();

    let log = open(dir.path()).await;
    let id = MessageId::new();
    let entry = entry_with_id(id, DomainId::new(), "x");
    let receipt = log.append(entry).await.unwrap();
    assert_eq!(receipt.await, Err(AppendError::Closed));
    in_time("the failure", log.failed()).await;
    let mut store = stored(dir.path());
    assert_eq!(store.find(SHARD, id).unwrap(), None);
}

/// The file of a log as the first format had it, with `row` in it.
fn of_the_first_format(dir: &Path, row: &NewRow) {
    let connection = rusqlite::Connection::open(dir.join(FILE)).unwrap();
    let made = "
        CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
        INSERT INTO meta (name, value) VALUES ('format', 1), ('shards', 1), ('incarnation', 5);
        CREATE TABLE log_0 (
            sequence INTEGER PRIMARY KEY, id BLOB NOT NULL, domain BLOB NOT NULL, appended_at INTEGER NOT NULL, envelope BLOB NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX log_0_id ON log_0 (id);";
    connection.execute_batch(made).unwrap();
    let (id, domain) = (row.id.as_bytes().as_slice(), row.domain.as_bytes().as_slice());
    let values = rusqlite::params![row.sequence.cast_signed(), id, domain, row.appended_at, row.envelope];
    let sql = "INSERT INTO log_0 (sequence, id, domain, appended_at, envelope) VALUES (?, ?, ?, ?, ?)";
    connection.execute(sql, values).unwrap();
}

#[tokio::test]
async fn a_log_of_the_first_format_goes_on_and_knows_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let domain = DomainId::new();
    let id = MessageId::new();
    let old = entry_with_id(id, domain, "old");
    let row = NewRow {
        envelope: old.encoded().to_vec(),
        domain,
        id,
        ..row(1, None)
    };
    of_the_first_format(dir.path(), &row);

    let log = open(dir.path()).await;
    let again = log.append(old).await.unwrap().await.unwrap();
    assert_eq!((again.sequence, again.is_duplicate), (1, true));
    for sequence in [2, 3] {
        let appended = log.append(entry(domain, "new")).await.unwrap().await.unwrap();
        assert_eq!((appended.sequence, appended.is_duplicate), (sequence, false));
    }
    log.close().await;
    assert_eq!(stored(dir.path()).format().unwrap(), FORMAT);
    let log = open(dir.path()).await;
    let page = log.read(SHARD, 1, ReadLimit::default()).await.unwrap();
    assert_eq!(sequences(&page), [1, 2, 3]);
    log.close().await;
}

#[tokio::test]
async fn only_entries_that_may_come_again_are_found_by_their_ids() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    let domain = DomainId::new();
    let (once, again) = (entry(domain, "once"), entry_with_id(MessageId::new(), domain, "again"));
    let ids = [once.id(), again.id()];
    for entry in [once, again] {
        log.append(entry).await.unwrap().await.unwrap();
    }
    log.close().await;
    let mut store = stored(dir.path());
    let found = ids.map(|id| store.find(SHARD, id).unwrap());
    assert_eq!(found, [None, Some(2)]);
    assert_eq!(store.id_max(SHARD).unwrap(), Some(ids[1]));
}

#[tokio::test]
async fn an_owner_that_panics_fails_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).await;
    let (done, answer) = oneshot::channel();
    let position = Position {
        group: "group".to_owned(),
        shard: Shard(7),
        sequence: 1,
    };
    assert!(log.jobs.send(Job::Commit { position, done }).is_ok());
    assert!(answer.await.is_err());
    let cause = in_time("the failure", log.failed()).await;
    assert_eq!(cause, "the message log failed: its owner ended before its time");
    let refused = log.append(entry(DomainId::new(), "x")).await.map(drop);
    assert_eq!(refused, Err(AppendError::Closed));
}

//! What no user of the log can bring about: a damaged file, an owner that panics.

use trunkline_core::{DomainId, SystemClock};

use super::store::{NewRow, Store};
use super::*;
use crate::conformance::{entry, in_time};

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
    let mut store = Store::open(&dir.join(FILE), Tier::Written).unwrap();
    store.make_shards(1).unwrap();
    store
}

/// A row at `sequence`; `damage` replaces its envelope.
fn row(sequence: u64, damage: Option<&[u8]>) -> NewRow {
    let entry = entry(DomainId::new(), "x");
    NewRow {
        sequence,
        id: entry.id(),
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
    let rows: Vec<_> = (1..=owner::RECORD_EVERY).map(|sequence| row(sequence, None)).collect();
    store.insert(SHARD, &rows).unwrap();
    store.commit().unwrap();
    store.forbid_records().unwrap();
    store.close().unwrap();

    let log = open(dir.path()).await;
    let entry = entry(DomainId::new(), "x");
    let id = entry.id();
    let receipt = log.append(entry).await.unwrap();
    assert_eq!(receipt.await, Err(AppendError::Closed));
    in_time("the failure", log.failed()).await;
    let mut store = stored(dir.path());
    assert_eq!(store.find(SHARD, id).unwrap(), None);
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

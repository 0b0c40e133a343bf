//! What is acknowledged by the journal: it is there after an end without a close, and after a disk without room for it elsewhere.

use std::time::Instant;

use trunkline_core::{DomainId, MessageId, SystemClock};

use super::commit::RECORD_EVERY;
use super::journal::JOURNAL_BYTES;
use super::*;
use crate::conformance::{entry, entry_with_id};
use crate::feed::locked;
use crate::log::Appended;

const SHARD: Shard = Shard(0);

/// An owner without a thread of its own. To drop it is to end without a close.
fn owner(dir: &Path) -> (Owner, Arc<Shared>) {
    let config = Config {
        shards: Some(1),
        keep_seconds: 1,
        ..Config::default()
    };
    let opened = Opened::open(dir, Tier::from(config.tier), config.shards, 1).unwrap();
    let disk_free: DiskProbe = Arc::new(|_: &Path| Ok(u64::MAX));
    let shared = Shared::new(dir, config, &opened, Arc::new(SystemClock), disk_free);
    let (_, queue) = mpsc::channel();
    (Owner::new(opened, Arc::clone(&shared), queue), shared)
}

async fn append(owner: &mut Owner, entry: NewEntry) -> Result<Appended, AppendError> {
    let (sender, receipt) = Receipt::channel();
    let job = Job::Append {
        entry,
        receipt: Some(sender),
    };
    owner.work(&mut vec![job]).unwrap();
    receipt.await
}

/// The sequences that the log in `dir` shows, and its head.
async fn shown(dir: &Path) -> (Vec<u64>, u64) {
    let disk_free: DiskProbe = Arc::new(|_: &Path| Ok(u64::MAX));
    let (log, _owner) = EmbeddedLog::open(dir, Config::default(), Arc::new(SystemClock), disk_free)
        .await
        .unwrap();
    let page = log.read(SHARD, 1, ReadLimit::default()).await.unwrap();
    let head = log.head(SHARD).unwrap();
    log.close().await;
    (page.entries.iter().map(|entry| entry.sequence).collect(), head)
}

#[tokio::test]
async fn what_was_acknowledged_and_not_committed_is_there_after_an_end_without_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let (mut owner, _) = owner(dir.path());
    let domain = DomainId::new();
    let again = entry_with_id(MessageId::new(), domain, "again");
    for (sequence, entry) in (1..).zip([entry(domain, "x"), again.clone(), entry(domain, "y")]) {
        assert_eq!(append(&mut owner, entry).await.unwrap().sequence, sequence);
    }
    assert!(owner.store.is_in_transaction(), "nothing is committed");
    drop(owner);
    assert_eq!(shown(dir.path()).await, (vec![1, 2, 3], 3));
    let (mut owner, shared) = self::owner(dir.path());
    assert_eq!(shared.stats().entries, 3);
    let found = append(&mut owner, again).await.unwrap();
    assert_eq!((found.sequence, found.is_duplicate), (2, true));
    assert_eq!(append(&mut owner, entry(domain, "z")).await.unwrap().sequence, 4);
    drop(owner);
    assert_eq!(shown(dir.path()).await, (vec![1, 2, 3, 4], 4));
}

#[tokio::test]
async fn more_than_the_journal_has_room_for_is_committed_on_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let (mut owner, _) = owner(dir.path());
    let domain = DomainId::new();
    let payload = vec![0; JOURNAL_BYTES / 5];
    for sequence in 1..=12 {
        assert_eq!(
            append(&mut owner, entry(domain, payload.clone()))
                .await
                .unwrap()
                .sequence,
            sequence
        );
        if sequence == 8 {
            drop(owner);
            (owner, _) = self::owner(dir.path());
        }
    }
    drop(owner);
    assert_eq!(shown(dir.path()).await, ((1..=12).collect(), 12));
}

#[tokio::test]
async fn what_was_trimmed_does_not_come_back_from_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (mut owner, shared) = owner(dir.path());
    let domain = DomainId::new();
    for _ in 0..3 {
        append(&mut owner, entry(domain, "x")).await.unwrap();
    }
    let until = shared.now_ms() + 1_100;
    while shared.now_ms() < until {
        tokio::task::yield_now().await;
    }
    let (done, trimmed) = oneshot::channel();
    owner.work(&mut vec![Job::Trim { done }]).unwrap();
    assert_eq!(trimmed.await.unwrap(), Ok(3));
    drop(owner);
    assert_eq!(shown(dir.path()).await, (vec![], 3));
}

#[tokio::test]
async fn positions_wait_for_others_and_no_longer_than_they_may() {
    let dir = tempfile::tempdir().unwrap();
    let (mut owner, _) = owner(dir.path());
    let (done, joined) = oneshot::channel();
    let group = "group".to_owned();
    let join = Job::Join {
        group: group.clone(),
        is_required: true,
        done,
    };
    owner.work(&mut vec![join]).unwrap();
    joined.await.unwrap().unwrap();
    append(&mut owner, entry(DomainId::new(), "x")).await.unwrap();
    let (done, mut moved) = oneshot::channel();
    let position = Position {
        group: group.clone(),
        shard: SHARD,
        sequence: 1,
    };
    owner.work(&mut vec![Job::Commit { position, done }]).unwrap();
    assert!(moved.try_recv().is_err(), "it waits");
    let due = owner.later.due.unwrap();
    while Instant::now() < due {
        tokio::task::yield_now().await;
    }
    // Entries that come all the time do not put it off.
    append(&mut owner, entry(DomainId::new(), "y")).await.unwrap();
    moved.try_recv().unwrap().unwrap();
    drop(owner);
    let (mut owner, _) = self::owner(dir.path());
    assert_eq!(owner.store.position(&group, SHARD).unwrap(), Some(1));
}

#[tokio::test]
async fn holdings_are_written_down_though_nothing_is_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut owner, shared) = owner(dir.path());
    let domain = DomainId::new();
    let mut jobs: Vec<_> = (0..=RECORD_EVERY)
        .map(|_| Job::Append {
            entry: entry(domain, "x"),
            receipt: None,
        })
        .collect();
    shared.counters.queued.fetch_add(RECORD_EVERY + 1, Relaxed);
    owner.work(&mut jobs).unwrap();
    assert_eq!(owner.store.recorded_head(SHARD).unwrap(), RECORD_EVERY + 1);
    assert!(!owner.store.is_in_transaction());
}

#[tokio::test]
async fn a_full_disk_takes_nothing_back_and_refuses_until_it_has_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut owner, shared) = owner(dir.path());
    let domain = DomainId::new();
    append(&mut owner, entry(domain, "x")).await.unwrap();
    owner.keep_house().unwrap();
    let pages = owner.store.limit_pages(1).unwrap();
    owner.store.limit_pages(0).unwrap();
    // These are in the journal, and in a transaction that a full disk ends.
    for _ in 0..3 {
        append(&mut owner, entry(domain, vec![0; 50_000])).await.unwrap();
    }
    owner.store.roll_back().unwrap();
    assert_eq!(owner.store.limit_pages(pages).unwrap(), pages);
    let large = || entry(domain, vec![0; 100_000]);
    for _ in 0..2 {
        let refused = append(&mut owner, large()).await;
        assert!(matches!(refused, Err(AppendError::DiskLow { .. })), "{refused:?}");
        assert!(owner.is_owing && shared.is_disk_low());
    }
    // What was acknowledged is shown all the while.
    let page = locked(&shared.rings[0]).read(2, ReadLimit::default()).unwrap();
    assert_eq!(page.entries.len(), 3);

    owner.store.limit_pages(0).unwrap();
    owner.keep_house().unwrap();
    assert!(!owner.is_owing && !owner.store.is_in_transaction());
    assert_eq!(append(&mut owner, large()).await.unwrap().sequence, 5);
    drop(owner);
    assert_eq!(shown(dir.path()).await, ((1..=5).collect(), 5));
}

#[tokio::test]
async fn a_log_that_is_closed_while_its_disk_is_full_has_all_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut owner, _) = owner(dir.path());
    let domain = DomainId::new();
    let pages = owner.store.limit_pages(1).unwrap();
    owner.store.limit_pages(0).unwrap();
    append(&mut owner, entry(domain, vec![0; 50_000])).await.unwrap();
    owner.store.roll_back().unwrap();
    owner.store.limit_pages(pages).unwrap();
    let (done, closed) = oneshot::channel();
    let jobs = vec![
        Job::Append {
            entry: entry(domain, vec![0; 100_000]),
            receipt: None,
        },
        Job::Close { done },
    ];
    let (sender, queue) = mpsc::channel();
    owner.jobs = queue;
    for job in jobs {
        sender.send(job).unwrap();
    }
    owner.run();
    closed.await.unwrap();
    assert_eq!(shown(dir.path()).await, (vec![1], 1));
}

#[tokio::test]
async fn a_closed_log_leaves_nothing_in_its_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (mut owner, _) = owner(dir.path());
    append(&mut owner, entry(DomainId::new(), "x")).await.unwrap();
    let (sender, queue) = mpsc::channel();
    owner.jobs = queue;
    drop(sender);
    owner.run();
    let journal = std::fs::read(dir.path().join(JOURNAL)).unwrap();
    assert_eq!(journal.len(), JOURNAL_BYTES);
    assert!(journal.iter().take(16).all(|byte| *byte == 0));
    assert_eq!(shown(dir.path()).await, (vec![1], 1));
}

//! What the embedded log does at its limits: a low disk, a full queue, a wrong configuration.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use trunkline_bus::conformance::{entry, in_time};
use trunkline_bus::embedded::{Config, OpenError};
use trunkline_bus::log::{AppendError, ReadLimit, Shard};
use trunkline_bus::{EmbeddedBus, EnvelopeError, NewEntry};
use trunkline_core::{DomainId, SystemClock};
use trunkline_proto::messages::v1::Envelope;

const MIB: u64 = 1024 * 1024;

async fn open(dir: &Path, config: Config) -> Result<EmbeddedBus, OpenError> {
    EmbeddedBus::open(dir, config, Arc::new(SystemClock)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_below_its_watermark_refuses_until_there_is_room_again() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(10 * MIB));
    let config = Config {
        disk_free_bytes_min: 20 * MIB,
        ..Config::default()
    };
    let probe = {
        let free = free.clone();
        Arc::new(move |_: &Path| Ok(free.load(SeqCst)))
    };
    let bus = EmbeddedBus::open_with_probe(dir.path(), config, Arc::new(SystemClock), probe)
        .await
        .unwrap();
    let refusal = bus.log.append(entry(DomainId::new(), "x")).await;
    assert!(matches!(refusal, Err(AppendError::DiskLow { .. })), "{refusal:?}");
    free.store(30 * MIB, SeqCst);
    in_time("the disk's recovery", async {
        while bus.log.append(entry(DomainId::new(), "x")).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_taken_before_a_close_is_kept_and_nothing_after() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path(), Config::default()).await.unwrap();
    let log = bus.log.clone();
    let receipt = log.append(entry(DomainId::new(), "x")).await.unwrap();
    bus.close().await;
    assert!(receipt.await.is_ok());
    assert_eq!(
        log.append(entry(DomainId::new(), "x")).await.map(drop),
        Err(AppendError::Closed)
    );
    assert!(log.wait(Shard(0), u64::MAX).await.is_err());
}

#[tokio::test]
async fn a_log_keeps_its_shards_and_its_incarnation() {
    let dir = tempfile::tempdir().unwrap();
    let with_shards = |shards| Config {
        shards,
        ..Config::default()
    };
    let bus = open(dir.path(), with_shards(Some(3))).await.unwrap();
    let incarnation = bus.log.incarnation();
    bus.close().await;
    let refused = open(dir.path(), with_shards(Some(5))).await.map(drop).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the log was made with 3 shards and the configuration says 5; take that line out"
    );
    let bus = open(dir.path(), with_shards(None)).await.unwrap();
    assert_eq!((bus.log.shards(), bus.log.incarnation()), (3, incarnation));
}

#[tokio::test]
async fn an_unknown_shard_or_group_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path(), Config::default()).await.unwrap();
    let refused = bus.log.read(Shard(99), 1, ReadLimit::default()).await.unwrap_err();
    assert_eq!(refused.to_string(), "the log has no shard 99");
    let refused = bus.log.commit("nobody", Shard(0), 1).await.unwrap_err();
    assert_eq!(refused.to_string(), "the log knows no group `nobody`");
}

#[test]
fn an_envelope_without_ids_or_with_too_much_payload_is_refused() {
    let refused = NewEntry::seal(Envelope::default(), 10).unwrap_err();
    assert_eq!(refused, EnvelopeError::Id { field: "id" });
    let envelope = Envelope {
        payload: vec![0; 11].into(),
        ..Envelope::default()
    };
    let refused = NewEntry::seal(envelope, 10).unwrap_err();
    assert_eq!(refused.to_string(), "the payload has 11 bytes and may have 10");
}

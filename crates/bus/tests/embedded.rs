//! The embedded bus passes every suite.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use trunkline_bus::conformance::log::{LogLimits, LogWorld, append_until_killed, check_after_kill};
use trunkline_bus::conformance::{entry, in_time};
use trunkline_bus::embedded::{Config, ConfiguredTier, EmbeddedLive};
use trunkline_bus::log::{AppendError, TryAppendError};
use trunkline_bus::{EmbeddedBus, Live, Log, State, live_conformance, log_conformance, state_conformance};
use trunkline_core::{DomainId, SystemClock};

const MIB: u64 = 1024 * 1024;

/// A folder, and the bus that is open in it.
struct World {
    dir: TempDir,
    bus: Option<EmbeddedBus>,
}

impl World {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            bus: None,
        }
    }
}

#[async_trait]
impl LogWorld for World {
    async fn open(&mut self, limits: LogLimits) -> Arc<dyn Log> {
        if let Some(bus) = self.bus.take() {
            bus.close().await;
        }
        let config = Config {
            shards: Some(limits.shards),
            domain_bytes_max: limits.domain_bytes_max,
            bytes_max: limits.bytes_max,
            keep_seconds: limits.keep.as_secs(),
            // Small, so that readers meet its edge.
            ring_bytes_max: 1024 * 1024,
            ..Config::default()
        };
        let bus = EmbeddedBus::open(self.dir.path(), config, Arc::new(SystemClock))
            .await
            .unwrap();
        let log = bus.log.clone();
        self.bus = Some(bus);
        log
    }
}

async fn state() -> (World, Arc<dyn State>) {
    let mut world = World::new();
    world.open(LogLimits::default()).await;
    let state = world.bus.as_ref().unwrap().state.clone();
    (world, state)
}

log_conformance!(World::new());
live_conformance!(std::future::ready(((), Arc::new(EmbeddedLive::new()) as Arc<dyn Live>)));
state_conformance!(state());

const CHILD_FOLDER: &str = "TRUNKLINE_BUS_CHILD_FOLDER";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    const ROUNDS: usize = 3;
    const ACKNOWLEDGED: usize = 2_000;
    let config = Config {
        shards: Some(3),
        ..Config::default()
    };
    if let Some(folder) = std::env::var_os(CHILD_FOLDER) {
        let bus = EmbeddedBus::open(folder.as_ref(), config, Arc::new(SystemClock))
            .await
            .unwrap();
        return append_until_killed(bus.log.clone(), std::io::stderr()).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    for _ in 0..ROUNDS {
        // This very test, started again as the one to be killed. It tells on stderr, since the harness owns stdout.
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "what_was_acknowledged_survives_kill_9", "--nocapture"])
            .env(CHILD_FOLDER, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        told.extend(lines.by_ref().take(ACKNOWLEDGED).map(Result::unwrap));
        child.kill().unwrap();
        child.wait().unwrap();
        let bus = EmbeddedBus::open(dir.path(), config.clone(), Arc::new(SystemClock))
            .await
            .unwrap();
        check_after_kill(bus.log.clone(), &told).await;
        bus.close().await;
    }
    assert_eq!(told.len(), ROUNDS * ACKNOWLEDGED);
}

/// Another program's connection to the log of the folder.
async fn intruder(dir: &TempDir) -> sqlx::SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("log.db"));
    sqlx::ConnectOptions::connect(&options).await.unwrap()
}

#[tokio::test]
async fn a_full_queue_gives_the_entry_back_and_room_comes_with_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        queue_bytes_max: 4 * MIB,
        ..Config::default()
    };
    let bus = EmbeddedBus::open(dir.path(), config, Arc::new(SystemClock))
        .await
        .unwrap();
    // While another program has the file, nothing is committed, so the queue fills.
    let mut intruder = intruder(&dir).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut intruder).await.unwrap();
    let domain = DomainId::new();
    let mut receipts = Vec::new();
    let refused = loop {
        match bus.log.try_append(entry(domain, vec![0; 100_000])) {
            Ok(receipt) => receipts.push(receipt),
            Err(refused) => break refused,
        }
    };
    let TryAppendError::Busy(refused) = refused else {
        panic!("the queue is full, not {refused:?}");
    };
    assert!((30..=42).contains(&receipts.len()));
    // What has no promise waits for room as well, and is not dropped for want of it at once.
    let unacknowledged = bus.log.try_append_unacknowledged(refused.clone());
    assert!(
        matches!(unacknowledged, Err(TryAppendError::Busy(_))),
        "{unacknowledged:?}"
    );
    assert_eq!(bus.log.stats().dropped, 0);
    let dropped = bus.log.append_unacknowledged(refused.clone()).await;
    assert!(matches!(dropped, Err(AppendError::Unanswered)), "{dropped:?}");
    assert_eq!(bus.log.stats().dropped, 1);
    sqlx::raw_sql("ROLLBACK").execute(&mut intruder).await.unwrap();
    let last = in_time("room", bus.log.append(refused.clone())).await.unwrap();
    let appended = in_time("the append", last).await.unwrap();
    assert_eq!(appended.sequence, receipts.len() as u64 + 1);
    let log = Arc::clone(&bus.log);
    bus.close().await;
    let dropped = log.append_unacknowledged(refused).await;
    assert!(matches!(dropped, Err(AppendError::Closed)), "{dropped:?}");
}

#[tokio::test]
async fn the_write_ahead_log_begins_anew_though_appends_never_pause() {
    const ENTRIES: usize = 1_600;
    const UNDER_WAY: usize = 32;
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        tier: ConfiguredTier::Written,
        ..Config::default()
    };
    let bus = EmbeddedBus::open(dir.path(), config, Arc::new(SystemClock))
        .await
        .unwrap();
    let domain = DomainId::new();
    let mut receipts = VecDeque::new();
    for _ in 0..ENTRIES {
        receipts.push_back(bus.log.append(entry(domain, vec![0; 100_000])).await.unwrap());
        if receipts.len() == UNDER_WAY {
            receipts.pop_front().unwrap().await.unwrap();
        }
    }
    let bytes = std::fs::metadata(dir.path().join("log.db-wal")).unwrap().len();
    assert!(
        bytes < 80 * MIB,
        "of {ENTRIES} entries {bytes} bytes are still to be copied"
    );
}

#[tokio::test]
async fn a_log_that_cannot_write_acknowledges_nothing_and_says_that_it_failed() {
    let dir = tempfile::tempdir().unwrap();
    let bus = EmbeddedBus::open(dir.path(), Config::default(), Arc::new(SystemClock))
        .await
        .unwrap();
    let domain = DomainId::new();
    bus.log.append(entry(domain, "x")).await.unwrap().await.unwrap();
    // Another program takes the file apart, as a failing disk would: the next statement finds no table.
    let shard = bus.log.shard_of(domain);
    let mut intruder = intruder(&dir).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DROP TABLE log_{shard}")))
        .execute(&mut intruder)
        .await
        .unwrap();
    let receipt = bus.log.append(entry(domain, "y")).await.unwrap();
    assert_eq!(in_time("the answer", receipt).await, Err(AppendError::Closed));
    let sentence = in_time("the failure", bus.log.failed()).await;
    assert!(sentence.starts_with("the message log failed: "), "{sentence}");
    assert!(bus.log.append(entry(domain, "z")).await.is_err());
    assert_eq!(bus.log.head(shard), Ok(1));
}

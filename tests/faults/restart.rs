//! A process that was killed with a backlog is ready again soon, and stores what its writer could not.

use std::time::{Duration, Instant};

use trunkline_bench::ledger::Protocol;
use trunkline_bench::store::Foreigner;
use trunkline_testkit::until;

use crate::kill::variable;
use crate::platform::Ground;
use crate::trial::{Trial, acknowledged, assert_clean};

/// Messages that are stored when it is killed, unless `TRUNKLINE_TEST_STORED` says otherwise.
const STORED: u64 = 20_000;
/// Messages in the log that are not stored, unless `TRUNKLINE_TEST_BACKLOG` says otherwise.
const BACKLOG: u64 = 10_000;
/// What the writer has stored.
const STORED_TOTAL: &str = "trunkline_writer_records_total";
/// How long a start may take; a debug build on a machine that builds beside it takes longer.
const READY_WITHIN: Duration = if cfg!(debug_assertions) {
    Duration::from_secs(5)
} else {
    Duration::from_millis(1_500)
};
/// How long messages may take to be made and stored.
const WAIT: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_a_backlog_is_ready_soon_and_stores_it() {
    let stored = variable("TRUNKLINE_TEST_STORED").unwrap_or(STORED);
    let backlog = variable("TRUNKLINE_TEST_BACKLOG").unwrap_or(BACKLOG);
    let mut ground = Ground::new();
    let platform = ground.start().await;
    let trial = Trial::start(&ground, &platform, 4).await;
    let load = [trial.load(&trial.plan(Protocol::Mqtt5, 8, 64), &trial.site.targets)];
    until(WAIT, async || {
        trial.site.metric(STORED_TOTAL).await.unwrap() >= stored as f64
    })
    .await;
    let foreigner = Foreigner::hold(&ground.data("messages.db")).await.unwrap();
    let before = acknowledged(&load);
    until(WAIT, async || acknowledged(&load) >= before + backlog).await;
    platform.kill().await;
    for load in load {
        load.stop();
        load.finish().await;
    }
    foreigner.release().await.unwrap();

    let started = Instant::now();
    let platform = ground.start().await;
    let ready = started.elapsed();
    eprintln!("ready after {ready:?} with {stored} messages stored and {backlog} not");
    assert!(ready < READY_WITHIN, "{ready:?}");
    let verdicts = trial.verdicts(&ground, &platform).await;
    assert!(verdicts[0].acknowledged >= stored + backlog);
    assert_clean(&verdicts, &ground);
}

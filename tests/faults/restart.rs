//! A process that was killed with a backlog is ready again soon, and stores what its writer could not.

use std::time::{Duration, Instant};

use trunkline_bench::ledger::Protocol;
use trunkline_bench::store::Foreigner;
use trunkline_testkit::until;

use crate::kill::variable;
use crate::platform::Ground;
use crate::trial::{Trial, acknowledged, assert_clean};

/// Messages in the log that are not stored, unless `TRUNKLINE_TEST_BACKLOG` says otherwise.
const BACKLOG: u64 = 10_000;
/// How long a start may take; a debug build on a machine that builds beside it takes longer.
const READY_WITHIN: Duration = if cfg!(debug_assertions) {
    Duration::from_secs(5)
} else {
    Duration::from_millis(1_500)
};
/// How long the backlog may take to be made.
const WAIT: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_a_backlog_is_ready_soon_and_stores_it() {
    let backlog = variable("TRUNKLINE_TEST_BACKLOG").unwrap_or(BACKLOG);
    let mut ground = Ground::new();
    let platform = ground.start().await;
    let trial = Trial::start(&ground, &platform, 4).await;
    let foreigner = Foreigner::hold(&ground.data("messages.db")).await.unwrap();
    let load = [trial.load(&trial.plan(Protocol::Mqtt5, 8, 64), &trial.site.targets)];
    until(WAIT, async || acknowledged(&load) >= backlog).await;
    platform.kill().await;
    for load in load {
        load.stop();
        load.finish().await;
    }
    foreigner.release().await.unwrap();

    let started = Instant::now();
    let platform = ground.start().await;
    let ready = started.elapsed();
    eprintln!("ready after {ready:?} with {backlog} messages not stored");
    assert!(ready < READY_WITHIN, "{ready:?}");
    let verdicts = trial.verdicts(&ground, &platform).await;
    assert!(verdicts[0].acknowledged >= backlog);
    assert_clean(&verdicts, &ground);
}

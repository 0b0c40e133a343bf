//! The writer is down while as many messages come in as a domain may hold, longer than the log keeps what is stored.

use std::time::{Duration, Instant};

use trunkline_bench::ledger::Protocol;
use trunkline_bench::load::Counts;
use trunkline_bench::store::Foreigner;
use trunkline_testkit::until;

use crate::kill::variable;
use crate::platform::Ground;
use crate::trial::{Trial, acknowledged, assert_clean};

/// MiB that a domain may hold, unless `TRUNKLINE_TEST_QUOTA_MIB` says otherwise.
const QUOTA_MIB: u64 = 8;
/// How long the log keeps what is stored: the shortest day that can be configured.
const KEEP_SECONDS: &str = "1";
/// Of such days, how many the writer is down.
const DOWN: Duration = Duration::from_secs(3);
/// How long anything may take that is waited for on a busy machine.
const WAIT: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_was_down_for_a_whole_quota_loses_nothing() {
    let quota = variable("TRUNKLINE_TEST_QUOTA_MIB").unwrap_or(QUOTA_MIB) * 1024 * 1024;
    let mut ground = Ground::new()
        .with("LOG__KEEP_SECONDS", KEEP_SECONDS)
        .with("LOG__DOMAIN_BYTES_MAX", &quota.to_string());
    let platform = ground.start().await;
    let trial = Trial::start(&ground, &platform, 2).await;
    let down = Instant::now();
    let foreigner = Foreigner::hold(&ground.data("messages.db")).await.unwrap();
    // A load for each domain: neighbours among the targets are in different ones.
    let loads = [0, 1].map(|domain| {
        let plan = trial.plan(Protocol::Mqtt5, 2, 64);
        trial.load(
            &plan,
            &[
                trial.site.targets[domain].clone(),
                trial.site.targets[domain + 2].clone(),
            ],
        )
    });
    until(WAIT, async || {
        loads.iter().all(|load| Counts::of(&load.counts.refused) > 0)
    })
    .await;
    until(WAIT, async || down.elapsed() > DOWN).await;
    let before = acknowledged(&loads);
    // A start counts what the log holds anew; that must not let anything go either.
    platform.kill().await;
    for load in loads {
        load.stop();
        load.finish().await;
    }
    foreigner.release().await.unwrap();
    let platform = ground.start().await;
    let verdicts = trial.verdicts(&ground, &platform).await;
    eprintln!(
        "{before} acknowledged in {:?} without a writer\n{}",
        down.elapsed(),
        verdicts[0]
    );
    assert!(verdicts[0].acknowledged > quota / 1_000, "{}", verdicts[0]);
    assert_clean(&verdicts, &ground);
}

//! What is acknowledged was synced before: seen from outside, by the system calls of the process.

use std::time::Duration;

use trunkline_bench::ledger::Protocol;
use trunkline_testkit::{tool, until};

use crate::platform::{Ground, Platform};
use crate::trace::{Proof, Subject};
use crate::trial::{Trial, acknowledged, assert_clean};

/// The calls that make the proof: what is received, written, synced and sent.
const CALLS: &str = "trace=fsync,fdatasync,pwrite64,write,writev,read,recvfrom,sendto,sendmsg";
/// Syncs of a thread before its disk fails: more than a start needs, fewer than the load makes.
const SYNCS_BEFORE_FAILURE: u64 = 60;
/// Acknowledgements that a proof is made of.
const ACKNOWLEDGED_MIN: u64 = 300;
/// How long anything may take that is waited for on a busy machine.
const WAIT: Duration = Duration::from_secs(60);

/// A ground whose processes are traced.
fn traced(options: &[&str]) -> Ground {
    let mut ground = Ground::new();
    let trace = ground.path("trace");
    // -D: the platform stays our own child. -yy: descriptors by what they stand for. -xx: all bytes, none of them special.
    let arguments = [
        "-D",
        "-f",
        "-yy",
        "-xx",
        "-s",
        "65536",
        "-e",
        CALLS,
        "-o",
        trace.to_str().unwrap(),
    ];
    ground.runner = vec![tool("strace").to_str().unwrap().to_owned()];
    ground
        .runner
        .extend(arguments.iter().chain(options).map(|argument| (*argument).to_owned()));
    ground
}

async fn loaded(ground: &mut Ground) -> (Platform, Trial, Vec<trunkline_bench::load::Load>) {
    let platform = ground.start().await;
    let trial = Trial::start(ground, &platform, 2).await;
    let targets = &trial.site.targets;
    let loads = vec![
        trial.load(&trial.plan(Protocol::Mqtt5, 2, 8), targets),
        trial.load(&trial.plan(Protocol::Mqtt3, 1, 8), targets),
        trial.load(&trial.plan(Protocol::Http, 1, 2), targets),
    ];
    (platform, trial, loads)
}

/// The proof, once the trace is whole.
async fn proof(ground: &Ground, platform: &Platform) -> Proof {
    let read = || std::fs::read_to_string(ground.path("trace")).unwrap();
    let is_end = |line: &str| line.starts_with(&platform.id().to_string()) && line.contains(" +++ exited with ");
    until(WAIT, async || read().lines().any(is_end)).await;
    let subject = Subject {
        log_files: ["/data/log.journal", "/data/log.db-wal"],
        mqtt_port: platform.access.mqtt.port(),
        http_port: platform.access.http.port(),
    };
    subject.prove(&read())
}

/// Loads a traced platform, ends it in peace, and gives its proof.
async fn proof_of_load(ground: &mut Ground) -> Proof {
    let (mut platform, _trial, loads) = loaded(ground).await;
    until(WAIT, async || acknowledged(&loads) >= ACKNOWLEDGED_MIN).await;
    for load in loads {
        load.stop();
        let summary = load.finish().await;
        assert!(summary.failures.is_empty() && summary.acknowledged > 0, "{summary}");
    }
    platform.terminate();
    assert_eq!(platform.ended(WAIT).await, Some(0), "{}", ground.log());
    let proof = proof(ground, &platform).await;
    let [mqtt, http] = proof.acknowledged;
    assert!(
        mqtt + http >= ACKNOWLEDGED_MIN && http > 0,
        "the trace shows too little: {proof:?}"
    );
    proof
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_follows_a_sync_that_covers_its_message() {
    let proof = proof_of_load(&mut traced(&[])).await;
    assert!(proof.syncs > 0 && proof.uncovered.is_empty(), "{proof:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_at_tier_written_is_not_covered_and_that_is_found() {
    let proof = proof_of_load(&mut traced(&[]).with("LOG__TIER", "written")).await;
    assert!(proof.uncovered.len() as u64 >= ACKNOWLEDGED_MIN / 2, "{proof:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_fails_acknowledges_nothing_and_ends_the_process() {
    a_sync_fails_by("EIO").await;
}

/// Whether the record that was to be synced lasts is as unknown then as after any other failure, so it is not one to be mended by room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_fails_for_want_of_room_ends_the_process_too() {
    a_sync_fails_by("ENOSPC").await;
}

async fn a_sync_fails_by(error: &str) {
    let inject = format!("inject=fsync,fdatasync:error={error}:when={SYNCS_BEFORE_FAILURE}+");
    let mut ground = traced(&["-e", &inject]);
    let (mut platform, trial, loads) = loaded(&mut ground).await;
    let code = platform.ended(WAIT).await;
    for load in loads {
        load.stop();
        load.finish().await;
    }
    let log = ground.log();
    assert!(code.is_some_and(|code| code != 0), "it ended with {code:?}: {log}");
    let sentences = log.lines().filter(|line| line.starts_with("trunkline: ")).count();
    assert_eq!(sentences, 1, "{log}");
    let proof = proof(&ground, &platform).await;
    assert!(
        proof.injected > 0 && proof.syncs > 0,
        "nothing was made to fail: {proof:?}"
    );
    assert!(proof.acknowledged[0] > 0 && proof.uncovered.is_empty(), "{proof:?}");

    ground.runner.clear();
    let platform = ground.start().await;
    assert_clean(&trial.verdicts(&ground, &platform).await, &ground);
}

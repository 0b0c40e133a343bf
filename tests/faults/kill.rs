//! The process is killed under load and during its start, over and over on the same data.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use trunkline_bench::chance::Chance;
use trunkline_bench::ledger::Protocol;
use trunkline_bench::load::{Counts, Load};
use trunkline_testkit::until;

use crate::liar::Liar;
use crate::platform::{Ground, Platform};
use crate::trial::{Trial, acknowledged, assert_clean, sum};

/// Rounds unless `TRUNKLINE_TEST_ROUNDS` says otherwise.
const ROUNDS: u64 = 20;
/// The kill comes at a moment of this time, each as likely as the others.
const KILL_WITHIN: Duration = Duration::from_secs(3);
/// A kill during the start comes within this time; a start takes about as long.
const START_KILL_WITHIN: Duration = Duration::from_millis(600);
/// How long a kill may wait for the work that it is aimed at.
const AIM_WAIT: Duration = Duration::from_secs(30);
/// Kills during one start.
const START_KILLS_MAX: u64 = 2;
/// A round with fewer acknowledgements before its kill proves little.
const ACKNOWLEDGED_MIN: u64 = 1_000;
/// Acknowledgements per second that a kill comes under; a debug build on a machine that builds beside it is as fast as it can.
const RATE_MIN: f64 = if cfg!(debug_assertions) { 0.0 } else { 5_000.0 };
/// Messages without an answer when the kill comes.
const IN_FLIGHT_MIN: u64 = 100;
/// Acknowledgements after the restart that show that it works again.
const RESUMED_MIN: u64 = 200;
/// Entries that the log has removed since the process was started.
const TRIMMED_TOTAL: &str = "trunkline_log_trimmed_total";
/// How long anything may take that is waited for on a busy machine.
const WAIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills() {
    let rounds = variable("TRUNKLINE_TEST_ROUNDS").unwrap_or(ROUNDS);
    let seed = variable("TRUNKLINE_TEST_SEED").unwrap_or_else(seed_of_now);
    eprintln!("{rounds} rounds, TRUNKLINE_TEST_SEED={seed}");
    let mut chance = Chance::new(seed);
    // Entries are trimmed all the time, so that kills meet that too.
    let mut ground = Ground::new().with("LOG__KEEP_SECONDS", "1");
    let mut platform = ground.start().await;
    for number in 0..rounds {
        platform = round(number, &mut ground, platform, &mut chance).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_acknowledges_too_early_is_found_out() {
    let mut ground = Ground::new();
    let platform = ground.start().await;
    let liar = Liar::before(platform.access.mqtt).await;
    let trial = Trial::start(&ground, &platform, 4).await;
    let mut targets = trial.site.targets.clone();
    for target in &mut targets {
        target.mqtt = liar.address;
    }
    let load = [trial.load(&trial.plan(Protocol::Mqtt5, 8, 32), &targets)];
    until(WAIT, async || acknowledged(&load) >= ACKNOWLEDGED_MIN).await;
    platform.kill().await;
    for load in load {
        load.stop();
        load.finish().await;
    }
    let platform = ground.start().await;
    for verdict in trial.verdicts(&ground, &platform).await {
        assert!(verdict.lost > 0 && !verdict.is_clean(), "{verdict}");
    }
}

async fn round(number: u64, ground: &mut Ground, platform: Platform, chance: &mut Chance) -> Platform {
    let trial = Trial::start(ground, &platform, 4).await;
    let targets = &trial.site.targets;
    // Eight connections over MQTT and four over HTTP, neighbours in different domains.
    let loads = [
        trial.load(&trial.plan(Protocol::Mqtt5, 4, 32), targets),
        trial.load(&trial.plan(Protocol::Mqtt3, 4, 16), &targets[4..]),
        trial.load(&trial.plan(Protocol::Http, 2, 2), targets),
    ];
    until(WAIT, async || acknowledged(&loads) >= ACKNOWLEDGED_MIN).await;
    let rate = Rate::start(acknowledged(&loads));
    let delay = chance.moment_within(KILL_WITHIN).await;
    let in_flight = |loads: &[Load]| sum(loads, |counts| Counts::of(&counts.in_flight));
    let aim = Aim::of(number);
    aim.wait(ground, &trial).await;
    until(WAIT, async || in_flight(&loads) >= IN_FLIGHT_MIN).await;
    let rate = rate.end(acknowledged(&loads));
    let (before, open) = (acknowledged(&loads), in_flight(&loads));
    platform.kill().await;

    for _ in 0..chance.below(START_KILLS_MAX + 1) {
        let mut starting = ground.spawn();
        chance.moment_within(START_KILL_WITHIN).await;
        starting.kill().await.unwrap();
    }
    let started = Instant::now();
    let platform = ground.start().await;
    let restart = started.elapsed();
    until(WAIT, async || acknowledged(&loads) >= before + RESUMED_MIN).await;
    let mut repeated = 0;
    for load in loads {
        load.stop();
        let summary = load.finish().await;
        assert!(summary.failures.is_empty(), "round {number}: {summary}");
        repeated += summary.repeated;
    }
    assert!(repeated > 0, "round {number}: the kill met nothing under way");
    let verdicts = trial.verdicts(ground, &platform).await;
    eprintln!(
        "round {number}: killed {delay:?} later{aim}, {before} acknowledged ({rate:.0}/s) and {open} in flight, {repeated} repeated; ready again after {restart:?}\n{}",
        verdicts[0]
    );
    assert!(rate >= RATE_MIN, "round {number}: {rate:.0} acknowledgements a second");
    assert!(verdicts[0].acknowledged >= ACKNOWLEDGED_MIN);
    assert_clean(&verdicts, ground);
    platform
}

/// What a kill is aimed at; half of them come by lot.
#[derive(Debug, Clone, Copy)]
enum Aim {
    Moment,
    /// The removal of old entries.
    Trim,
    /// The copying of the write-ahead log into the file, which nothing else writes to.
    Checkpoint,
}

impl Aim {
    const fn of(round: u64) -> Self {
        match round % 4 {
            1 => Self::Trim,
            3 => Self::Checkpoint,
            _ => Self::Moment,
        }
    }

    /// Returns when that work goes on.
    async fn wait(self, ground: &Ground, trial: &Trial) {
        match self {
            Self::Moment => {}
            Self::Trim => {
                let trimmed = async || trial.site.metric(TRIMMED_TOTAL).await.unwrap();
                let before = trimmed().await;
                until(AIM_WAIT, async || trimmed().await > before).await;
            }
            Self::Checkpoint => {
                let written = || {
                    std::fs::metadata(ground.data("log.db"))
                        .and_then(|file| file.modified())
                        .unwrap()
                };
                let before = written();
                until(AIM_WAIT, async || written() > before).await;
            }
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Moment => "",
            Self::Trim => " in a trim",
            Self::Checkpoint => " in a checkpoint",
        })
    }
}

/// Acknowledgements per second from one look to another.
struct Rate {
    since: Instant,
    before: u64,
}

impl Rate {
    fn start(acknowledged: u64) -> Self {
        Self {
            since: Instant::now(),
            before: acknowledged,
        }
    }

    fn end(&self, acknowledged: u64) -> f64 {
        (acknowledged - self.before) as f64 / self.since.elapsed().as_secs_f64()
    }
}

/// A number that a variable of the tests gives.
pub(crate) fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

pub(crate) fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}

//! The process is killed under sessions that outlive it: publishers and subscribers at QoS 1 and 2 that come back each time, and clients that
//! leave wills and do not.

use std::time::Duration;

use trunkline_bench::chance::Chance;
use trunkline_bench::ledger::{Book, Protocol};
use trunkline_bench::load::{Load, Plan, Target, Witness};
use trunkline_bench::{Place, store};
use trunkline_mqtt_wire::Version;
use trunkline_testkit::until;

use crate::estate::Estate;
use crate::kill::{seed_of_now, variable};
use crate::platform::Ground;
use crate::trial::{Trial, acknowledged, assert_clean};

/// Kills unless `TRUNKLINE_TEST_ROUNDS` says otherwise.
pub(crate) const ROUNDS: u64 = 10;
/// The kill comes at a moment of this time after everything works again.
pub(crate) const KILL_WITHIN: Duration = Duration::from_secs(1);
/// Acknowledgements, and messages for each subscriber, that show that everything works.
pub(crate) const WORKING: u64 = 50;
/// Messages per second of each load: enough to be under way at any moment, few enough for subscribers at QoS 2 to keep up.
const RATE: f64 = 300.0;
/// How long anything may take that is waited for on a busy machine.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// What is published and witnessed at which QoS, each by a client and on a topic of its own.
pub(crate) const TABLE: [(Protocol, Version, u8); 3] = [
    (Protocol::Mqtt5, Version::V5, 1),
    (Protocol::Mqtt5, Version::V5, 2),
    (Protocol::Mqtt3, Version::V3, 2),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_survive_kills_without_loss_and_at_qos_2_without_repetition() {
    let rounds = variable("TRUNKLINE_TEST_ROUNDS").unwrap_or(ROUNDS);
    let seed = variable("TRUNKLINE_TEST_SEED").unwrap_or_else(seed_of_now);
    eprintln!("{rounds} kills, TRUNKLINE_TEST_SEED={seed}");
    let mut chance = Chance::new(seed);
    let mut ground = Ground::new();
    let mut platform = ground.start().await;
    let trial = Trial::start(&ground, &platform, 2).await;
    let witnesses = Witnesses::start(&trial).await;
    let loads = start_loads(&trial, "synced");
    let mut estate = Estate::new(&trial.site.targets[3]);
    for round in 0..rounds {
        works(&loads, &witnesses).await;
        let _mortals = estate.enter(round).await;
        chance.moment_within(KILL_WITHIN).await;
        platform.kill().await;
        platform = ground.start().await;
    }
    let mut repeated = 0;
    for load in loads {
        load.stop();
        let summary = load.finish().await;
        assert!(summary.failures.is_empty(), "{summary}");
        repeated += summary.repeated;
    }
    assert!(repeated > 0, "the kills met nothing under way");
    let rows = async |place: &Place| store::rows(&ground.data("messages.db"), place).await.unwrap();
    estate.assert_whole(rows).await;
    let path = trial.path().to_owned();
    let verdicts = trial.verdicts_beside_probes(&ground, &platform).await;
    assert_clean(&verdicts, &ground);
    let book = Book::read(&path).unwrap();
    witnesses.judge(&book, rounds * WORKING, || ground.log()).await;
}

/// Waits until messages of every load are acknowledged, and every witness gets some.
pub(crate) async fn works(loads: &[Load], witnesses: &Witnesses) {
    let (kept, got) = (acknowledged(loads), witnesses.received());
    let has_moved = || {
        let received = witnesses.received();
        received.iter().zip(&got).all(|(now, before)| *now >= before + WORKING)
    };
    until(WAIT, async || acknowledged(loads) >= kept + WORKING && has_moved()).await;
}

/// The target of each line of the table: its own client and topic, whatever channel that is in.
pub(crate) fn targets(trial: &Trial) -> Vec<Target> {
    let targets = trial.site.targets.iter().zip(0..TABLE.len());
    let own = targets.map(|(target, number)| Target {
        topic: format!("{}/{number}", target.topic),
        ..target.clone()
    });
    own.collect()
}

/// A load for each line of the table, on a bus that gives `tier`.
pub(crate) fn start_loads(trial: &Trial, tier: &str) -> Vec<Load> {
    let load = |((protocol, _, qos), target): ((Protocol, Version, u8), &Target)| {
        let plan = Plan {
            qos,
            rate: Some(RATE),
            tier: tier.to_owned(),
            ..trial.plan(protocol, 1, 16)
        };
        trial.load(&plan, std::slice::from_ref(target))
    };
    TABLE.into_iter().zip(&targets(trial)).map(load).collect()
}

/// Those who come back after each fault.
pub(crate) struct Witnesses {
    /// One for each line of the table.
    of_one: Vec<Witness>,
    /// One that gets all of a channel, at QoS 1 and 2 mixed.
    of_all: Witness,
}

impl Witnesses {
    pub(crate) async fn start(trial: &Trial) -> Self {
        let mut of_one = Vec::new();
        for ((_, version, qos), target) in TABLE.into_iter().zip(&targets(trial)) {
            of_one.push(Witness::start(target, version, qos).await.unwrap());
        }
        let mut all = trial.site.targets[0].clone();
        all.topic += "/#";
        let of_all = Witness::start(&all, Version::V3, 2).await.unwrap();
        Self { of_one, of_all }
    }

    /// Different messages that each got.
    fn received(&self) -> Vec<u64> {
        let all = self.of_one.iter().chain([&self.of_all]);
        all.map(Witness::distinct).collect()
    }

    /// Asserts that each got all that it was owed, and `least` messages, with this log when one did not.
    pub(crate) async fn judge(self, book: &Book, least: u64, log: impl Fn() -> String) {
        let qualities = TABLE.map(|(_, _, qos)| Some(qos)).into_iter().chain([None]);
        for (qos, witness) in qualities.zip(self.of_one.into_iter().chain([self.of_all])) {
            let judgement = witness.finish(book).await.unwrap();
            eprintln!(
                "{}: {judgement}",
                qos.map_or("mixed".to_owned(), |qos| format!("QoS {qos}"))
            );
            assert_eq!((judgement.lost, judgement.phantom), (0, 0), "{judgement}\n{}", log());
            assert!(judgement.received >= least);
            assert_eq!(judgement.reordered, 0, "{judgement}\n{}", log());
            if qos == Some(2) {
                assert_eq!(judgement.repeated, 0, "{judgement}\n{}", log());
            }
        }
    }
}

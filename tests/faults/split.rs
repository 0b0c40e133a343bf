//! A platform of processes, when one of them dies, when what they stand on does, and when the network between them fails.

mod faults;
mod flood;
mod ground;
mod packets;
mod partitions;
mod revocations;
mod sessions;
mod shared;

use std::cell::Cell;
use std::time::{Duration, Instant};

use trunkline_bench::Place;
use trunkline_bench::ledger::Protocol;
use trunkline_bench::load::{Counts, Load, Plan};
use trunkline_testkit::{until, until_some};

use crate::trial::{Trial, acknowledged, assert_clean_beside};
use ground::Ground;

/// In this time after a dependency's return everything works again, without anybody's help.
const HEAL_WITHIN: Duration = Duration::from_secs(10);
/// Messages per second of each load: enough to be under way at any moment, few enough for a debug build.
const RATE: f64 = 200.0;
/// Acknowledgements of each protocol that show that it works.
const WORKING: u64 = 20;
/// For how long nothing may be acknowledged to say that nothing is.
const STILL: Duration = Duration::from_millis(500);
/// How long anything else may take that is waited for on a busy machine.
const WAIT: Duration = Duration::from_secs(60);

/// A trial and its loads over every protocol, to clients in two domains.
struct Strain {
    trial: Trial,
    /// MQTT 5, MQTT 3.1.1, HTTP.
    loads: [Load; 3],
}

impl Strain {
    async fn start(ground: &Ground) -> Self {
        let trial = Trial::on(ground.path(), &ground.access(), 2).await;
        let targets = &trial.site.targets;
        let loads = [
            (Protocol::Mqtt5, 2, 16),
            (Protocol::Mqtt3, 2, 16),
            (Protocol::Http, 2, 4),
        ];
        let loads = loads.map(|(protocol, connections, window)| {
            let plan = Plan {
                rate: Some(RATE),
                tier: "written".to_owned(),
                ..trial.plan(protocol, connections, window)
            };
            trial.load(&plan, targets)
        });
        Self { trial, loads }
    }

    fn counts(&self) -> [u64; 3] {
        [0, 1, 2].map(|i| Counts::of(&self.loads[i].counts.acknowledged))
    }

    /// Waits until messages are acknowledged over each protocol.
    #[track_caller]
    fn works(&self, limit: Duration) -> impl Future<Output = ()> {
        let before = self.counts();
        let has_more = move || {
            self.counts()
                .iter()
                .zip(before)
                .all(|(now, before)| *now >= before + WORKING)
        };
        until(limit, move || std::future::ready(has_more()))
    }

    /// Waits until everything works again: messages are acknowledged over each protocol, stored, and read.
    async fn heals(&self, what: &str) {
        let returned = Instant::now();
        self.works(HEAL_WITHIN).await;
        let acknowledges = returned.elapsed();
        let left = HEAL_WITHIN.saturating_sub(acknowledges);
        until(left, async || self.trial.site.quiesce(left).await.is_ok()).await;
        eprintln!(
            "{what}: acknowledges {acknowledges:?} later, stores {:?}",
            returned.elapsed()
        );
    }

    /// Waits until nothing is acknowledged over MQTT, and over HTTP neither if `is_http_too`; gives the count.
    async fn stands_still(&self, is_http_too: bool) -> u64 {
        let count = || self.counts().iter().take(if is_http_too { 3 } else { 2 }).sum::<u64>();
        let last = Cell::new((count(), Instant::now()));
        until_some(WAIT, async || {
            if count() != last.get().0 {
                last.set((count(), Instant::now()));
            }
            let (count, since) = last.get();
            (since.elapsed() >= STILL).then_some(count)
        })
        .await
    }

    /// Ends the loads and asserts that no promise was broken.
    async fn assert_clean(self, ground: &Ground) {
        let mut repeated = 0;
        assert!(acknowledged(&self.loads) > 0);
        for load in self.loads {
            load.stop();
            let summary = load.finish().await;
            assert!(summary.failures.is_empty(), "{summary}\n{}", ground.log());
            repeated += summary.repeated;
        }
        assert!(repeated > 0, "no failure met anything under way");
        let rows = async |place: &Place| ground.rows(place).await;
        let verdicts = self.trial.judged_by(&ground.access(), rows, |_| true).await;
        eprintln!("{}", verdicts[0]);
        assert_clean_beside(&verdicts, || ground.log());
    }
}

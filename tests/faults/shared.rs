//! The process is killed under shared subscriptions, whose members have sessions that last and come back each time.

use std::net::SocketAddr;

use trunkline_bench::chance::Chance;
use trunkline_bench::ledger::Book;
use trunkline_bench::load::{Load, Witness};
use trunkline_testkit::until;

use crate::kill::{seed_of_now, variable};
use crate::platform::Ground;
use crate::sessions::{KILL_WITHIN, ROUNDS, TABLE, WAIT, WORKING, start_loads, targets};
use crate::trial::{Trial, acknowledged, assert_clean};

/// Members of each group.
const MEMBERS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_survive_kills_without_loss_and_at_qos_2_each_message_is_had_by_one_member_once() {
    let rounds = variable("TRUNKLINE_TEST_ROUNDS").unwrap_or(ROUNDS);
    let seed = variable("TRUNKLINE_TEST_SEED").unwrap_or_else(seed_of_now);
    eprintln!("{rounds} kills, TRUNKLINE_TEST_SEED={seed}");
    let mut chance = Chance::new(seed);
    let mut ground = Ground::new();
    let mut platform = ground.start().await;
    let trial = Trial::start(&ground, &platform, 2).await;
    let groups = Groups::start(&trial, &[platform.access.mqtt; MEMBERS]).await;
    let loads = start_loads(&trial, "synced");
    for _ in 0..rounds {
        groups.work(&loads).await;
        chance.moment_within(KILL_WITHIN).await;
        platform.kill().await;
        platform = ground.start().await;
    }
    for load in loads {
        load.stop();
        let summary = load.finish().await;
        assert!(summary.failures.is_empty(), "{summary}");
    }
    let path = trial.path().to_owned();
    assert_clean(&trial.verdicts(&ground, &platform).await, &ground);
    let book = Book::read(&path).unwrap();
    groups.judge(&book, rounds * WORKING, || ground.log()).await;
}

/// The members of a group for each line of the table.
pub(crate) struct Groups(Vec<Vec<Witness>>);

impl Groups {
    /// Each group has a member that comes to each of these addresses.
    pub(crate) async fn start(trial: &Trial, addresses: &[SocketAddr]) -> Self {
        let mut groups = Vec::new();
        for ((_, version, qos), mut target) in TABLE.into_iter().zip(targets(trial)) {
            target.topic = format!("$share/workers/{}", target.topic);
            let mut members = Vec::new();
            for mqtt in addresses {
                target.mqtt = *mqtt;
                members.push(Witness::start(&target, version, qos).await.unwrap());
            }
            groups.push(members);
        }
        Self(groups)
    }

    /// Waits until messages of every load are acknowledged, and every group gets some.
    pub(crate) async fn work(&self, loads: &[Load]) {
        let (kept, got) = (acknowledged(loads), self.received());
        let has_moved = || {
            let now = self.received();
            now.iter().zip(&got).all(|(now, before)| *now >= before + WORKING)
        };
        until(WAIT, async || acknowledged(loads) >= kept + WORKING && has_moved()).await;
    }

    /// Different messages that each member got, added up by group.
    fn received(&self) -> Vec<u64> {
        let distinct = |members: &Vec<Witness>| members.iter().map(Witness::distinct).sum();
        self.0.iter().map(distinct).collect()
    }

    /// Asserts that each group got all that it was owed, at QoS 2 once, and `least` messages, with this log when one did not.
    pub(crate) async fn judge(self, book: &Book, least: u64, log: impl Fn() -> String) {
        for ((_, _, qos), members) in TABLE.into_iter().zip(self.0) {
            assert!(members.iter().all(|member| member.distinct() > 0), "each has its turns");
            let judgement = Witness::finish_all(members, book).await.unwrap();
            eprintln!("QoS {qos}: {judgement}");
            let is_lossless = (judgement.lost, judgement.phantom) == (0, 0);
            assert!(is_lossless, "QoS {qos}: {judgement}\n{}", log());
            assert!(judgement.received >= least);
            assert!(qos < 2 || judgement.repeated == 0, "QoS {qos}: {judgement}\n{}", log());
        }
    }
}

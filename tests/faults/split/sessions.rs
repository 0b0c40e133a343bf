//! Sessions on two nodes: they move from one to the other, their node is killed or stands still, and so does NATS. The ledger finds nothing
//! lost and at QoS 2 nothing repeated, and who does not come back leaves his will once.

use std::time::Duration;

use trunkline_bench::Place;
use trunkline_bench::chance::Chance;
use trunkline_bench::ledger::Book;
use trunkline_bench::site::Access;
use trunkline_testkit::Proxy;

use super::ground::{Ground, Part};
use crate::estate::Estate;
use crate::kill::{seed_of_now, variable};
use crate::sessions::{WORKING, Witnesses, start_loads, works};
use crate::trial::{PROBE_NAME, Trial, assert_clean_beside};

/// Rounds unless `TRUNKLINE_TEST_SESSION_ROUNDS` says otherwise.
pub(super) const ROUNDS: u64 = 10;
/// A fault comes at a moment of this time after everything works again.
pub(super) const FAULT_WITHIN: Duration = Duration::from_secs(1);

/// What happens in a round.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// All connections break and come back to the other node.
    Move,
    /// The node is killed; its clients come back to the other one.
    NodeKilled,
    /// NATS is killed.
    NatsKilled,
    /// The node stands still until its clients have moved to the other one, and takes itself for their owner then.
    NodeFrozen,
    /// NATS stands still for longer than any lease.
    NatsFrozen,
}

const FAULTS: [Fault; 5] = [
    Fault::Move,
    Fault::NodeKilled,
    Fault::NatsKilled,
    Fault::NodeFrozen,
    Fault::NatsFrozen,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_on_two_nodes_survive_what_befalls_these_and_nats() {
    let rounds = variable("TRUNKLINE_TEST_SESSION_ROUNDS").unwrap_or(ROUNDS);
    let seed = variable("TRUNKLINE_TEST_SEED").unwrap_or_else(seed_of_now);
    eprintln!("{rounds} rounds, TRUNKLINE_TEST_SEED={seed}");
    let mut chance = Chance::new(seed);
    let mut nodes = Nodes::start().await;
    let trial = Trial::on(nodes.ground.path(), &nodes.access(), 2).await;
    let witnesses = Witnesses::start(&trial).await;
    let loads = start_loads(&trial, "written");
    let mut estate = Estate::new(&trial.site.targets[3]);
    for (round, fault) in (0..rounds).zip(FAULTS.into_iter().cycle()) {
        works(&loads, &witnesses).await;
        let mortals = estate.enter(round).await;
        chance.moment_within(FAULT_WITHIN).await;
        eprintln!("round {round}: {fault:?}");
        nodes
            .befall(fault, async || {
                drop(mortals);
                works(&loads, &witnesses).await;
            })
            .await;
    }
    works(&loads, &witnesses).await;
    let mut repeated = 0;
    for load in loads {
        load.stop();
        let summary = load.finish().await;
        assert!(summary.failures.is_empty(), "{summary}\n{}", nodes.ground.log());
        repeated += summary.repeated;
    }
    assert!(repeated > 0, "no fault met anything under way");
    let rows = async |place: &Place| nodes.ground.rows(place).await;
    estate.assert_whole(rows).await;
    let path = trial.path().to_owned();
    let verdicts = trial
        .judged_by(&nodes.access(), rows, |row| row.name != PROBE_NAME)
        .await;
    assert_clean_beside(&verdicts, || nodes.ground.log());
    let book = Book::read(&path).unwrap();
    witnesses.judge(&book, rounds * WORKING, || nodes.ground.log()).await;
}

/// A platform with two nodes behind one door, which leads to one of them.
struct Nodes {
    ground: Ground,
    door: Proxy,
    here: Part,
    there: Part,
}

impl Nodes {
    async fn start() -> Self {
        let ground = Ground::start_with_two_nodes().await;
        let (here, there) = (Part::Mqtt, Part::MqttToo);
        let door = Proxy::before(&address(&ground, here)).await;
        Self {
            ground,
            door,
            here,
            there,
        }
    }

    /// How clients come in.
    fn access(&self) -> Access {
        Access {
            mqtt: self.door.address(),
            ..self.ground.access()
        }
    }

    /// What happens, up to when everything is there again; `ends` has clients end their connections, and waits until the rest works.
    async fn befall(&mut self, fault: Fault, ends: impl AsyncFnOnce()) {
        match fault {
            Fault::Move => {
                self.change();
                ends().await;
            }
            Fault::NodeKilled => {
                self.ground.kill(self.here).await;
                let dead = self.change();
                ends().await;
                self.ground.restart(dead).await;
            }
            Fault::NatsKilled => {
                self.ground.nats.kill();
                self.ground.nats.restart();
                ends().await;
            }
            Fault::NodeFrozen => {
                self.ground.freeze(self.here).await;
                let still = self.change();
                ends().await;
                self.ground.thaw(still).await;
            }
            Fault::NatsFrozen => {
                self.ground.freeze_nats_for_a_while().await;
                ends().await;
            }
        }
    }

    /// Has all clients come back to the other node; gives the one that they leave.
    fn change(&mut self) -> Part {
        std::mem::swap(&mut self.here, &mut self.there);
        self.door.lead_to(&address(&self.ground, self.here));
        self.door.reset();
        self.there
    }
}

/// Where clients come to a node.
pub(super) fn address(ground: &Ground, part: Part) -> String {
    ground.process(part).address("mqtt").unwrap().to_string()
}

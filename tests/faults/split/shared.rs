//! Groups with a member on each of two nodes. By turns a node is killed, whose members go to the other until it is back, and NATS stands
//! still and is killed. The ledger finds nothing lost or without an answer in time, and at QoS 2 nothing that two members had.

use trunkline_bench::Place;
use trunkline_bench::chance::Chance;
use trunkline_bench::ledger::Book;
use trunkline_bench::site::Access;
use trunkline_testkit::Proxy;

use super::ground::{Ground, Part};
use super::sessions::{FAULT_WITHIN, ROUNDS, address};
use crate::kill::{seed_of_now, variable};
use crate::sessions::{WORKING, start_loads};
use crate::shared::Groups;
use crate::trial::{Trial, assert_clean_beside};

const NODES: [Part; 2] = [Part::Mqtt, Part::MqttToo];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_on_two_nodes_survive_the_death_of_one_and_outages_of_nats() {
    let rounds = variable("TRUNKLINE_TEST_SESSION_ROUNDS").unwrap_or(ROUNDS);
    let seed = variable("TRUNKLINE_TEST_SEED").unwrap_or_else(seed_of_now);
    eprintln!("{rounds} rounds, TRUNKLINE_TEST_SEED={seed}");
    let mut chance = Chance::new(seed);
    let mut ground = Ground::start_with_two_nodes().await;
    let doors = [
        Proxy::before(&address(&ground, NODES[0])).await,
        Proxy::before(&address(&ground, NODES[1])).await,
    ];
    let access = Access {
        mqtt: doors[0].address(),
        ..ground.access()
    };
    let trial = Trial::on(ground.path(), &access, 2).await;
    let groups = Groups::start(&trial, &doors.each_ref().map(Proxy::address)).await;
    let loads = start_loads(&trial, "written");
    for round in 0..rounds {
        groups.work(&loads).await;
        chance.moment_within(FAULT_WITHIN).await;
        if round % 2 == 1 {
            eprintln!("round {round}: NATS stands still");
            ground.freeze_nats_for_a_while().await;
            groups.work(&loads).await;
            chance.moment_within(FAULT_WITHIN).await;
            eprintln!("round {round}: NATS is killed");
            ground.nats.kill();
            ground.nats.restart();
            continue;
        }
        let (dead, other) = if round % 4 == 0 { (0, 1) } else { (1, 0) };
        eprintln!("round {round}: {:?} is killed", NODES[dead]);
        ground.kill(NODES[dead]).await;
        lead(&doors[dead], &ground, NODES[other]);
        groups.work(&loads).await;
        ground.restart(NODES[dead]).await;
        lead(&doors[dead], &ground, NODES[dead]);
    }
    groups.work(&loads).await;
    for load in loads {
        load.stop();
        let summary = load.finish().await;
        assert!(summary.failures.is_empty(), "{summary}\n{}", ground.log());
    }
    let path = trial.path().to_owned();
    let rows = async |place: &Place| ground.rows(place).await;
    let verdicts = trial.judged_by(&access, rows, |_| true).await;
    assert_clean_beside(&verdicts, || ground.log());
    let book = Book::read(&path).unwrap();
    groups.judge(&book, rounds * WORKING, || ground.log()).await;
}

/// Has whoever came by a door come to this node from now on.
fn lead(door: &Proxy, ground: &Ground, part: Part) {
    door.lead_to(&address(ground, part));
    door.reset();
}

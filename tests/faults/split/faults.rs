//! Each process is killed in turn, then each server; NATS stands still. The ledger finds nothing broken, no process grows beyond its
//! bound although a flood goes on meanwhile, and all of it heals by itself.

use std::time::Duration;

use trunkline_testkit::{throughout, until};

use super::flood::{Flood, assert_bounded};
use super::ground::{Ground, Part};
use super::{Strain, WAIT};
use crate::kill::variable;

/// Rounds unless `TRUNKLINE_TEST_SPLIT_ROUNDS` says otherwise.
const ROUNDS: u64 = 1;
/// Seconds that NATS stands still unless `TRUNKLINE_TEST_FREEZE_SECONDS` says otherwise.
const FREEZE_SECONDS: u64 = 3;
/// How long a server stays away.
const AWAY: Duration = Duration::from_secs(1);
/// Messages per second of a flood that the log has to keep until Postgres is back.
const KEPT_RATE: f64 = 100.0;
/// Acknowledgements that show that an outage holds nobody up.
const UNTOUCHED: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_or_stands_still_nothing_is_lost_and_it_heals_by_itself() {
    let rounds = variable("TRUNKLINE_TEST_SPLIT_ROUNDS").unwrap_or(ROUNDS);
    let freeze = Duration::from_secs(variable("TRUNKLINE_TEST_FREEZE_SECONDS").unwrap_or(FREEZE_SECONDS));
    let mut ground = Ground::start().await;
    let flood = Flood::prepare(&ground).await;
    for _ in 0..rounds {
        let strain = Strain::start(&ground).await;
        for part in Part::ALL {
            strain.works(WAIT).await;
            ground.kill(part).await;
            ground.restart(part).await;
            strain.heals(&format!("{part:?} killed")).await;
        }

        let pouring = flood.pour().await;
        ground.nats.kill();
        nothing_is_acknowledged_for(&strain, AWAY).await;
        drop(pouring);
        ground.nats.restart();
        strain.heals("NATS killed").await;
        assert_bounded(&ground);

        let pouring = flood.pour().await;
        ground.nats.freeze();
        nothing_is_acknowledged_for(&strain, freeze).await;
        drop(pouring);
        ground.nats.thaw();
        strain.heals("NATS frozen").await;
        assert_bounded(&ground);

        let pouring = flood.pour_at(Some(KEPT_RATE)).await;
        ground.postgres.kill();
        let before: u64 = strain.counts().iter().sum();
        until(WAIT, async || strain.counts().iter().sum::<u64>() >= before + UNTOUCHED).await;
        drop(pouring);
        ground.postgres.restart();
        strain.heals("Postgres killed").await;
        assert_bounded(&ground);

        strain.assert_clean(&ground).await;
    }
}

/// What cannot be stored is not acknowledged, for as long as that is so.
async fn nothing_is_acknowledged_for(strain: &Strain, outage: Duration) {
    let count = strain.stands_still(true).await;
    throughout(outage, async || strain.counts().iter().sum::<u64>() == count).await;
}

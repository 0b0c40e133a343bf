//! A flood that wants no answers, so that nothing but the platform itself holds it back, and what the processes it meets hold.

use std::time::Duration;

use trunkline_bench::ledger::Protocol;
use trunkline_bench::load::{Clock, Counts, Load, Plan, Target};
use trunkline_bench::site::Site;
use trunkline_testkit::until;

use super::WAIT;
use super::ground::Ground;

/// What a process may hold at any moment, whatever fails: what a debug build holds at rest, and every queue of it full.
const RESIDENT_BYTES_MAX: u64 = 192 * 1024 * 1024;
const CONNECTIONS: usize = 4;
/// Bytes of a message: what nobody bounds passes the bound above within a second.
const PAYLOAD_BYTES: usize = 16 * 1024;
/// No flood goes on longer.
const TIME_MAX: Duration = Duration::from_secs(300);

/// Who floods: clients in a domain of their own, which no ledger knows.
pub(crate) struct Flood {
    targets: Vec<Target>,
}

impl Flood {
    pub(crate) async fn prepare(ground: &Ground) -> Self {
        let site = Site::make(&ground.access(), 1, CONNECTIONS).await.unwrap();
        Self { targets: site.targets }
    }

    /// Floods at QoS 0: as much as the connections take, or so many messages a second.
    pub(crate) async fn pour(&self, rate: Option<f64>) -> Load {
        let plan = Plan {
            run: Plan::new_run(),
            protocol: Protocol::Mqtt5,
            qos: 0,
            connections: CONNECTIONS,
            window: 1,
            rate,
            payload_bytes: PAYLOAD_BYTES,
            messages_max: u64::MAX,
            time_max: TIME_MAX,
            is_persistent: true,
            tier: Plan::TIER_UNTOLD.to_owned(),
        };
        let load = Load::start(&plan, &self.targets, None, Clock::start()).unwrap();
        until(WAIT, async || Counts::of(&load.counts.connected) >= CONNECTIONS as u64).await;
        load
    }
}

/// Waits until a flood would have drowned whoever keeps all of it, however slow the machine.
pub(crate) async fn has_poured(pouring: &Load) {
    let bytes = || Counts::of(&pouring.counts.sent) * PAYLOAD_BYTES as u64;
    until(WAIT, async || bytes() > RESIDENT_BYTES_MAX).await;
}

/// Asserts that no process has held more than it may.
#[track_caller]
pub(crate) fn assert_bounded(ground: &Ground) {
    for (part, bytes) in ground.peaks() {
        eprintln!("{part:?} held {} MiB at most", bytes >> 20);
        assert!(
            bytes <= RESIDENT_BYTES_MAX,
            "{part:?} held {} MiB\n{}",
            bytes >> 20,
            ground.log()
        );
    }
}

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
/// Bytes that show that the flood flows, more than sockets hold. From then on the platform alone says how fast: it holds a flood back, or drops it.
const FLOWING_BYTES: u64 = 32 * 1024 * 1024;
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

    /// Floods at QoS 0 with as much as the connections take. It flows when this returns.
    pub(crate) async fn pour(&self) -> Load {
        let load = self.pour_at(None).await;
        let bytes = || Counts::of(&load.counts.sent) * PAYLOAD_BYTES as u64;
        until(WAIT, async || bytes() >= FLOWING_BYTES).await;
        load
    }

    /// Floods with so many messages a second, or with as much as the connections take.
    pub(crate) async fn pour_at(&self, rate: Option<f64>) -> Load {
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

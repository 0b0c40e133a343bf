//! The load generator: connections that publish within a window, as fast as they are answered or at a rate of their own.
//!
//! Latency is counted from the moment at which a message was due, not from when there was room for it: a stall then counts for each
//! message that it held up. Send and receive times are of one clock, so sender and subscriber must be one process.

mod clock;
mod fanout;
mod flight;
mod http;
mod mqtt;
mod pace;
mod publisher;
mod subscriber;
mod summary;
mod witness;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Place;
use crate::ledger::{ANSWER_TIME_MAX, Ledger, Protocol};
pub use clock::Clock;
pub use fanout::{Audience, Fanout};
pub(crate) use mqtt::{Wire, text};
use publisher::{Publisher, Shared};
pub use subscriber::{Delivered, Subscriber, Wish};
pub use summary::{Latency, Summary};
pub use witness::{Judgement, Witness};

/// Connections of one load.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Messages that one connection may have under way.
pub const WINDOW_MAX: usize = 4_096;
/// Longest time that a load may take.
pub const TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Digits of a run's name: enough to tell the runs of a platform apart, and few enough for a small payload.
const RUN_DIGITS: usize = 12;
/// Between two looks at how many messages were acknowledged.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a load that has ended waits for answers before it counts them as missing.
const ANSWER_WAIT: Duration = ANSWER_TIME_MAX;

/// Whom to send to, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// HTTP of the platform; not used for MQTT.
    pub http: SocketAddr,
    /// MQTT of the platform or any broker.
    pub mqtt: SocketAddr,
    /// User name: on Trunkline, a client's id.
    pub user: String,
    /// Password: on Trunkline, a client's secret.
    pub password: String,
    /// Topic to publish to.
    pub topic: String,
    /// The ids that the topic means, for the ledger.
    pub place: Place,
}

/// What to send.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the run; the first part of each message's name.
    pub run: String,
    /// How to speak.
    pub protocol: Protocol,
    /// MQTT quality of service, 0, 1 or 2.
    pub qos: u8,
    /// Connections; over HTTP each has as many as its window.
    pub connections: usize,
    /// Messages under way on each connection; a broker's Receive Maximum may lower it.
    pub window: usize,
    /// Messages per second of all connections; without one, as many as are answered.
    pub rate: Option<f64>,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Messages of all connections after which the load ends.
    pub messages_max: u64,
    /// Time after which the load ends.
    pub time_max: Duration,
    /// Whether a connection that breaks is made anew, and what had no answer sent once more; otherwise it ends.
    pub is_persistent: bool,
    /// The tier that an acknowledgement over MQTT, which does not tell it, stands for.
    pub tier: String,
}

impl Plan {
    /// The tier of an acknowledgement that does not tell it.
    pub const TIER_UNTOLD: &str = "untold";

    /// A name that no other run has.
    #[must_use]
    pub fn new_run() -> String {
        let name = uuid::Uuid::new_v4().simple().to_string();
        name[..RUN_DIGITS].to_owned()
    }

    fn check(&self) -> Result<()> {
        let is_within = |value: usize, max: usize| (1..=max).contains(&value);
        ensure!(
            is_within(self.connections, CONNECTIONS_MAX),
            "1 to {CONNECTIONS_MAX} connections are possible"
        );
        ensure!(
            is_within(self.window, WINDOW_MAX),
            "a window of 1 to {WINDOW_MAX} is possible"
        );
        ensure!(self.time_max <= TIME_MAX, "a load may take {TIME_MAX:?} at most");
        ensure!(self.rate.is_none_or(|rate| rate > 0.0), "a rate is above 0");
        ensure!(self.qos <= 2, "QoS 0, 1 and 2 are possible");
        Ok(())
    }
}

/// What all connections of a load count together while it runs.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages sent, repetitions left out.
    pub sent: AtomicU64,
    /// Messages acknowledged.
    pub acknowledged: AtomicU64,
    /// Messages refused with a reason.
    pub refused: AtomicU64,
    /// Messages answered by something that leaves it open.
    pub unclear: AtomicU64,
    /// Messages sent once more.
    pub repeated: AtomicU64,
    /// Connections made.
    pub connected: AtomicU64,
    /// Connections that broke or were refused.
    pub broken: AtomicU64,
    /// Messages without an answer now.
    pub in_flight: AtomicU64,
}

impl Counts {
    pub(crate) fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The value of a count.
    #[must_use]
    pub fn of(count: &AtomicU64) -> u64 {
        count.load(Ordering::Relaxed)
    }
}

/// A load that is running.
pub struct Load {
    /// What it has counted so far.
    pub counts: Arc<Counts>,
    stop: CancellationToken,
    clock: Clock,
    publishers: JoinSet<Outcome>,
}

/// How one publisher ended.
pub(crate) struct Outcome {
    pub(crate) latency: Latency,
    /// Messages that were due and never sent, for want of room.
    pub(crate) overdue: u64,
    /// Why it ended before its time.
    pub(crate) failure: Option<String>,
}

impl Load {
    /// Starts a load; connection `i` sends to target `i`, over and over.
    ///
    /// # Errors
    /// When the plan asks for what is not possible.
    pub fn start(plan: &Plan, targets: &[Target], ledger: Option<&Arc<Ledger>>, clock: Clock) -> Result<Self> {
        plan.check()?;
        ensure!(!targets.is_empty(), "there is nobody to send to");
        let (counts, stop) = (Arc::new(Counts::default()), CancellationToken::new());
        let count = match plan.protocol {
            Protocol::Http => plan.connections * plan.window,
            Protocol::Mqtt3 | Protocol::Mqtt5 => plan.connections,
        };
        let shared = Shared {
            ledger: ledger.cloned(),
            clock,
            counts: counts.clone(),
        };
        let mut publishers = JoinSet::new();
        for number in 0..count {
            let target = targets[number % targets.len()].clone();
            let publisher = Publisher::new(plan, target, (number, count), shared.clone());
            let stop = stop.clone();
            match plan.protocol {
                Protocol::Http => publishers.spawn(http::run(publisher, stop)),
                Protocol::Mqtt3 | Protocol::Mqtt5 => publishers.spawn(mqtt::run(publisher, stop)),
            };
        }
        Ok(Self {
            counts,
            stop,
            clock,
            publishers,
        })
    }

    /// Tells the connections to send nothing more.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the end and sums up.
    pub async fn finish(mut self) -> Summary {
        let mut summary = Summary::new(&self.clock);
        let mut sample = tokio::time::interval(SAMPLE_INTERVAL);
        sample.tick().await;
        loop {
            tokio::select! {
                _ = sample.tick() => summary.sample(&self.counts),
                ended = self.publishers.join_next() => match ended {
                    Some(Ok(outcome)) => summary.take(&outcome),
                    Some(Err(error)) => summary.failed(error.to_string()),
                    None => break,
                },
            }
        }
        summary.end(&self.counts);
        summary
    }
}

//! What a load came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::clock::Clock;
use super::{Counts, Outcome};

/// Longest latency that is told apart, in microseconds; longer ones count as this.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Digits that a latency is kept to.
const LATENCY_DIGITS: u8 = 3;

/// Latencies in microseconds.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_max(LATENCY_US_MAX, LATENCY_DIGITS);
        Self(histogram.expect("the bounds are valid"))
    }
}

impl Latency {
    /// Counts one.
    pub fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record(ns / 1_000);
    }

    /// Counts all of another.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// The latency that this part of the messages, such as 0.99, did not exceed.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(quantile))
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("none");
        }
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
            write!(
                formatter,
                "{name} {:.3} ms  ",
                milliseconds(self.0.value_at_quantile(quantile))
            )?;
        }
        write!(formatter, "max {:.3} ms", milliseconds(self.0.max()))
    }
}

fn milliseconds(us: u64) -> f64 {
    us as f64 / 1_000.0
}

/// What a load came to. Printed whatever happened.
#[derive(Debug, Clone)]
pub struct Summary {
    /// From the start to the last answer.
    pub took: Duration,
    /// Messages sent, repetitions left out.
    pub sent: u64,
    /// Messages that were due and never sent, since nothing made room for them before the end. They have no latency.
    pub overdue: u64,
    /// Messages acknowledged; at QoS 0 none is.
    pub acknowledged: u64,
    /// Messages refused with a reason.
    pub refused: u64,
    /// Messages answered by something that leaves it open, or not at all.
    pub unanswered: u64,
    /// Messages sent once more.
    pub repeated: u64,
    /// Connections made.
    pub connected: u64,
    /// Connections that broke or were refused.
    pub broken: u64,
    /// From when a message was due to its acknowledgement.
    pub latency: Latency,
    /// Acknowledgements in each second.
    pub per_second: Vec<u64>,
    /// Why connections ended before their time, and how many did.
    pub failures: BTreeMap<String, u64>,
    clock: Clock,
    start_ns: u64,
    sampled: u64,
}

impl Summary {
    pub(super) fn new(clock: &Clock) -> Self {
        Self {
            took: Duration::ZERO,
            sent: 0,
            overdue: 0,
            acknowledged: 0,
            refused: 0,
            unanswered: 0,
            repeated: 0,
            connected: 0,
            broken: 0,
            latency: Latency::default(),
            per_second: Vec::new(),
            failures: BTreeMap::new(),
            clock: *clock,
            start_ns: clock.now_ns(),
            sampled: 0,
        }
    }

    pub(super) fn sample(&mut self, counts: &Counts) {
        let acknowledged = Counts::of(&counts.acknowledged);
        self.per_second.push(acknowledged - self.sampled);
        self.sampled = acknowledged;
    }

    pub(super) fn take(&mut self, outcome: &Outcome) {
        self.latency.add(&outcome.latency);
        self.overdue += outcome.overdue;
        if let Some(failure) = &outcome.failure {
            self.failed(failure.clone());
        }
        self.took = Duration::from_nanos(self.clock.now_ns() - self.start_ns);
    }

    pub(super) fn failed(&mut self, failure: String) {
        *self.failures.entry(failure).or_default() += 1;
    }

    pub(super) fn end(&mut self, counts: &Counts) {
        self.sent = Counts::of(&counts.sent);
        self.acknowledged = Counts::of(&counts.acknowledged);
        self.refused = Counts::of(&counts.refused);
        self.unanswered = Counts::of(&counts.unclear) + Counts::of(&counts.in_flight);
        self.repeated = Counts::of(&counts.repeated);
        self.connected = Counts::of(&counts.connected);
        self.broken = Counts::of(&counts.broken);
    }

    /// Acknowledgements per second over the whole time.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.acknowledged as f64 / self.took.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = [
            ("took", format!("{:.3} s", self.took.as_secs_f64())),
            ("sent", self.sent.to_string()),
            ("due and never sent", self.overdue.to_string()),
            ("acknowledged", format!("{} ({:.0}/s)", self.acknowledged, self.rate())),
            ("refused", self.refused.to_string()),
            ("without an answer", self.unanswered.to_string()),
            ("sent once more", self.repeated.to_string()),
            (
                "connections",
                format!("{} made, {} broken", self.connected, self.broken),
            ),
            ("latency from due time", self.latency.to_string()),
        ];
        for (name, value) in lines {
            writeln!(formatter, "{name:24}{value}")?;
        }
        for (failure, count) in &self.failures {
            writeln!(formatter, "{count:>6} x {failure}")?;
        }
        Ok(())
    }
}

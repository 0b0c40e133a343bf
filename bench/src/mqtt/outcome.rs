//! What a part came to, and what the parts of one measure come to together.

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fmt, iter};

use super::broker::Peer;
use crate::ingest::spread;
use crate::load::Latency;

/// One part.
#[derive(Default)]
pub(super) struct Measured {
    /// Messages, deliveries or connections per second.
    pub(super) per_second: f64,
    /// Processor time of the server for each of them, in microseconds.
    pub(super) processor_us: Option<f64>,
    /// Memory of the server for each connection, in bytes.
    pub(super) bytes: Option<f64>,
    /// From publisher to subscriber, which is what is compared then.
    pub(super) latency: Option<Latency>,
    /// How long each of what was counted took.
    pub(super) took: Option<Latency>,
}

impl Measured {
    /// A count of something over a time, in which the server worked.
    pub(super) fn rate(count: u64, time: Duration, worked: Option<Duration>) -> Self {
        Self {
            per_second: count as f64 / time.as_secs_f64(),
            processor_us: worked.map(|worked| worked.as_secs_f64() * 1e6 / count.max(1) as f64),
            ..Self::default()
        }
    }

    /// What parts are compared by, with its name.
    fn compared(&self) -> Vec<(&'static str, f64)> {
        let quantile = |latency: &Latency, quantile| latency.quantile(quantile).as_secs_f64();
        match (&self.bytes, &self.latency) {
            (Some(bytes), _) => vec![("memory", *bytes)],
            (None, Some(latency)) => vec![("p50", quantile(latency, 0.5)), ("p99", quantile(latency, 0.99))],
            (None, None) => iter::once(("per second", self.per_second))
                .chain(self.processor_us.map(|processor_us| ("CPU", processor_us)))
                .collect(),
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>9.0}/s", self.per_second)?;
        if let Some(processor_us) = self.processor_us {
            write!(formatter, "  {processor_us:>7.2} CPU-us of the server each")?;
        }
        if let Some(bytes) = self.bytes {
            write!(formatter, "  {bytes:>7.0} bytes each")?;
        }
        match self.latency.as_ref().or(self.took.as_ref()) {
            Some(latency) => write!(formatter, "\n{:22}{latency}", ""),
            None => Ok(()),
        }
    }
}

/// The parts of one measure, printed as they come.
pub(super) struct Table {
    parts: Vec<(Peer, Measured)>,
}

impl Table {
    pub(super) fn new(title: impl fmt::Display) -> Self {
        println!("\n{title}");
        Self { parts: Vec::new() }
    }

    pub(super) fn add(&mut self, peer: Peer, measured: Measured) {
        println!("  {:20}{measured}", peer.name());
        self.parts.push((peer, measured));
    }

    /// Prints `own` against each of the others: the first part of one to the first of the other, and so on.
    pub(super) fn conclude(&self, own: Peer) {
        let of = |wanted: Peer| {
            self.parts
                .iter()
                .filter(move |(peer, _)| *peer == wanted)
                .map(|(_, part)| part)
        };
        let mut others: Vec<Peer> = Vec::new();
        for &(peer, _) in &self.parts {
            if peer != own && !others.contains(&peer) {
                others.push(peer);
            }
        }
        for other in others {
            let mut ratios = BTreeMap::<_, Vec<f64>>::new();
            for (one, another) in of(own).zip(of(other)) {
                for ((name, one), (_, another)) in one.compared().into_iter().zip(another.compared()) {
                    ratios.entry(name).or_default().push(one / another);
                }
            }
            for (name, ratios) in ratios {
                println!("  {} / {}, {name}: {}", own.name(), other.name(), spread(ratios));
            }
        }
    }
}

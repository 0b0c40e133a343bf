//! What a part came to, and what the parts of one measure come to together.

use std::fmt;
use std::time::Duration;

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
    fn compared(&self) -> (&'static str, f64) {
        match (&self.bytes, &self.latency) {
            (Some(bytes), _) => ("memory", *bytes),
            (None, Some(latency)) => ("p50", latency.quantile(0.5).as_secs_f64()),
            (None, None) => ("per second", self.per_second),
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
            let compared = of(own)
                .zip(of(other))
                .map(|(own, other)| own.compared().1 / other.compared().1);
            let name = of(own).next().map_or("", |part| part.compared().0);
            println!(
                "  {} / {}, {name}: {}",
                own.name(),
                other.name(),
                spread(compared.collect())
            );
            let worked: Option<Vec<f64>> = of(own)
                .zip(of(other))
                .map(|(own, other)| Some(own.processor_us? / other.processor_us?))
                .collect();
            if let Some(worked) = worked {
                println!("  {} / {}, CPU: {}", own.name(), other.name(), spread(worked));
            }
        }
    }
}

//! Subscribers beside a load: those that read, and those that stop reading and read on at the end.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;

use super::{Clock, Delivered, Latency, Load, Plan, Subscriber, Summary, Target, Wish};
use crate::ledger::Ledger;
use crate::process;

/// Who listens to a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audience {
    /// Subscribers that read.
    pub reading: usize,
    /// Subscribers that stop reading as soon as they are subscribed, and read on once the load has ended.
    pub stalled: usize,
    /// The broker's process, to see its memory grow.
    pub server: Option<u32>,
}

/// What a load with an audience came to.
pub struct Fanout {
    /// The publishers' side.
    pub summary: Summary,
    /// What those that read got.
    pub reading: Vec<Delivered>,
    /// What those that had stalled got in the end.
    pub stalled: Vec<Delivered>,
    /// Memory that the broker held more at the end of the load than before it, in bytes.
    pub grown_bytes: Option<i64>,
}

impl Audience {
    /// Runs a load with this audience on its first target.
    ///
    /// # Errors
    /// When the audience is not admitted or its connections break.
    pub async fn attend(self, plan: &Plan, targets: &[Target], ledger: Option<&Arc<Ledger>>) -> Result<Fanout> {
        let clock = Clock::start();
        let (mut reading, mut stalled) = (Vec::new(), Vec::new());
        for _ in 0..self.reading {
            reading.push(Subscriber::start(&targets[0], plan.qos, clock).await?);
        }
        for _ in 0..self.stalled {
            let subscriber = Subscriber::start(&targets[0], plan.qos, clock).await?;
            subscriber.wish(Wish::Stall);
            stalled.push(subscriber);
        }
        let held = || self.server.map(process::resident_bytes).transpose();
        let before = held()?;
        let summary = Load::start(plan, targets, ledger, clock)?.finish().await;
        let grown_bytes = held()?
            .zip(before)
            .map(|(after, before)| after.cast_signed() - before.cast_signed());
        Ok(Fanout {
            summary,
            reading: finished(reading).await?,
            stalled: finished(stalled).await?,
            grown_bytes,
        })
    }
}

async fn finished(subscribers: Vec<Subscriber>) -> Result<Vec<Delivered>> {
    let mut delivered = Vec::new();
    for subscriber in subscribers {
        delivered.push(subscriber.finish().await?);
    }
    Ok(delivered)
}

impl fmt::Display for Fanout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.summary)?;
        for (name, delivered) in [("reading", &self.reading), ("stalled", &self.stalled)] {
            let mut latency = Latency::default();
            delivered.iter().for_each(|one| latency.add(&one.latency));
            if delivered.is_empty() {
                continue;
            }
            let least = delivered.iter().map(|one| one.distinct).min().unwrap_or_default();
            let repeated: u64 = delivered.iter().map(|one| one.repeated).sum();
            let foreign: u64 = delivered.iter().map(|one| one.foreign).sum();
            writeln!(
                formatter,
                "{name:24}{} subscribers, at least {least} messages each, {repeated} repeated, {foreign} foreign",
                delivered.len()
            )?;
            writeln!(formatter, "{:24}{latency}", "")?;
        }
        match self.grown_bytes {
            Some(bytes) => writeln!(
                formatter,
                "{:24}{:+.1} MiB",
                "memory of the broker",
                bytes as f64 / (1024.0 * 1024.0)
            ),
            None => Ok(()),
        }
    }
}

//! Connections that are made, admitted and ended.

use std::time::Duration;

use anyhow::Result;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;
use trunkline_mqtt_wire::{Disconnect, Packet, Version};

use super::broker::Broker;
use super::outcome::Measured;
use crate::load::{Latency, Target, Wire};

/// Connections under way at a time.
pub(super) const AT_ONCE: usize = 32;

/// Connections per second, what the server worked for each, and how long each took from SYN to CONNACK.
pub(super) async fn run(broker: &Broker, time: Duration) -> Result<Measured> {
    let until = Instant::now() + time;
    let before = broker.worked()?;
    let tasks = (0..AT_ONCE).map(|number| repeat(broker.target(number).clone(), until));
    let mut running: JoinSet<Result<Latency>> = tasks.collect();
    let mut latency = Latency::default();
    while let Some(task) = running.join_next().await {
        latency.add(&task??);
    }
    let worked = broker.worked()?.zip(before).map(|(after, before)| after - before);
    Ok(Measured {
        took: Some(latency.clone()),
        ..Measured::rate(latency.count(), time, worked)
    })
}

async fn repeat(target: Target, until: Instant) -> Result<Latency> {
    let mut latency = Latency::default();
    while Instant::now() < until {
        let started = Instant::now();
        let (mut wire, _) = Wire::connect(&target, Version::V3).await?;
        latency.record_ns(started.elapsed().as_nanos() as u64);
        wire.put(&Packet::Disconnect(Box::<Disconnect>::default()))?;
        wire.stream.1.write_all_buf(&mut wire.outbox).await?;
    }
    Ok(latency)
}

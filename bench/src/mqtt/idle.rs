//! Memory of connections at rest: what each further one takes, so that nothing of the start counts.

use std::time::Duration;

use anyhow::Result;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::broker::Broker;
use super::outcome::Measured;

/// Connections at the first look, and at the second.
pub(super) const FROM: usize = 2_000;
pub(super) const TO: usize = 16_000;
/// How long a broker may settle before a look.
const SETTLE: Duration = Duration::from_secs(3);

/// Bytes of the server for each connection with one subscription.
pub(super) async fn run(broker: &Broker) -> Result<Measured> {
    let started = tokio::time::Instant::now();
    let mut connections = Vec::with_capacity(TO);
    open(broker, FROM, &mut connections).await?;
    let before = broker.resident_bytes()?;
    open(broker, TO, &mut connections).await?;
    let after = broker.resident_bytes()?;
    let took = started.elapsed() - 2 * SETTLE;
    Ok(Measured {
        per_second: TO as f64 / took.as_secs_f64(),
        bytes: Some((after as f64 - before as f64) / (TO - FROM) as f64),
        ..Measured::default()
    })
}

/// Opens connections, each with a subscription of its own, until there are `count`.
async fn open(broker: &Broker, count: usize, connections: &mut Vec<(OwnedReadHalf, OwnedWriteHalf)>) -> Result<()> {
    while connections.len() < count {
        let number = connections.len();
        let (mut wire, _) = broker.connect(number).await?;
        wire.subscribe(&broker.topic(number), 0).await?;
        // Its buffers go.
        connections.push(wire.stream);
    }
    tokio::time::sleep(SETTLE).await;
    Ok(())
}

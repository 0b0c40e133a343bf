//! How many changes of durable state a second there are: `cargo run --release -p trunkline-bus --example state_rate -- WRITERS SECONDS`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use trunkline_bus::EmbeddedBus;
use trunkline_bus::state::{Expect, Key};
use trunkline_core::SystemClock;

/// Bytes of a value: the record of a session with a few messages under way.
const VALUE_BYTES: usize = 256;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(Ok(default), |argument| argument.parse::<u64>());
    let (writers, seconds) = (number(64)?, number(5)?);
    let folder = tempfile::tempdir()?;
    let bus = EmbeddedBus::open(folder.path(), Default::default(), Arc::new(SystemClock)).await?;
    let (begun, mut running) = (Instant::now(), JoinSet::new());
    for writer in 0..writers {
        let state = bus.state.clone();
        running.spawn(async move {
            let (key, value) = (
                Key::durable(format!("writer.{writer}")),
                Bytes::from(vec![7; VALUE_BYTES]),
            );
            let (mut expect, mut changes) = (Expect::Absent, 0_u64);
            while begun.elapsed() < Duration::from_secs(seconds) {
                expect = Expect::Revision(state.compare_and_swap(&key, expect, value.clone()).await?);
                changes += 1;
            }
            Ok::<_, trunkline_bus::state::StateError>(changes)
        });
    }
    let mut changes = 0;
    while let Some(writer) = running.join_next().await {
        changes += writer??;
    }
    println!(
        "{writers} writers: {:.0} changes a second",
        changes as f64 / begun.elapsed().as_secs_f64()
    );
    bus.close().await;
    Ok(())
}

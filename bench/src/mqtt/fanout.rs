//! One publisher and many subscribers to one topic, at QoS 0.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use trunkline_mqtt_wire::{Packet, Publish, Version, encode};

use super::broker::Broker;
use super::outcome::Measured;
use super::pairs::{ENDED, PAYLOAD_BYTES, WARM_UP};
use crate::load::{Wire, text};

/// Messages that the publisher is ahead of the mean of its subscribers at most: few enough for every broker's queues.
const AHEAD: u64 = 50;

/// What to run.
pub(super) struct Fanout {
    pub(super) subscribers: usize,
    pub(super) time: Duration,
}

/// What all subscribers have got.
#[derive(Default)]
struct Arrived {
    count: AtomicU64,
    /// Told after each read.
    changed: Notify,
}

impl Fanout {
    /// Deliveries per second, with what the server worked for each.
    pub(super) async fn run(&self, broker: &Broker) -> Result<Measured> {
        let topic = broker.topic(0);
        let message = message(&topic)?;
        let (mut publishers, arrived, mut running) = (Vec::new(), Arc::new(Arrived::default()), JoinSet::new());
        for number in 0..self.subscribers {
            let subscriber = if broker.is_there() {
                let (mut subscriber, _) = broker.connect(number).await?;
                subscriber.subscribe(&topic, 0).await?;
                subscriber
            } else {
                let (publisher, subscriber) = broker.pair(number, &topic, 0).await?;
                publishers.push(publisher);
                subscriber
            };
            running.spawn(subscribe(subscriber, message.len(), arrived.clone()));
        }
        if broker.is_there() {
            publishers.push(broker.connect(self.subscribers).await?.0);
        }
        let from = Instant::now() + WARM_UP;
        let publishing = tokio::spawn(publish(publishers, message, self.subscribers as u64, arrived.clone()));
        sleep_until(from).await;
        let (before, worked) = (arrived.count.load(Ordering::Relaxed), broker.worked()?);
        sleep_until(from + self.time).await;
        let (after, worked_after) = (arrived.count.load(Ordering::Relaxed), broker.worked()?);
        if publishing.is_finished() {
            publishing.await??;
        } else {
            publishing.abort();
        }
        ensure!(after > before, "nothing arrived");
        let worked = worked_after.zip(worked).map(|(after, before)| after - before);
        Ok(Measured::rate(after - before, self.time, worked))
    }
}

/// A message as every subscriber gets it, too: QoS 0 of MQTT 3.1.1 has nothing that a broker changes.
fn message(topic: &str) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    let publish = Publish {
        topic: text(topic)?,
        payload: Bytes::from(vec![b'x'; PAYLOAD_BYTES]),
        ..Publish::default()
    };
    encode(&Packet::Publish(publish), Version::V3, &mut bytes)?;
    Ok(bytes.freeze())
}

/// Sends to one publisher's socket, or without a broker to each subscriber's.
async fn publish(mut to: Vec<Wire>, message: Bytes, subscribers: u64, arrived: Arc<Arrived>) -> Result<()> {
    let mut sent = 0;
    loop {
        // Whoever looks first is told of what comes after, so no end of waiting is missed.
        let changed = arrived.changed.notified();
        let room = (arrived.count.load(Ordering::Relaxed) / subscribers + AHEAD).saturating_sub(sent);
        if room == 0 {
            changed.await;
            continue;
        }
        let burst = message.repeat(room as usize);
        for wire in &mut to {
            wire.stream.1.write_all(&burst).await?;
        }
        sent += room;
    }
}

/// Counts what comes, by its bytes: every message has the same.
async fn subscribe(mut wire: Wire, message_bytes: usize, arrived: Arc<Arrived>) -> Result<()> {
    let mut bytes = wire.inbox.len();
    loop {
        arrived
            .count
            .fetch_add((bytes / message_bytes) as u64, Ordering::Relaxed);
        arrived.changed.notify_one();
        bytes %= message_bytes;
        wire.inbox.clear();
        let read = wire.stream.0.read_buf(&mut wire.inbox).await?;
        ensure!(read > 0, "{ENDED}");
        bytes += read;
    }
}

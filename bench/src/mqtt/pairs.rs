//! Publishers, each with a subscriber of its own: as many messages as arrive.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use trunkline_mqtt_wire::{Ack, Packet, PacketId, Publish, QoS, Utf8Bytes};

use super::broker::Broker;
use super::outcome::Measured;
use crate::load::{Wire, text};

/// Pairs that are measured.
pub(super) const PAIRS: usize = 10;
/// Messages that a publisher is ahead of its subscriber, and at QoS 1 of its acknowledgements, at most.
pub(super) const WINDOW: u64 = 64;
/// Bytes of a payload.
pub(super) const PAYLOAD_BYTES: usize = 64;
/// Time before anything is counted.
pub(super) const WARM_UP: Duration = Duration::from_secs(1);

/// What to run.
pub(super) struct Pairs {
    pub(super) qos: u8,
    pub(super) time: Duration,
}

impl Pairs {
    /// Messages per second that arrived, with what the server worked for each.
    pub(super) async fn run(&self, broker: &Broker) -> Result<Measured> {
        let mut pairs = Vec::new();
        for number in 0..PAIRS {
            pairs.push(Pair::make(broker, number, self.qos).await?);
        }
        let from = Instant::now() + WARM_UP;
        let until = from + self.time;
        let mut running: JoinSet<Result<u64>> = pairs.into_iter().map(|pair| pair.run(from, until)).collect();
        sleep_until(from).await;
        let before = broker.worked()?;
        sleep_until(until).await;
        let after = broker.worked()?;
        let mut arrived = 0;
        while let Some(pair) = running.join_next().await {
            arrived += pair??;
        }
        ensure!(arrived > 0, "nothing arrived");
        let worked = after.zip(before).map(|(after, before)| after - before);
        Ok(Measured::rate(arrived, self.time, worked))
    }
}

/// One publisher and its subscriber, which one task serves.
struct Pair {
    publisher: Wire,
    subscriber: Wire,
    topic: Utf8Bytes,
    payload: Bytes,
    qos: QoS,
    sent: u64,
    acknowledged: u64,
    arrived: u64,
}

impl Pair {
    async fn make(broker: &Broker, number: usize, qos: u8) -> Result<Self> {
        let topic = broker.topic(number);
        let (publisher, subscriber) = broker.pair(number, &topic, qos).await?;
        Ok(Self {
            publisher,
            subscriber,
            topic: text(&topic)?,
            payload: Bytes::from(vec![b'x'; PAYLOAD_BYTES]),
            qos: QoS::from_u8(qos).context("there are QoS 0, 1 and 2")?,
            sent: 0,
            acknowledged: 0,
            arrived: 0,
        })
    }

    /// Messages that arrived between two times.
    async fn run(mut self, from: Instant, until: Instant) -> Result<u64> {
        let end = sleep_until(until);
        tokio::pin!(end);
        let mut before = None;
        loop {
            self.publish()?;
            // Cancel safe: reading and writing take up their buffers where they left them.
            tokio::select! {
                read = self.subscriber.stream.0.read_buf(&mut self.subscriber.inbox) => ensure!(read? > 0, "{ENDED}"),
                read = self.publisher.stream.0.read_buf(&mut self.publisher.inbox) => ensure!(read? > 0, "{ENDED}"),
                written = self.publisher.stream.1.write_buf(&mut self.publisher.outbox),
                    if !self.publisher.outbox.is_empty() => ensure!(written? > 0, "{ENDED}"),
                written = self.subscriber.stream.1.write_buf(&mut self.subscriber.outbox),
                    if !self.subscriber.outbox.is_empty() => ensure!(written? > 0, "{ENDED}"),
                () = &mut end => return Ok(self.arrived - before.unwrap_or(self.arrived)),
            }
            self.take()?;
            if before.is_none() && Instant::now() >= from {
                before = Some(self.arrived);
            }
        }
    }

    /// Encodes as many messages as may be under way.
    fn publish(&mut self) -> Result<()> {
        while self.sent < self.arrived + WINDOW
            && (self.qos == QoS::AtMostOnce || self.sent < self.acknowledged + WINDOW)
        {
            self.publisher.put(&Packet::Publish(Publish {
                qos: self.qos,
                topic: self.topic.clone(),
                // Acknowledgements come in the order of the messages, so an identifier is free again when it is its turn.
                packet_id: match self.qos {
                    QoS::AtMostOnce => None,
                    _ => PacketId::new((self.sent % u64::from(u16::MAX)) as u16 + 1),
                },
                payload: self.payload.clone(),
                ..Publish::default()
            }))?;
            self.sent += 1;
        }
        Ok(())
    }

    fn take(&mut self) -> Result<()> {
        while let Some(packet) = self.subscriber.decode()? {
            if let Packet::Publish(publish) = packet {
                self.arrived += 1;
                if let Some(id) = publish.packet_id {
                    self.subscriber.put(&Packet::PubAck(Ack::success(id)))?;
                }
            }
        }
        while let Some(packet) = self.publisher.decode()? {
            if let Packet::PubAck(ack) = packet {
                ensure!(!ack.reason.is_error(), "a message was refused: {}", ack.reason);
                self.acknowledged += 1;
            }
        }
        Ok(())
    }
}

/// What is said of a connection that the broker ended.
pub(super) const ENDED: &str = "the broker closed the connection";

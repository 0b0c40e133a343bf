//! A subscriber over MQTT 5 that measures what it gets, and stops reading when it is told to.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use trunkline_mqtt_wire::{Ack, Packet, Publish, Version};

use super::Target;
use super::clock::Clock;
use super::mqtt::Wire;
use crate::content;
use crate::load::Latency;

/// How long a subscriber that was told to end waits for a further message.
const QUIET: Duration = Duration::from_millis(500);

/// What a subscriber shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Take all that comes.
    Read,
    /// Take nothing and keep the connection.
    Stall,
    /// Take what still comes, until nothing has come for a while, and leave.
    End,
}

/// What a subscriber got.
#[derive(Debug, Default)]
pub struct Delivered {
    /// From when a message was due to its arrival.
    pub latency: Latency,
    /// Messages that arrived for the first time.
    pub distinct: u64,
    /// Messages that arrived once more.
    pub repeated: u64,
    /// Messages that no generator made.
    pub foreign: u64,
    seen: HashSet<(u32, u64)>,
}

impl Delivered {
    fn take(&mut self, publish: &Publish, now_ns: u64) {
        let Some((producer, sequence, due_ns)) = content::received(&publish.payload) else {
            self.foreign += 1;
            return;
        };
        if self.seen.insert((producer, sequence)) {
            self.distinct += 1;
            self.latency.record_ns(now_ns.saturating_sub(due_ns));
        } else {
            self.repeated += 1;
        }
    }
}

/// A subscriber that is running.
pub struct Subscriber {
    wish: watch::Sender<Wish>,
    running: JoinHandle<Result<Delivered>>,
}

impl Subscriber {
    /// Subscribes to a target's topic; returns when the subscription is active.
    ///
    /// # Errors
    /// When the broker does not admit it or refuses the subscription.
    pub async fn start(target: &Target, qos: u8, clock: Clock) -> Result<Self> {
        let (mut wire, _) = Wire::connect(target, Version::V5).await?;
        wire.subscribe(&target.topic, qos).await?;
        let (wish, wishes) = watch::channel(Wish::Read);
        let running = tokio::spawn(read(wire, wishes, clock));
        Ok(Self { wish, running })
    }

    /// Tells the subscriber what to do from now on.
    pub fn wish(&self, wish: Wish) {
        self.wish.send_replace(wish);
    }

    /// Ends it and tells what it got.
    ///
    /// # Errors
    /// When its connection broke.
    pub async fn finish(self) -> Result<Delivered> {
        self.wish(Wish::End);
        self.running.await?
    }
}

async fn read(mut wire: Wire, mut wishes: watch::Receiver<Wish>, clock: Clock) -> Result<Delivered> {
    let mut delivered = Delivered::default();
    let mut quiet_from = Instant::now();
    loop {
        while let Some(packet) = wire.decode()? {
            if let Packet::Publish(publish) = packet {
                delivered.take(&publish, clock.now_ns());
                if let Some(id) = publish.packet_id {
                    wire.put(&Packet::PubAck(Ack::success(id)))?;
                }
            }
            quiet_from = Instant::now();
        }
        let wish = *wishes.borrow_and_update();
        let is_reading = wish != Wish::Stall;
        // Cancel safe: reading and writing take up their buffers where they left them.
        tokio::select! {
            read = wire.stream.0.read_buf(&mut wire.inbox), if is_reading => {
                ensure!(read? > 0, "the broker closed the connection of a subscriber");
            }
            written = wire.stream.1.write_buf(&mut wire.outbox), if is_reading && !wire.outbox.is_empty() => {
                ensure!(written? > 0, "the broker closed the connection of a subscriber");
            }
            () = sleep_until(quiet_from + QUIET), if wish == Wish::End => {
                if quiet_from.elapsed() >= QUIET {
                    return Ok(delivered);
                }
            }
            changed = wishes.changed() => {
                changed.context("the subscriber's owner is gone")?;
                quiet_from = Instant::now();
            }
        }
    }
}

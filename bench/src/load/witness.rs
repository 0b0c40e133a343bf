//! A subscriber with a session that outlives its connections: it comes back whenever its connection breaks, and remembers what the standard
//! has a client remember. What it got is held against the ledger.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use trunkline_mqtt_wire::{Ack, Packet, PacketId, Publish, QoS, Version};

use super::mqtt::{Session, Wire};
use super::publisher::RECONNECT_PAUSE;
use super::{Plan, Target};
use crate::content;
use crate::ledger::{Book, Outcome};

/// Once nothing came for this long, nothing more is under way.
const QUIET: Duration = Duration::from_secs(2);

/// What a witness got.
#[derive(Debug, Default, Clone)]
struct Witnessed {
    /// How often each message came, by producer and sequence.
    seen: HashMap<(u32, u64), u32>,
    /// Messages in front of which a later one of their producer came first.
    reordered: u64,
    /// The latest message of each producer.
    latest: HashMap<u32, u64>,
    /// Connections that it had.
    connections: u64,
}

/// What of that the ledger does not bear out.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// Messages acknowledged to their publishers and never received.
    pub lost: u64,
    /// Messages received more than once.
    pub repeated: u64,
    /// Messages received and never sent.
    pub phantom: u64,
    /// Messages received for the first time behind a later one of their producer.
    pub reordered: u64,
    /// Messages received.
    pub received: u64,
}

impl fmt::Display for Judgement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lost,
            repeated,
            phantom,
            reordered,
            received,
        } = self;
        write!(
            formatter,
            "{received} received, {lost} lost, {repeated} repeated, {phantom} phantom, {reordered} reordered"
        )
    }
}

/// A witness that is running.
pub struct Witness {
    distinct: Arc<AtomicU64>,
    stop: CancellationToken,
    running: JoinHandle<Result<Witnessed>>,
    target: Target,
}

struct Client {
    target: Target,
    version: Version,
    qos: QoS,
    session: Session,
    /// At QoS 2, ids of messages that came and were not released.
    held: HashSet<PacketId>,
    witnessed: Witnessed,
    distinct: Arc<AtomicU64>,
}

impl Witness {
    /// Subscribes to a target's topic; returns when the subscription is active.
    ///
    /// # Errors
    /// When the broker does not admit it or refuses the subscription.
    pub async fn start(target: &Target, version: Version, qos: u8) -> Result<Self> {
        let distinct = Arc::<AtomicU64>::default();
        let mut client = Client {
            target: target.clone(),
            version,
            qos: QoS::from_u8(qos).context("there are QoS 0, 1 and 2")?,
            session: Session::new(format!("witness-{}", Plan::new_run())),
            held: HashSet::new(),
            witnessed: Witnessed::default(),
            distinct: Arc::clone(&distinct),
        };
        let mut wire = client.connect().await?;
        wire.subscribe(&target.topic, client.qos as u8).await?;
        let stop = CancellationToken::new();
        let running = tokio::spawn(client.run(wire, stop.clone()));
        Ok(Self {
            distinct,
            stop,
            running,
            target: target.clone(),
        })
    }

    /// Different messages that it got so far.
    #[must_use]
    pub fn distinct(&self) -> u64 {
        self.distinct.load(Ordering::Relaxed)
    }

    /// Ends it once nothing more comes, and tells what the ledger says of what it got.
    ///
    /// # Errors
    /// When it lost its session.
    pub async fn finish(self, book: &Book) -> Result<Judgement> {
        Self::finish_all(vec![self], book).await
    }

    /// The same of several that share what comes: a message that two of them got came twice. Nothing is said of the order over all of them.
    ///
    /// # Errors
    /// When there is none, or one lost its session.
    pub async fn finish_all(witnesses: Vec<Self>, book: &Book) -> Result<Judgement> {
        let target = witnesses.first().context("there is a witness")?.target.clone();
        for witness in &witnesses {
            witness.stop.cancel();
        }
        let mut witnessed = Witnessed::default();
        for witness in witnesses {
            let Witnessed { seen, reordered, .. } = witness.running.await??;
            witnessed.reordered += reordered;
            for (message, times) in seen {
                *witnessed.seen.entry(message).or_default() += times;
            }
        }
        Ok(witnessed.judge(book, &target))
    }
}

impl Client {
    async fn connect(&mut self) -> Result<Wire> {
        let (wire, answer) = Wire::connect_to(&self.target, self.version, Some(&self.session)).await?;
        ensure!(
            answer.session_present == (self.witnessed.connections > 0),
            "the broker has forgotten the session of a subscriber"
        );
        self.witnessed.connections += 1;
        Ok(wire)
    }

    async fn run(mut self, first: Wire, stop: CancellationToken) -> Result<Witnessed> {
        let mut wire = Some(first);
        loop {
            if let Some(wire) = wire.take()
                && self.serve(wire, &stop).await.is_ok()
            {
                return Ok(self.witnessed);
            }
            sleep(RECONNECT_PAUSE).await;
            match self.connect().await {
                Ok(next) => wire = Some(next),
                Err(failure) if format!("{failure:#}").contains("forgotten") => return Err(failure),
                // It is down, and will be up again.
                Err(_) => {}
            }
        }
    }

    /// Takes what comes until the connection breaks, or until it was told to stop and nothing more comes.
    async fn serve(&mut self, mut wire: Wire, stop: &CancellationToken) -> Result<()> {
        loop {
            while let Some(packet) = wire.decode()? {
                self.take(packet, &mut wire)?;
            }
            wire.stream.1.write_all_buf(&mut wire.outbox).await?;
            // Cancel safe: reading takes up its buffer where it left it.
            tokio::select! {
                read = wire.stream.0.read_buf(&mut wire.inbox) => {
                    ensure!(read? > 0, "the broker closed the connection of a subscriber");
                }
                () = async { stop.cancelled().await; sleep(QUIET).await } => return Ok(()),
            }
        }
    }

    fn take(&mut self, packet: Packet, wire: &mut Wire) -> Result<()> {
        match packet {
            Packet::Publish(publish) => {
                let answer = match (publish.packet_id, publish.qos) {
                    (Some(id), QoS::ExactlyOnce) => {
                        if self.held.insert(id) {
                            self.count(&publish);
                        }
                        Some(Packet::PubRec(Ack::success(id)))
                    }
                    (id, _) => {
                        self.count(&publish);
                        id.map(|id| Packet::PubAck(Ack::success(id)))
                    }
                };
                answer.map_or(Ok(()), |answer| wire.put(&answer))
            }
            Packet::PubRel(ack) => {
                self.held.remove(&ack.packet_id);
                wire.put(&Packet::PubComp(Ack::success(ack.packet_id)))
            }
            other => anyhow::bail!("the broker sent {}", other.packet_type()),
        }
    }

    fn count(&mut self, publish: &Publish) {
        let Some((producer, sequence, _)) = content::received(&publish.payload) else {
            return;
        };
        let times = self.witnessed.seen.entry((producer, sequence)).or_default();
        *times += 1;
        if *times > 1 {
            return;
        }
        self.distinct.fetch_add(1, Ordering::Relaxed);
        let latest = self.witnessed.latest.entry(producer).or_default();
        self.witnessed.reordered += u64::from(sequence < *latest);
        *latest = sequence.max(*latest);
    }
}

impl Witnessed {
    /// What the ledger says of what came of a target's topic, to which no other target publishes, or of all topics of its channel.
    fn judge(&self, book: &Book, target: &Target) -> Judgement {
        let mut judgement = Judgement {
            received: self.seen.len() as u64,
            reordered: self.reordered,
            repeated: self.seen.values().filter(|times| **times > 1).count() as u64,
            ..Judgement::default()
        };
        let is_of_all = target.topic.ends_with("/#");
        let mut sent = 0;
        for (producer, entries) in book.producers.iter().zip(&book.entries) {
            let is_of_target = is_of_all || producer.publisher == target.user;
            if producer.place != target.place || !is_of_target {
                continue;
            }
            for (sequence, entry) in (0..).zip(entries) {
                let is_there = self.seen.contains_key(&(producer.id, sequence));
                judgement.lost += u64::from(entry.outcome == Outcome::Kept && !is_there);
                sent += u64::from(is_there);
            }
        }
        judgement.phantom = judgement.received - sent;
        judgement
    }
}

//! From publisher to subscriber at a rate. Messages are sent by a thread of their own, which sleeps better than a runtime's timer; a
//! message's time runs from just before its `write`, when it is late as well, to its arrival.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline_mqtt_wire::{Ack, Packet, PacketId, Publish, QoS, Version, encode};

use super::broker::Broker;
use super::outcome::Measured;
use super::pairs::{ENDED, PAIRS, PAYLOAD_BYTES, WARM_UP};
use crate::load::{Clock, Latency, Wire, text};

/// What to run.
pub(super) struct Latencies {
    pub(super) qos: u8,
    /// Messages per second of all pairs together.
    pub(super) rate: f64,
    pub(super) time: Duration,
}

/// One publisher, as the thread that sends has it.
struct Sender {
    stream: TcpStream,
    topic: String,
}

impl Latencies {
    pub(super) async fn run(&self, broker: &Broker) -> Result<Measured> {
        let (clock, over) = (Clock::start(), CancellationToken::new());
        let count_from_ns = clock.now_ns() + WARM_UP.as_nanos() as u64;
        let (mut senders, mut receivers, mut answers) = (Vec::new(), JoinSet::new(), JoinSet::new());
        for number in 0..PAIRS {
            let topic = broker.topic(number);
            let (publisher, subscriber) = broker.pair(number, &topic, self.qos).await?;
            let (read, write) = publisher.stream;
            // Answers are read by a task; the thread writes to a handle of its own.
            let stream = read.reunite(write)?.into_std()?;
            senders.push(Sender {
                stream: stream.try_clone()?,
                topic,
            });
            let (read, write) = tokio::net::TcpStream::from_std(stream)?.into_split();
            answers.spawn(discard(read, write));
            receivers.spawn(receive(subscriber, clock, count_from_ns, over.clone()));
        }
        let (rate, time, qos) = (self.rate, self.time, self.qos);
        let sending = std::thread::spawn(move || send(&mut senders, clock, rate, WARM_UP + time, qos));
        let sent = tokio::task::spawn_blocking(move || sending.join()).await?;
        let sent = sent.ok().context("the thread that sends has ended by itself")??;
        // What is under way still arrives.
        tokio::time::sleep(WARM_UP).await;
        over.cancel();
        let mut latency = Latency::default();
        while let Some(receiver) = receivers.join_next().await {
            latency.add(&receiver??);
        }
        ensure!(latency.count() > 0, "nothing arrived of {sent} messages");
        Ok(Measured {
            per_second: latency.count() as f64 / time.as_secs_f64(),
            latency: Some(latency),
            ..Measured::default()
        })
    }
}

/// Sends at a rate, to all in turn, and tells how many.
fn send(senders: &mut [Sender], clock: Clock, rate: f64, time: Duration, qos: u8) -> Result<u64> {
    let (start, mut bytes) = (std::time::Instant::now(), BytesMut::new());
    let qos = QoS::from_u8(qos).context("there are QoS 0, 1 and 2")?;
    for sent in 0_u64.. {
        let due = Duration::from_secs_f64(sent as f64 / rate);
        if due >= time {
            return Ok(sent);
        }
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let number = (sent % senders.len() as u64) as usize;
        let sender = &mut senders[number];
        let mut payload = vec![b'x'; PAYLOAD_BYTES];
        payload[..8].copy_from_slice(&clock.now_ns().to_be_bytes());
        let publish = Publish {
            qos,
            topic: text(&sender.topic)?,
            packet_id: match qos {
                QoS::AtMostOnce => None,
                _ => PacketId::new((sent / PAIRS as u64 % u64::from(u16::MAX)) as u16 + 1),
            },
            payload: Bytes::from(payload),
            ..Publish::default()
        };
        bytes.clear();
        encode(&Packet::Publish(publish), Version::V3, &mut bytes)?;
        write_all(&sender.stream, &bytes)?;
    }
    Ok(0)
}

/// Writes to a socket that does not block, as it shares its state with the one that a task reads.
fn write_all(mut stream: &TcpStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads acknowledgements away. The other half is held, so that the connection stays.
async fn discard(mut read: OwnedReadHalf, _write: tokio::net::tcp::OwnedWriteHalf) -> Result<()> {
    let mut bytes = [0; 4_096];
    while read.read(&mut bytes).await? > 0 {}
    Ok(())
}

async fn receive(mut wire: Wire, clock: Clock, count_from_ns: u64, over: CancellationToken) -> Result<Latency> {
    let mut latency = Latency::default();
    loop {
        while let Some(packet) = wire.decode()? {
            let Packet::Publish(publish) = packet else { continue };
            let sent_ns = publish.payload.first_chunk().map(|ns| u64::from_be_bytes(*ns));
            let sent_ns = sent_ns.context("a payload has its time in front")?;
            if sent_ns >= count_from_ns {
                latency.record_ns(clock.now_ns().saturating_sub(sent_ns));
            }
            if let Some(id) = publish.packet_id {
                wire.put(&Packet::PubAck(Ack::success(id)))?;
            }
        }
        wire.stream.1.write_all_buf(&mut wire.outbox).await?;
        tokio::select! {
            read = wire.stream.0.read_buf(&mut wire.inbox) => ensure!(read? > 0, "{ENDED}"),
            () = over.cancelled() => return Ok(latency),
        }
    }
}

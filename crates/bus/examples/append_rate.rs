//! Measures acknowledged appends per second of the embedded log, beside the disk's raw sync rate in the same minutes.
//!
//! `cargo run --release --example append_rate -- [FOLDER] [SECONDS] [IN_FLIGHT,…]`; the folder must not be on tmpfs.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use trunkline_bus::embedded::{Config, EmbeddedBus};
use trunkline_bus::log::{Log, ReadLimit, Shard, WRITER_GROUP};
use trunkline_bus::{NewEntry, envelope};
use trunkline_core::{ChannelId, ClientId, DomainId, MessageId, SessionId, SystemClock};
use trunkline_proto::messages::v1::{Envelope, Protocol, Publisher, PublisherKind};

/// Makes entries of about 400 bytes.
const PAYLOAD_BYTES: usize = 256;
const DOMAINS: usize = 2;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let in_flight = arguments.next().unwrap_or_else(|| "1,64,1000,4000".to_owned());
    println!("in flight | acknowledged/s | commits/s | consumed/s | raw fdatasync/s before, after");
    for in_flight in in_flight.split(',') {
        let before = raw_sync_rate(&folder)?;
        let line = measure(&folder, in_flight.parse()?, Duration::from_secs(seconds)).await?;
        let after = raw_sync_rate(&folder)?;
        println!("{in_flight:>9} | {line} | {before:.0}, {after:.0}");
    }
    Ok(())
}

/// Appends of 256 bytes, each followed by `fdatasync`, for a second.
fn raw_sync_rate(folder: &Path) -> std::io::Result<f64> {
    let path = folder.join("raw-sync");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let started = Instant::now();
    let mut syncs = 0_u32;
    while started.elapsed() < Duration::from_secs(1) {
        file.write_all(&[7; 256])?;
        file.sync_data()?;
        syncs += 1;
    }
    std::fs::remove_file(path)?;
    Ok(f64::from(syncs) / started.elapsed().as_secs_f64())
}

async fn measure(folder: &Path, in_flight: usize, length: Duration) -> Result<String, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir_in(folder)?;
    let bus = EmbeddedBus::open(dir.path(), Config::default(), Arc::new(SystemClock)).await?;
    bus.log.join(WRITER_GROUP, true).await?;
    let consumed = Arc::new(AtomicU64::new(0));
    let consumers: Vec<_> = (0..bus.log.shards())
        .map(|shard| tokio::spawn(consume(bus.log.clone(), Shard(shard), consumed.clone())))
        .collect();
    let domains: Vec<DomainId> = (0..DOMAINS).map(|_| DomainId::new()).collect();
    // A few tasks with a window each, as connections have.
    let tasks = in_flight.min(16);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let warm_up = Duration::from_secs(1);
    let started = Instant::now();
    let publishers: Vec<_> = (0..tasks)
        .map(|number| {
            let (log, domain) = (bus.log.clone(), domains[number % DOMAINS]);
            let window = in_flight / tasks;
            let acknowledged = acknowledged.clone();
            tokio::spawn(async move { publish(&*log, domain, window, started + warm_up + length, &acknowledged).await })
        })
        .collect();
    tokio::time::sleep(warm_up).await;
    let (first, commits, read) = (
        acknowledged.load(Relaxed),
        bus.log.stats().commits,
        consumed.load(Relaxed),
    );
    let counted_from = Instant::now();
    tokio::time::sleep(length).await;
    let elapsed = counted_from.elapsed().as_secs_f64();
    let rate = |now: u64, then: u64| (now - then) as f64 / elapsed;
    let line = format!(
        "{:>14.0} | {:>9.0} | {:>10.0}",
        rate(acknowledged.load(Relaxed), first),
        rate(bus.log.stats().commits, commits),
        rate(consumed.load(Relaxed), read),
    );
    for publisher in publishers {
        publisher.await?;
    }
    bus.close().await;
    for consumer in consumers {
        consumer.await?;
    }
    Ok(line)
}

async fn publish(log: &dyn Log, domain: DomainId, window: usize, until: Instant, acknowledged: &AtomicU64) {
    let client = ClientId::new();
    let (channel, session) = (ChannelId::new(), SessionId::new());
    let mut receipts = std::collections::VecDeque::with_capacity(window);
    while Instant::now() < until {
        let envelope = Envelope {
            id: envelope::id_bytes(MessageId::new().as_bytes()),
            domain_id: envelope::id_bytes(domain.as_bytes()),
            channel_id: envelope::id_bytes(channel.as_bytes()),
            subtopic: "building/4/temperature".to_owned(),
            publisher: Some(Publisher {
                kind: PublisherKind::Client.into(),
                id: envelope::id_bytes(client.as_bytes()),
                ..Publisher::default()
            }),
            device_id: envelope::id_bytes(client.as_bytes()),
            session_id: envelope::id_bytes(session.as_bytes()),
            protocol: Protocol::Mqtt.into(),
            qos: 1,
            payload: vec![7; PAYLOAD_BYTES].into(),
            ..Envelope::default()
        };
        let entry = NewEntry::seal(envelope, PAYLOAD_BYTES).expect("the entry is within limits");
        receipts.push_back(log.append(entry).await.expect("the log takes entries"));
        if receipts.len() >= window
            && let Some(receipt) = receipts.pop_front()
        {
            receipt.await.expect("the entry is appended");
            acknowledged.fetch_add(1, Relaxed);
        }
    }
}

/// Reads a shard and commits each page, as a writer does, until the log closes.
async fn consume(log: Arc<dyn Log>, shard: Shard, consumed: Arc<AtomicU64>) {
    let mut position = 1;
    while log.wait(shard, position - 1).await.is_ok() {
        let Ok(page) = log.read(shard, position, ReadLimit::default()).await else {
            return;
        };
        consumed.fetch_add(page.entries.len() as u64, Relaxed);
        position = page.next;
        if log.commit(WRITER_GROUP, shard, position - 1).await.is_err() {
            return;
        }
    }
}

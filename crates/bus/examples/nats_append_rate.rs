//! How many entries a second the log on NATS acknowledges, beside a bare async-nats publisher on the same server.
//!
//! `TRUNKLINE_TEST_NATS_SERVER=<nats-server> cargo run --release --example nats_append_rate -p trunkline-bus [entries]`

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use trunkline_bus::Log;
use trunkline_bus::conformance::entry;
use trunkline_bus::nats::{NatsBus, NatsConfig, Trimming, provision};
use trunkline_core::{DomainId, SystemClock};
use trunkline_testkit::Nats;
use uuid::Uuid;

const ENTRIES_DEFAULT: usize = 400_000;
const IN_FLIGHT: usize = 2_000;
const PRODUCERS: usize = 4;
const PAYLOAD_BYTES: usize = 100;
const WAIT_MAX: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    let entries = std::env::args()
        .nth(1)
        .map_or(ENTRIES_DEFAULT, |number| number.parse().unwrap());
    let nats = Nats::start();
    let platform = Uuid::now_v7();
    let config = NatsConfig {
        urls: vec![nats.url()],
        bytes_max: 1 << 31,
        domain_bytes_max: 1 << 31,
        ..NatsConfig::default()
    };
    provision(&config, platform, &SystemClock).await.unwrap();
    for round in 1..=3 {
        report(
            &nats,
            &format!("{round}: bare async-nats"),
            entries,
            bare(&nats, entries),
        )
        .await;
        for trimming in [Trimming::Elsewhere, Trimming::Here] {
            let bus = NatsBus::open(&config, platform, trimming, Arc::new(SystemClock))
                .await
                .unwrap();
            let name = format!("{round}: log, trimming {trimming:?}");
            report(&nats, &name, entries, append(bus.log.clone(), entries)).await;
            bus.close().await;
        }
    }
}

async fn report(nats: &Nats, name: &str, entries: usize, work: impl Future<Output = ()>) {
    let (ours, theirs, start) = (cpu(std::process::id()), cpu(nats.pid()), Instant::now());
    tokio::time::timeout(WAIT_MAX, work).await.unwrap();
    let took = start.elapsed().as_secs_f64();
    let each = |before: f64, after: f64| (after - before) * 1e6 / entries as f64;
    println!(
        "{name:32} {:8.0} acknowledged/s, {:5.2} µs of our CPU and {:5.2} µs of the server's each",
        entries as f64 / took,
        each(ours, cpu(std::process::id())),
        each(theirs, cpu(nats.pid())),
    );
}

/// Seconds of CPU that a process has used.
fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

async fn append(log: Arc<dyn Log>, entries: usize) {
    let producers = (0..PRODUCERS).map(|_| {
        let log = log.clone();
        tokio::spawn(async move {
            let domain = DomainId::new();
            let mut receipts = VecDeque::new();
            for _ in 0..entries / PRODUCERS {
                if receipts.len() == IN_FLIGHT / PRODUCERS {
                    let receipt: trunkline_bus::log::Receipt = receipts.pop_front().unwrap();
                    receipt.await.unwrap();
                }
                receipts.push_back(log.append(entry(domain, vec![7; PAYLOAD_BYTES])).await.unwrap());
            }
            for receipt in receipts {
                receipt.await.unwrap();
            }
        })
    });
    for producer in producers.collect::<Vec<_>>() {
        producer.await.unwrap();
    }
}

/// The same envelopes into the same stream, as its documentation would have it.
async fn bare(nats: &Nats, entries: usize) {
    let client = async_nats::connect(nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let subject = format!("trunkline.messages.0.{}.a", Uuid::now_v7().simple());
    let mut acks = VecDeque::new();
    for _ in 0..entries {
        if acks.len() == IN_FLIGHT {
            let ack: async_nats::jetstream::context::PublishAckFuture = acks.pop_front().unwrap();
            ack.await.unwrap();
        }
        let new = entry(DomainId::new(), vec![7; PAYLOAD_BYTES]);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", new.id().uuid().simple().to_string());
        let payload = new.encoded().to_vec().into();
        let ack = jetstream
            .publish_with_headers(subject.clone(), headers, payload)
            .await
            .unwrap();
        acks.push_back(ack);
    }
    for ack in acks {
        ack.await.unwrap();
    }
}

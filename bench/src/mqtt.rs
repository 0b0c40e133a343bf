//! The MQTT benchmark: Trunkline, with authentication and authorization of each message on, beside other brokers and beside loopback
//! without a broker, in one run. What runs next to each other is compared: all peers in turn, then all of them backwards.

mod broker;
mod connects;
mod crowd;
mod fanout;
mod idle;
mod latency;
mod outcome;
mod pairs;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use broker::{Broker, Peer};
use crowd::Crowd;
use fanout::Fanout;
use latency::Latencies;
use outcome::{Measured, Table};
use pairs::Pairs;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The binary `trunkline`.
    pub trunkline: PathBuf,
    /// The binary `mosquitto`.
    pub mosquitto: PathBuf,
    /// The binary `mosquitto_passwd`.
    pub mosquitto_passwd: PathBuf,
    /// The binary `rumqttd`.
    pub rumqttd: PathBuf,
    /// Folder on the disk to measure on.
    pub folder: PathBuf,
    /// Length of each part, a second of warming up left out.
    pub time: Duration,
    /// Rounds, each of which runs everything twice.
    pub rounds: usize,
    /// What is measured; all when empty.
    pub only: Vec<Measure>,
}

/// One thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Measure {
    /// Ten publishers, each with a subscriber of its own, at QoS 0.
    Pairs0,
    /// The same at QoS 1.
    Pairs1,
    /// One publisher and 100 subscribers at QoS 0.
    Fanout100,
    /// One publisher and 1,000 subscribers at QoS 0.
    Fanout1000,
    /// Connections made and ended per second.
    Connects,
    /// Memory of a connection at rest, from 2,000 to 16,000.
    Idle,
    /// From publisher to subscriber at 30 % and 70 % of what the slower of the two brokers carries, at QoS 0 and 1.
    Latency,
    /// The same at QoS 1 and a rate that leaves time to spare, with a crowd that means harm around it and without.
    Hostile,
}

/// Messages per second of those who behave, beside a crowd.
const HOSTILE_RATE: f64 = 2_000.0;

const MEASURES: [Measure; 8] = [
    Measure::Pairs0,
    Measure::Pairs1,
    Measure::Fanout100,
    Measure::Fanout1000,
    Measure::Connects,
    Measure::Idle,
    Measure::Latency,
    Measure::Hostile,
];

impl Measure {
    /// Who is measured, in turn. The first is compared to each of the others.
    const fn peers(self) -> &'static [Peer] {
        match self {
            Self::Pairs0 | Self::Fanout100 | Self::Fanout1000 => {
                &[Peer::Written, Peer::Mosquitto, Peer::Rumqttd, Peer::Loopback]
            }
            Self::Pairs1 => &[
                Peer::Written,
                Peer::Mosquitto,
                Peer::MosquittoPersistent,
                Peer::Rumqttd,
                Peer::Synced,
            ],
            Self::Connects => &[Peer::Written, Peer::MosquittoPasswords, Peer::Mosquitto],
            Self::Idle => &[Peer::Written, Peer::Mosquitto, Peer::Rumqttd],
            Self::Latency => &[Peer::Written, Peer::Mosquitto, Peer::Loopback],
            Self::Hostile => &[Peer::Besieged, Peer::Written],
        }
    }
}

/// Measures, and prints each part as it ends, then the ratios.
///
/// # Errors
/// When something cannot be run, or nothing arrived.
pub async fn run(options: &Options) -> Result<()> {
    println!(
        "MQTT 3.1.1, payloads of {} bytes, {:?} a part; on Trunkline clients log in with their secrets, each publish and subscription is \
         authorized, and the writer stores every message; the other brokers run without authorization",
        pairs::PAYLOAD_BYTES,
        options.time
    );
    for measure in MEASURES {
        if options.only.is_empty() || options.only.contains(&measure) {
            match measure {
                Measure::Latency => latencies(options).await?,
                _ => compare(options, measure).await?,
            }
        }
    }
    Ok(())
}

/// Runs one measure on all its peers, forth and back.
async fn compare(options: &Options, measure: Measure) -> Result<()> {
    let mut table = Table::new(measure.title());
    for _ in 0..options.rounds {
        let peers = measure.peers();
        for &peer in peers.iter().chain(peers.iter().rev()) {
            let broker = Broker::start(peer, options).await?;
            let crowd = match peer {
                Peer::Besieged => Some(Crowd::gather(&broker)?),
                _ => None,
            };
            let measured = once(measure, &broker, options.time).await?;
            table.add(peer, measured);
            if let Some(crowd) = crowd {
                println!("{:22}{crowd}", "");
            }
        }
    }
    table.conclude(measure.peers()[0]);
    Ok(())
}

async fn once(measure: Measure, broker: &Broker, time: Duration) -> Result<Measured> {
    let pairs = |qos| Pairs { qos, time };
    match measure {
        Measure::Pairs0 => pairs(0).run(broker).await,
        Measure::Pairs1 => pairs(1).run(broker).await,
        Measure::Fanout100 => Fanout { subscribers: 100, time }.run(broker).await,
        Measure::Fanout1000 => {
            Fanout {
                subscribers: 1_000,
                time,
            }
            .run(broker)
            .await
        }
        Measure::Connects => connects::run(broker, time).await,
        Measure::Idle | Measure::Latency => idle::run(broker).await,
        Measure::Hostile => {
            let (qos, rate) = (1, HOSTILE_RATE);
            Latencies { qos, rate, time }.run(broker).await
        }
    }
}

/// Finds what the slower broker carries, then sends parts of it to each.
async fn latencies(options: &Options) -> Result<()> {
    for qos in [0, 1] {
        let mut peak = f64::MAX;
        for peer in [Peer::Written, Peer::Mosquitto] {
            let broker = Broker::start(peer, options).await?;
            let measured = Pairs {
                qos,
                time: options.time,
            }
            .run(&broker)
            .await?;
            peak = peak.min(measured.per_second);
        }
        for share in [0.3, 0.7] {
            let title = format!("latency at QoS {qos}, {:.0} % of {peak:.0}/s", share * 100.0);
            let mut table = Table::new(title);
            let peers = Measure::Latency.peers();
            for &peer in peers.iter().chain(peers.iter().rev()) {
                let broker = Broker::start(peer, options).await?;
                let rate = share * peak;
                let measured = Latencies {
                    qos,
                    rate,
                    time: options.time,
                }
                .run(&broker)
                .await?;
                table.add(peer, measured);
            }
            table.conclude(peers[0]);
        }
    }
    Ok(())
}

impl Measure {
    fn title(self) -> String {
        let (pairs, window) = (pairs::PAIRS, pairs::WINDOW);
        match self {
            Self::Pairs0 => format!("{pairs} pairs at QoS 0, {window} under way each"),
            Self::Pairs1 => format!("{pairs} pairs at QoS 1, {window} under way each"),
            Self::Fanout100 => "fan-out 1 to 100 at QoS 0".to_owned(),
            Self::Fanout1000 => "fan-out 1 to 1,000 at QoS 0".to_owned(),
            Self::Connects => format!("connects, {} at a time", connects::AT_ONCE),
            Self::Idle => format!("connections at rest, from {} to {}", idle::FROM, idle::TO),
            Self::Latency => "latency".to_owned(),
            Self::Hostile => format!("latency at QoS 1, {HOSTILE_RATE:.0}/s, with a hostile crowd and without"),
        }
    }
}

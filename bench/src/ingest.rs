//! The ingest benchmark: Trunkline beside a peer and beside the least that must be done, in one run, in the order A B B A, with the disk's
//! raw speed before and after each part. Figures are for ratios; the ledger has the last word.

mod floor;
pub(crate) mod server;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::check::Verdict;
use crate::ledger::{Ledger, Protocol};
use crate::load::{Clock, Load, Plan, Summary};
use crate::site::{Site, metric};
use crate::store::bare::{self, Bare};
use crate::{process, reader};
pub use floor::{FileSystem, raw_syncs_per_second};
use server::Mosquitto;
pub(crate) use server::Trunkline;

/// How long the platform may take to store what it accepted.
const QUIESCE_WAIT: Duration = Duration::from_secs(120);
/// Connections of each load; fewer when fewer messages are to be in flight.
const CONNECTIONS: usize = 16;
/// A part is left out of the ratios when the disk's raw speed moved by more than this while it ran.
const FLOOR_MOVED_MAX: f64 = 0.2;
/// Seconds at the end of a run in which the writer's lag must not grow.
const LAG_SECONDS: usize = 30;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The binary `trunkline`.
    pub trunkline: PathBuf,
    /// The binary `mosquitto`.
    pub mosquitto: PathBuf,
    /// Folder on the disk to measure on.
    pub folder: PathBuf,
    /// Length of each part.
    pub time: Duration,
    /// Messages in flight in all.
    pub in_flight: Vec<usize>,
    /// Rounds of A B B A.
    pub rounds: usize,
    /// Bytes of a payload.
    pub payload_bytes: usize,
}

/// One part of the run.
struct Part {
    name: &'static str,
    in_flight: usize,
    per_second: f64,
    /// Acknowledgements per commit, where that can be seen.
    per_commit: Option<f64>,
    summary: Option<Summary>,
    /// Processor time of the server for a message, in microseconds.
    processor_us: Option<f64>,
    resident_bytes: Option<u64>,
    /// Messages that the log held and the store did not, second by second.
    lag: Vec<f64>,
    verdict: Option<Verdict>,
    /// Raw syncs per second before and after.
    floor: [f64; 2],
}

impl Part {
    fn new(name: &'static str, in_flight: usize, per_second: f64) -> Self {
        Self {
            name,
            in_flight,
            per_second,
            per_commit: None,
            summary: None,
            processor_us: None,
            resident_bytes: None,
            lag: Vec::new(),
            verdict: None,
            floor: [0.0; 2],
        }
    }

    /// Whether it made more commits than the disk was said to be able to, which only a probe that was held up can explain.
    fn is_above_its_floor(&self) -> bool {
        let commits = self.per_commit.map_or(0.0, |per_commit| self.per_second / per_commit);
        commits > self.floor[0].max(self.floor[1]) * (1.0 + FLOOR_MOVED_MAX)
    }

    fn is_steady(&self) -> bool {
        let [before, after] = self.floor;
        (after / before - 1.0).abs() <= FLOOR_MOVED_MAX
    }
}

/// Measures, and prints each part as it ends, then the ratios.
///
/// # Errors
/// When something cannot be run, nothing was acknowledged, or the ledger was broken.
pub async fn run(options: &Options) -> Result<()> {
    let file_system = FileSystem::of(&options.folder)?;
    ensure!(
        file_system.keeps_synced(),
        "{} is on {file_system}, which keeps nothing: no result from there is synced",
        options.folder.display()
    );
    println!(
        "on {file_system}, {:?} a part, payloads of {} bytes",
        options.time, options.payload_bytes
    );
    let mut parts = Vec::new();
    for &in_flight in &options.in_flight {
        for _ in 0..options.rounds {
            for name in [TRUNKLINE, BARE, MOSQUITTO, MOSQUITTO, BARE, TRUNKLINE] {
                let part = measured(options, name, in_flight).await?;
                print!("{}", line(&part));
                parts.push(part);
            }
        }
    }
    print!("{}", ratios(&parts));
    let broken = parts
        .iter()
        .filter_map(|part| part.verdict.as_ref())
        .find(|verdict| !verdict.is_clean());
    ensure!(
        broken.is_none(),
        "a promise was broken:\n{}",
        broken.map(ToString::to_string).unwrap_or_default()
    );
    Ok(())
}

const TRUNKLINE: &str = "trunkline";
const BARE: &str = "bare loop";
const MOSQUITTO: &str = "mosquitto";

async fn measured(options: &Options, name: &'static str, in_flight: usize) -> Result<Part> {
    let before = raw_syncs_per_second(&options.folder)?;
    let mut part = match name {
        TRUNKLINE => trunkline(options, in_flight).await?,
        BARE => bare_loop(options, in_flight).await?,
        _ => mosquitto(options, in_flight).await?,
    };
    part.floor = [before, raw_syncs_per_second(&options.folder)?];
    ensure!(part.per_second > 0.0, "{name} acknowledged nothing");
    Ok(part)
}

async fn trunkline(options: &Options, in_flight: usize) -> Result<Part> {
    let server = Trunkline::start(&options.trunkline, &options.folder).await?;
    let plan = plan(in_flight, options.payload_bytes, options.time, "synced");
    let site = Site::make(&server.access, 2, plan.connections.div_ceil(2)).await?;
    let path = server.folder().join("ledger");
    let ledger = Ledger::create(&path, &plan.run)?;
    let ops = server.access.ops;
    let commits = metric(ops, "trunkline_log_commits_total").await?;
    let worked = process::processor_time(server.id())?;
    let load = Load::start(&plan, &site.targets, Some(&ledger), Clock::start())?;
    let (summary, lag) = tokio::join!(load.finish(), lag(ops, options.time));
    let worked = process::processor_time(server.id())? - worked;
    let commits = metric(ops, "trunkline_log_commits_total").await? - commits;
    let resident_bytes = process::resident_bytes(server.id())?;
    ledger.close()?;
    site.quiesce(QUIESCE_WAIT).await?;
    Ok(Part {
        per_commit: Some(summary.acknowledged as f64 / commits.max(1.0)),
        processor_us: Some(worked.as_secs_f64() * 1e6 / summary.acknowledged.max(1) as f64),
        resident_bytes: Some(resident_bytes),
        lag,
        verdict: Some(reader::judge(&site, &path).await?),
        ..Part::new(TRUNKLINE, in_flight, summary.rate())
    }
    .with(summary))
}

async fn mosquitto(options: &Options, in_flight: usize) -> Result<Part> {
    let server = Mosquitto::start(&options.mosquitto, &options.folder).await?;
    let plan = plan(in_flight, options.payload_bytes, options.time, "synced");
    let worked = process::processor_time(server.id())?;
    let summary = Load::start(&plan, &[server.target()], None, Clock::start())?
        .finish()
        .await;
    let worked = process::processor_time(server.id())? - worked;
    Ok(Part {
        processor_us: Some(worked.as_secs_f64() * 1e6 / summary.acknowledged.max(1) as f64),
        resident_bytes: Some(process::resident_bytes(server.id())?),
        ..Part::new(MOSQUITTO, in_flight, summary.rate())
    }
    .with(summary))
}

async fn bare_loop(options: &Options, in_flight: usize) -> Result<Part> {
    let folder = server::folder(&options.folder)?;
    let Bare {
        acknowledged, commits, ..
    } = bare::run(folder.path(), in_flight, options.payload_bytes, options.time).await?;
    Ok(Part {
        per_commit: Some(acknowledged / commits),
        ..Part::new(BARE, in_flight, acknowledged)
    })
}

impl Part {
    fn with(self, summary: Summary) -> Self {
        Self {
            summary: Some(summary),
            ..self
        }
    }
}

/// As many messages in flight as the connections have windows for, for some time.
pub(crate) fn plan(in_flight: usize, payload_bytes: usize, time_max: Duration, tier: &str) -> Plan {
    let connections = in_flight.min(CONNECTIONS);
    Plan {
        run: Plan::new_run(),
        protocol: Protocol::Mqtt5,
        qos: 1,
        connections,
        window: in_flight.div_ceil(connections),
        rate: None,
        payload_bytes,
        messages_max: u64::MAX,
        time_max,
        is_persistent: false,
        tier: tier.to_owned(),
    }
}

/// The writer's lag, second by second, as the process at `ops` tells it.
pub(crate) async fn lag(ops: SocketAddr, time: Duration) -> Vec<f64> {
    let (mut lag, mut second) = (Vec::new(), tokio::time::interval(Duration::from_secs(1)));
    second.tick().await;
    for _ in 0..time.as_secs() {
        second.tick().await;
        // A look that failed shows as a lag that is no number.
        lag.push(metric(ops, "trunkline_writer_lag_entries").await.unwrap_or(f64::NAN));
    }
    lag
}

fn line(part: &Part) -> String {
    let mut line = format!("{:10} @{:<5}{:>9.0}/s", part.name, part.in_flight, part.per_second);
    // A `String` takes whatever is written to it.
    if let Some(per_commit) = part.per_commit {
        let _ = write!(line, "  {per_commit:>7.1} a commit");
    }
    if let Some(processor_us) = part.processor_us {
        let _ = write!(line, "  {processor_us:>6.1} CPU-us a message");
    }
    if let Some(bytes) = part.resident_bytes {
        let _ = write!(line, "  {} MiB", bytes / (1024 * 1024));
    }
    let [before, after] = part.floor;
    let steady = if part.is_steady() {
        ""
    } else {
        ", NOT STEADY: left out of the ratios"
    };
    let _ = writeln!(line, "  raw syncs {before:.0}/s, then {after:.0}/s{steady}");
    if let Some(summary) = &part.summary {
        let _ = writeln!(line, "           {}", summary.latency);
        for (failure, count) in &summary.failures {
            let _ = writeln!(line, "           {count} x {failure}");
        }
    }
    if !part.lag.is_empty() {
        let _ = writeln!(line, "           {}", lag_in_words(&part.lag, part.per_second));
    }
    if let Some(verdict) = &part.verdict {
        let _ = writeln!(
            line,
            "           ledger: {}",
            if verdict.is_clean() { "clean" } else { "BROKEN" }
        );
    }
    line
}

/// How far the writer was behind at the end of a part, and whether it fell back further.
pub(crate) fn lag_in_words(lag: &[f64], per_second: f64) -> String {
    let last = &lag[lag.len().saturating_sub(LAG_SECONDS)..];
    let seconds = last.iter().copied().fold(0.0, f64::max) / per_second;
    let grown = last.last().unwrap_or(&0.0) - last.first().unwrap_or(&0.0);
    format!(
        "lag of the writer at most {seconds:.2} s of traffic, {grown:+.0} over the last {} s",
        last.len()
    )
}

/// The middle of some ratios, with the least and the most.
pub(crate) fn spread(mut pairs: Vec<f64>) -> String {
    pairs.sort_by(f64::total_cmp);
    match pairs[..] {
        [] => "no steady pair".to_owned(),
        [only] => format!("{only:.2} (1 pair)"),
        [least, .., most] => {
            let median = f64::midpoint(pairs[(pairs.len() - 1) / 2], pairs[pairs.len() / 2]);
            format!("{median:.2} ({least:.2} to {most:.2}, {} pairs)", pairs.len())
        }
    }
}

/// Trunkline against the others: pairs that ran next to each other.
fn ratios(parts: &[Part]) -> String {
    let mut text = String::new();
    let mut in_flights: Vec<usize> = parts.iter().map(|part| part.in_flight).collect();
    in_flights.dedup();
    for in_flight in in_flights {
        let of = |name: &str| -> Vec<&Part> {
            let of_name = parts
                .iter()
                .filter(|part| part.in_flight == in_flight && part.name == name);
            of_name.collect()
        };
        let own = of(TRUNKLINE);
        let beside = |peers: Vec<&Part>| -> Vec<f64> {
            let pairs = own
                .iter()
                .zip(peers)
                .filter(|(own, peer)| own.is_steady() && peer.is_steady());
            pairs.map(|(own, peer)| own.per_second / peer.per_second).collect()
        };
        if own.iter().any(|part| part.is_above_its_floor()) {
            let _ = writeln!(
                text,
                "@{in_flight:<5} the raw syncs are no floor: a part synced faster than the probe beside it"
            );
        }
        let steady = own.iter().filter(|part| part.is_steady());
        let raw = steady
            .map(|part| 2.0 * part.per_second / (part.floor[0] + part.floor[1]))
            .collect();
        for (name, pairs) in [
            (BARE, beside(of(BARE))),
            (MOSQUITTO, beside(of(MOSQUITTO))),
            ("raw syncs", raw),
        ] {
            let _ = writeln!(text, "@{in_flight:<5} trunkline / {name:10} {}", spread(pairs));
        }
    }
    text
}

#[cfg(test)]
mod tests;

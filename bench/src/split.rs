//! The split benchmark: through MQTT on NATS into Postgres with a platform of four processes, beside a bare async-nats publisher on the
//! same server, in one run and in the order A B B A. Then rows into Postgres beside raw COPY. Figures are for ratios; the ledger has
//! the last word.

mod bare;
mod servers;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::check::Verdict;
use crate::ingest::{lag, lag_in_words, plan, spread};
use crate::ledger::Ledger;
use crate::load::{Clock, Load, Summary};
use crate::process;
use crate::reader;
use crate::site::Site;
use crate::store::database::Database;
use crate::store::rows;
use servers::{Nats, Split};

/// How long the platform may take to store what it accepted.
const QUIESCE_WAIT: Duration = Duration::from_secs(300);
const MIB: u64 = 1024 * 1024;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The binary `trunkline`.
    pub trunkline: PathBuf,
    /// The binary `nats-server`.
    pub nats_server: PathBuf,
    /// Folder on the disk to measure on.
    pub folder: PathBuf,
    /// Length of each part.
    pub time: Duration,
    /// Messages in flight in all.
    pub in_flight: Vec<usize>,
    /// Rounds of A B B A.
    pub rounds: usize,
    /// What is measured of Postgres, and where it is; payloads have the same size everywhere.
    pub rows: rows::Options,
}

const TRUNKLINE: &str = "trunkline";
const BARE: &str = "bare async-nats";

/// One part of the run.
struct Part {
    name: &'static str,
    in_flight: usize,
    per_second: f64,
    /// Processor time for a message, in microseconds, of each process.
    processor_us: Vec<(&'static str, f64)>,
    platform: Option<Platform>,
}

/// What only a part with the platform has.
struct Platform {
    summary: Summary,
    /// Messages that the log held and the store did not, second by second.
    lag: Vec<f64>,
    /// From the last acknowledgement until everything was stored.
    caught_up: Duration,
    resident: Vec<(&'static str, u64)>,
    verdict: Verdict,
}

/// Measures, and prints each part as it ends, then the ratios and the rows.
///
/// # Errors
/// When something cannot be run, nothing was acknowledged, or the ledger was broken.
pub async fn run(options: &Options) -> Result<()> {
    let mut parts = Vec::new();
    for &in_flight in &options.in_flight {
        for _ in 0..options.rounds {
            let mut database = Database::make(&options.rows.postgres).await?;
            let outcome = round(options, &mut database, in_flight, &mut parts).await;
            database.remove().await?;
            outcome?;
        }
    }
    print!("{}", ratios(&parts));
    rows::run(&options.rows).await?;
    let verdicts = parts.iter().filter_map(|part| Some(&part.platform.as_ref()?.verdict));
    let broken: Vec<String> = verdicts
        .filter(|verdict| !verdict.is_clean())
        .map(ToString::to_string)
        .collect();
    ensure!(broken.is_empty(), "a promise was broken:\n{}", broken.concat());
    Ok(())
}

/// A B B A on servers and with a platform that nobody has used before.
async fn round(options: &Options, database: &mut Database, in_flight: usize, parts: &mut Vec<Part>) -> Result<()> {
    let settings = database.settings().await?;
    let nats = Nats::start(&options.nats_server, &options.folder).await?;
    let split = Split::start(&options.trunkline, &options.folder, database.url(), &nats).await?;
    let rig = Rig {
        postgres: database.server_process().await?,
        nats,
        split,
    };
    println!(
        "{settings}; NATS at tier written; {:?} a part, payloads of {} bytes",
        options.time, options.rows.payload_bytes
    );
    println!("idle: {}", in_mib(&rig.resident()?));
    for name in [TRUNKLINE, BARE, BARE, TRUNKLINE] {
        let part = match name {
            TRUNKLINE => rig.trunkline(options, in_flight).await?,
            _ => rig.bare(options, in_flight).await?,
        };
        ensure!(part.per_second > 0.0, "{name} acknowledged nothing");
        print!("{}", lines(&part));
        parts.push(part);
    }
    Ok(())
}

/// Everything that runs.
struct Rig {
    // Whoever calls ends first.
    split: Split,
    nats: Nats,
    /// The first process of Postgres.
    postgres: u32,
}

impl Rig {
    async fn trunkline(&self, options: &Options, in_flight: usize) -> Result<Part> {
        let access = self.split.access()?;
        let plan = plan(in_flight, options.rows.payload_bytes, options.time, "written");
        let site = Site::make(&access, 2, plan.connections.div_ceil(2)).await?;
        let path = self.split.folder().join(format!("ledger-{}", plan.run));
        let ledger = Ledger::create(&path, &plan.run)?;
        let before = self.processor_times("generator")?;
        let load = Load::start(&plan, &site.targets, Some(&ledger), Clock::start())?;
        let (summary, lag) = tokio::join!(load.finish(), lag(access.ops, options.time));
        ledger.close()?;
        let ended = Instant::now();
        site.quiesce(QUIESCE_WAIT).await?;
        let caught_up = ended.elapsed();
        let after = self.processor_times("generator")?;
        Ok(Part {
            name: TRUNKLINE,
            in_flight,
            per_second: summary.rate(),
            processor_us: each(&before, &after, summary.acknowledged as f64),
            platform: Some(Platform {
                summary,
                lag,
                caught_up,
                resident: self.resident()?,
                verdict: reader::judge(&site, &path).await?,
            }),
        })
    }

    async fn bare(&self, options: &Options, in_flight: usize) -> Result<Part> {
        let (before, payload_bytes) = (self.processor_times("publisher")?, options.rows.payload_bytes);
        let (acknowledged, took) = bare::run(self.nats.address(), in_flight, payload_bytes, options.time).await?;
        let after = self.processor_times("publisher")?;
        Ok(Part {
            name: BARE,
            in_flight,
            per_second: acknowledged as f64 / took.as_secs_f64(),
            processor_us: each(&before, &after, acknowledged as f64),
            platform: None,
        })
    }

    /// Processor time that each process has had; this one goes by the name of what it does.
    fn processor_times(&self, own: &'static str) -> Result<Vec<(&'static str, Duration)>> {
        let mut times = Vec::new();
        for process in &self.split.processes {
            times.push((process.name, process::processor_time(process.id())?));
        }
        times.push(("nats-server", process::processor_time(self.nats.id())?));
        times.push(("postgres", process::family_processor_time(self.postgres)?));
        times.push((own, process::processor_time(std::process::id())?));
        Ok(times)
    }

    /// Memory that each process holds, in bytes. Those of Postgres share most of theirs and are left out.
    fn resident(&self) -> Result<Vec<(&'static str, u64)>> {
        let mut resident = Vec::new();
        for process in &self.split.processes {
            resident.push((process.name, process::resident_bytes(process.id())?));
        }
        resident.push(("nats-server", process::resident_bytes(self.nats.id())?));
        Ok(resident)
    }
}

/// What each process needed for a message, in microseconds.
fn each(
    before: &[(&'static str, Duration)],
    after: &[(&'static str, Duration)],
    messages: f64,
) -> Vec<(&'static str, f64)> {
    let pairs = before.iter().zip(after);
    pairs
        .map(|((name, before), (_, after))| {
            let worked = after.saturating_sub(*before);
            (*name, worked.as_secs_f64() * 1e6 / messages.max(1.0))
        })
        .collect()
}

fn in_mib(resident: &[(&'static str, u64)]) -> String {
    let words = resident
        .iter()
        .map(|(name, bytes)| format!("{name} {} MiB", bytes / MIB));
    words.collect::<Vec<_>>().join(", ")
}

fn lines(part: &Part) -> String {
    let mut text = format!("{:15} @{:<5}{:>9.0}/s\n", part.name, part.in_flight, part.per_second);
    let words = part.processor_us.iter().map(|(name, us)| format!("{name} {us:.1}"));
    let words: Vec<String> = words.collect();
    // A `String` takes whatever is written to it.
    let _ = writeln!(text, "    CPU-us a message: {}", words.join(", "));
    let Some(platform) = &part.platform else { return text };
    let _ = writeln!(text, "    {}", platform.summary.latency);
    for (failure, count) in &platform.summary.failures {
        let _ = writeln!(text, "    {count} x {failure}");
    }
    let _ = writeln!(
        text,
        "    {}; all stored {:.2} s after the last acknowledgement",
        lag_in_words(&platform.lag, part.per_second),
        platform.caught_up.as_secs_f64()
    );
    let _ = writeln!(text, "    memory afterwards: {}", in_mib(&platform.resident));
    let verdict = if platform.verdict.is_clean() { "clean" } else { "BROKEN" };
    let _ = writeln!(
        text,
        "    ledger: {verdict}, {} acknowledged",
        platform.verdict.acknowledged
    );
    text
}

/// Pairs that ran next to each other.
fn ratios(parts: &[Part]) -> String {
    let mut in_flights: Vec<usize> = parts.iter().map(|part| part.in_flight).collect();
    in_flights.dedup();
    let line = |in_flight: usize| {
        let rates = |name: &'static str| {
            let of_name = move |part: &&Part| part.in_flight == in_flight && part.name == name;
            parts.iter().filter(of_name).map(|part| part.per_second)
        };
        let pairs = rates(TRUNKLINE).zip(rates(BARE)).map(|(own, bare)| own / bare);
        format!("@{in_flight:<5} {TRUNKLINE} / {BARE} {}\n", spread(pairs.collect()))
    };
    in_flights.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &'static str, in_flight: usize, per_second: f64) -> Part {
        Part {
            name,
            in_flight,
            per_second,
            processor_us: Vec::new(),
            platform: None,
        }
    }

    #[test]
    fn ratios_are_of_neighbours_at_the_same_number_in_flight() {
        let parts = [
            part(TRUNKLINE, 64, 50.0),
            part(BARE, 64, 100.0),
            part(BARE, 64, 200.0),
            part(TRUNKLINE, 64, 180.0),
            part(TRUNKLINE, 1_000, 10.0),
            part(BARE, 1_000, 40.0),
        ];
        let text = ratios(&parts);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "@64    trunkline / bare async-nats 0.70 (0.50 to 0.90, 2 pairs)",
                "@1000  trunkline / bare async-nats 0.25 (1 pair)"
            ]
        );
    }

    #[test]
    fn a_process_that_did_nothing_needed_nothing() {
        let times = |core, store| {
            [
                ("core", Duration::from_millis(core)),
                ("store", Duration::from_millis(store)),
            ]
        };
        let each = each(&times(10, 10), &times(10, 40), 1_000.0);
        assert_eq!(each, [("core", 0.0), ("store", 30.0)]);
    }
}

//! The overload benchmark: what a Trunkline reaches when it is saturated, and then at twice that load. What is too much must wait at the
//! publishers, neither in the platform's memory nor at the cost of what goes through.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::ingest::Trunkline;
use crate::ledger::{Ledger, Protocol};
use crate::load::{Clock, Load, Plan, Summary};
use crate::site::Site;
use crate::{process, reader};

/// How long the platform may take to store what it accepted.
const QUIESCE_WAIT: Duration = Duration::from_secs(120);
/// Connections at the load that saturates; twice as many above it.
const CONNECTIONS: usize = 16;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Goodput at twice the load, as a part of the peak, below which the run fails.
const GOODPUT_MIN: f64 = 0.9;
/// Memory at twice the load, as a multiple of that at the peak, above which the run fails.
const MEMORY_MAX: f64 = 2.0;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The binary `trunkline`.
    pub trunkline: PathBuf,
    /// Folder on the disk to measure on.
    pub folder: PathBuf,
    /// Length of each part.
    pub time: Duration,
    /// Messages in flight that saturate it.
    pub in_flight: usize,
}

/// What one part came to.
struct Part {
    summary: Summary,
    /// Most memory that the server held, in bytes.
    resident_bytes: u64,
}

/// Measures and prints both parts.
///
/// # Errors
/// When something cannot be run, a promise was broken, or a bound was not kept.
pub async fn run(options: &Options) -> Result<()> {
    let server = Trunkline::start(&options.trunkline, &options.folder).await?;
    let peak = part(&server, options, 1, None).await?;
    print("as many as are answered", &peak);
    let rate = 2.0 * peak.summary.rate();
    let over = part(&server, options, 2, Some(rate)).await?;
    print(&format!("{rate:.0} due a second"), &over);
    let goodput = over.summary.rate() / peak.summary.rate();
    let memory = over.resident_bytes as f64 / peak.resident_bytes as f64;
    println!("goodput {goodput:.2} x peak, memory {memory:.2} x");
    ensure!(goodput >= GOODPUT_MIN, "goodput fell below {GOODPUT_MIN} x the peak");
    ensure!(memory <= MEMORY_MAX, "memory grew above {MEMORY_MAX} x");
    Ok(())
}

/// One load with a site and a ledger of its own, judged.
async fn part(server: &Trunkline, options: &Options, times: usize, rate: Option<f64>) -> Result<Part> {
    let connections = times * CONNECTIONS;
    let plan = Plan {
        run: Plan::new_run(),
        protocol: Protocol::Mqtt5,
        qos: 1,
        connections,
        window: (times * options.in_flight).div_ceil(connections),
        rate,
        payload_bytes: 256,
        messages_max: u64::MAX,
        time_max: options.time,
        is_persistent: false,
        tier: "synced".to_owned(),
    };
    let site = Site::make(&server.access, 2, connections.div_ceil(2)).await?;
    let path = server.folder().join(format!("ledger-{}", plan.run));
    let ledger = Ledger::create(&path, &plan.run)?;
    let load = Load::start(&plan, &site.targets, Some(&ledger), Clock::start())?;
    let mut resident_bytes = 0;
    let finish = load.finish();
    tokio::pin!(finish);
    let mut look = tokio::time::interval(LOOK);
    let summary = loop {
        tokio::select! {
            summary = &mut finish => break summary,
            _ = look.tick() => resident_bytes = resident_bytes.max(process::resident_bytes(server.id())?),
        }
    };
    ledger.close()?;
    site.quiesce(QUIESCE_WAIT).await?;
    let verdict = reader::judge(&site, &path).await?;
    ensure!(verdict.is_clean(), "a promise was broken:\n{verdict}");
    ensure!(summary.failures.is_empty(), "connections broke:\n{summary}");
    Ok(Part {
        summary,
        resident_bytes,
    })
}

fn print(name: &str, part: &Part) {
    let Part {
        summary,
        resident_bytes,
    } = part;
    println!(
        "{name:26} {:>8.0}/s acknowledged, {} refused, {} MiB at most; ledger clean\n{:26} {}",
        summary.rate(),
        summary.refused,
        resident_bytes / (1024 * 1024),
        "",
        summary.latency
    );
}

//! `cargo xtask bench` and `cargo xtask torture`: they build what is measured, bring its peers, and hand over to the instruments, which
//! live in `bench/` and `tests/faults/`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::deps::{Deps, IPROUTE, MOSQUITTO, NATS, POSTGRES, RUMQTTD, STRACE};
use crate::fuzz::Fuzz;
use crate::postgres::Postgres;
use crate::{checks, command, repository};

/// What can be measured.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// From MQTT QoS 1 to stored rows, beside mosquitto and the least that must be done.
    Ingest {
        /// Four processes on NATS and Postgres instead, beside a bare async-nats publisher and raw COPY.
        #[arg(long)]
        split: bool,
        /// Passed to `trunkline-bench ingest`, or `split`, as they are.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// MQTT from publisher to subscriber, connections and their memory, beside mosquitto and rumqttd.
    Mqtt {
        /// Passed to `trunkline-bench mqtt` as they are.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// What goes through at twice the load that saturates it.
    Overload {
        /// Passed to `trunkline-bench overload` as they are.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Rows into Postgres through the message store, beside raw COPY.
    Rows {
        /// Passed to `trunkline-bench rows` as they are.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
}

impl Bench {
    pub(crate) fn run(&self) -> Result<()> {
        let deps = Deps::from_environment()?;
        match self {
            Self::Ingest { split: true, arguments } => split(&deps, arguments),
            Self::Ingest { arguments, .. } => ingest(&deps, arguments),
            Self::Mqtt { arguments } => mqtt(&deps, arguments),
            Self::Overload { arguments } => overload(arguments),
            Self::Rows { arguments } => rows(&deps, arguments),
        }
    }
}

fn ingest(deps: &Deps, arguments: &[OsString]) -> Result<()> {
    deps.bring(&MOSQUITTO)?;
    let built = build(&["trunkline", "trunkline-bench"])?;
    let mut bench = Command::new(built.join("trunkline-bench"));
    bench.arg("ingest").arg("--trunkline").arg(built.join("trunkline"));
    bench.arg("--mosquitto").arg(deps.program(&MOSQUITTO, "mosquitto"));
    // The disk of the build is a real one; the folder for temporary files may be in memory.
    bench.arg("--folder").arg(&built).args(arguments);
    command::show(&mut bench)
}

fn mqtt(deps: &Deps, arguments: &[OsString]) -> Result<()> {
    deps.bring(&MOSQUITTO)?;
    deps.bring(&RUMQTTD)?;
    let built = build(&["trunkline", "trunkline-bench"])?;
    let mut bench = Command::new(built.join("trunkline-bench"));
    bench.arg("mqtt").arg("--trunkline").arg(built.join("trunkline"));
    for program in ["mosquitto", "mosquitto_passwd"] {
        let flag = format!("--{}", program.replace('_', "-"));
        bench.arg(flag).arg(deps.program(&MOSQUITTO, program));
    }
    bench.arg("--rumqttd").arg(deps.program(&RUMQTTD, "rumqttd"));
    bench.arg("--folder").arg(&built).args(arguments);
    command::show(&mut bench)
}

fn split(deps: &Deps, arguments: &[OsString]) -> Result<()> {
    deps.bring(&NATS)?;
    deps.bring(&POSTGRES)?;
    let built = build(&["trunkline", "trunkline-bench"])?;
    let postgres = Postgres::start_durable(deps)?;
    let mut bench = Command::new(built.join("trunkline-bench"));
    bench.arg("split").arg("--trunkline").arg(built.join("trunkline"));
    bench.arg("--nats-server").arg(deps.program(&NATS, "nats-server"));
    bench.arg("--postgres").arg(postgres.url());
    bench.arg("--folder").arg(&built).args(arguments);
    command::show(&mut bench)
}

fn overload(arguments: &[OsString]) -> Result<()> {
    let built = build(&["trunkline", "trunkline-bench"])?;
    let mut bench = Command::new(built.join("trunkline-bench"));
    bench.arg("overload").arg("--trunkline").arg(built.join("trunkline"));
    bench.arg("--folder").arg(&built).args(arguments);
    command::show(&mut bench)
}

fn rows(deps: &Deps, arguments: &[OsString]) -> Result<()> {
    deps.bring(&POSTGRES)?;
    let built = build(&["trunkline-bench"])?;
    let postgres = Postgres::start_durable(deps)?;
    let mut bench = Command::new(built.join("trunkline-bench"));
    bench.arg("rows").arg("--postgres").arg(postgres.url()).args(arguments);
    command::show(&mut bench)
}

/// Builds packages for speed and tells where their binaries are.
fn build(packages: &[&str]) -> Result<PathBuf> {
    let mut build = Command::new(command::cargo());
    build.args(["build", "--release"]);
    build.args(packages.iter().flat_map(|package| ["--package", package]));
    command::show(build.current_dir(repository()))?;
    release_folder()
}

/// How much to torture.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Torture {
    #[command(subcommand)]
    other: Option<OtherTorture>,
    /// Rounds of load and kill.
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// Messages that a restart finds in the store.
    #[arg(long, default_value_t = 1_000_000)]
    stored: u64,
    /// Messages that it finds in the log and not in the store.
    #[arg(long, default_value_t = 100_000)]
    backlog: u64,
    /// MiB that a domain may hold while its writer is down.
    #[arg(long, default_value_t = 256)]
    quota_mib: u64,
    /// Rounds in which each process, server and link of a split platform fails in turn.
    #[arg(long, default_value_t = 10)]
    split_rounds: u64,
    /// Rounds in which sessions move between two nodes, or one of these or NATS fails under them.
    #[arg(long, default_value_t = 200)]
    session_rounds: u64,
    /// Seconds that NATS stands still in each of them, and that a line loses its packets.
    #[arg(long, default_value_t = 30)]
    freeze_seconds: u64,
    /// Draws the same moments again.
    #[arg(long)]
    seed: Option<u64>,
}

/// What is not the platform's end.
#[derive(Subcommand)]
enum OtherTorture {
    /// Feed the MQTT codec and the session machine what nobody has thought of: an hour each.
    Fuzz(Fuzz),
}

impl Torture {
    pub(crate) fn run(&self) -> Result<()> {
        if let Some(OtherTorture::Fuzz(fuzz)) = &self.other {
            return fuzz.run();
        }
        let deps = Deps::from_environment()?;
        [&STRACE, &IPROUTE, &NATS, &POSTGRES]
            .into_iter()
            .try_for_each(|tool| deps.bring(tool))?;
        let postgres = Postgres::start(&deps)?;
        let mut test = Command::new(command::cargo());
        test.args([
            "test",
            "--release",
            "--package",
            "trunkline-tests",
            "--test",
            "faults",
            "--",
            "--nocapture",
        ])
        .args(["--test-threads", "1"])
        .envs(checks::tools(&deps))
        .env("TRUNKLINE_TEST_POSTGRES", postgres.url())
        .env("TRUNKLINE_TEST_POSTGRES_BIN", postgres.programs())
        .env("TRUNKLINE_TEST_ROUNDS", self.rounds.to_string())
        .env("TRUNKLINE_TEST_STORED", self.stored.to_string())
        .env("TRUNKLINE_TEST_BACKLOG", self.backlog.to_string())
        .env("TRUNKLINE_TEST_QUOTA_MIB", self.quota_mib.to_string())
        .env("TRUNKLINE_TEST_SPLIT_ROUNDS", self.split_rounds.to_string())
        .env("TRUNKLINE_TEST_SESSION_ROUNDS", self.session_rounds.to_string())
        .env("TRUNKLINE_TEST_FREEZE_SECONDS", self.freeze_seconds.to_string());
        if let Some(seed) = self.seed {
            test.env("TRUNKLINE_TEST_SEED", seed.to_string());
        }
        command::show(test.current_dir(repository()))
    }
}

/// Where cargo puts release builds.
fn release_folder() -> Result<PathBuf> {
    Ok(target_folder()?.join("release"))
}

/// Where cargo builds.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let mut ask = Command::new(command::cargo());
    ask.args(["metadata", "--format-version", "1", "--no-deps"]);
    let metadata = command::quiet(ask.current_dir(repository()))?;
    // The only text that is wanted from it; a parser would be a dependency of every developer command.
    let (_, rest) = metadata
        .split_once("\"target_directory\":\"")
        .context("cargo does not tell where it builds")?;
    let (folder, _) = rest.split_once('"').context("cargo does not tell where it builds")?;
    Ok(PathBuf::from(folder))
}

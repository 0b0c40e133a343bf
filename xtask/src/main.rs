//! Developer commands, run as `cargo xtask <command>`. They bring what the tests need and run the checks that decide
//! whether a change may land; no product code lives here.

mod apt;
mod checks;
mod command;
mod deps;
mod fuzz;
mod installer;
mod measures;
mod postgres;

use std::path::Path;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of Trunkline")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring the servers and tools that tests need into the cache, without root.
    Deps {
        /// Only these; without names, all that `cargo xtask test` needs.
        names: Vec<String>,
        /// Print what is where and change nothing.
        #[arg(long)]
        list: bool,
        /// Print the folders of their programs as they stand in PATH and change nothing.
        #[arg(long, conflicts_with = "list")]
        path: bool,
    },
    /// Run every check: format, lints, licences, documentation examples, tests.
    Test(checks::Options),
    /// Measure a release build beside its peers.
    Bench {
        #[command(subcommand)]
        bench: measures::Bench,
    },
    /// Kill the platform under load, many times, and judge it each time; or fuzz what reads from strangers.
    Torture(measures::Torture),
    /// Write gateway/openapi.json anew from the contracts.
    Openapi,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Task::Deps { list: true, .. } => deps::Deps::from_environment().map(|deps| deps.print()),
        Task::Deps { path: true, .. } => deps::Deps::from_environment().map(|deps| deps.print_path()),
        Task::Deps { names, .. } => deps::Deps::from_environment().and_then(|deps| deps.bring_named(&names)),
        Task::Test(options) => checks::run(&options),
        Task::Bench { bench } => bench.run(),
        Task::Torture(torture) => torture.run(),
        Task::Openapi => write_openapi(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The gateway's own test holds the document against the contracts; told to bless, it writes what it would compare with.
fn write_openapi() -> anyhow::Result<()> {
    let mut test = Command::new(command::cargo());
    test.args(["test", "--package", "trunkline-gateway", "openapi"])
        .env("TRUNKLINE_BLESS", "1");
    command::show(test.current_dir(repository()))
}

/// The root of the repository that this xtask was built from.
fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

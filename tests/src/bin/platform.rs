//! `trunkline up` and `serve` for tests that end its process: only a binary of their own package is built for tests and found by them.
//!
//! It is the node with its flags, its `ready` line, its last sentence and its exit code, and has no other command.

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use trunkline::{Config, Error, Flags, Node, Shape, SliceFlags};
use trunkline_telemetry::Format;

#[derive(Parser)]
enum Command {
    Up(Box<Flags>),
    Serve(Box<SliceFlags>),
}

#[tokio::main]
async fn main() -> ExitCode {
    let loaded = match Command::parse() {
        Command::Up(flags) => Config::load(&flags, std::env::vars()).map(|config| (config, Shape::Whole)),
        Command::Serve(flags) => Config::load_slice(&flags, std::env::vars()).map(|config| (config, Shape::Split)),
    };
    let ended = match loaded {
        Ok((config, shape)) => Box::pin(run(&config, shape)).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trunkline: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(config: &Config, shape: Shape) -> Result<(), Error> {
    let refused = |error: String| Error::Configuration(error);
    trunkline_telemetry::init(&config.logging.filter, Format::of_stderr())
        .map_err(|error| refused(error.to_string()))?;
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| refused(error.to_string()))?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    // Ends with the process: there is no later use of the signal.
    tokio::spawn(async move {
        terminated.recv().await;
        stopping.cancel();
    });
    let node = Node::open(config, shape).await?;
    println!("ready {}", node.addresses());
    node.run(stop).await
}

//! The binary `trunkline`: parse, call, print. One sentence and exit code 2 when it cannot start.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use trunkline::{Config, Error, Flags, Node, Shape, SliceFlags};
use trunkline_telemetry::Format;

/// Each message passes through dozens of small allocations, in Rust and in SQLite; with the C library's allocator a saturated platform
/// takes a third fewer of them (`bench/RESULTS.md`). It also gives the 19 MiB of a password hash back to the system.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The open IoT platform in one binary.
#[derive(Parser)]
#[command(name = "trunkline", version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole platform: on embedded storage, or on what the configuration names
    Up(Box<Flags>),
    /// Run a slice of a platform on Postgres and NATS
    Serve(Box<SliceFlags>),
    /// Make keys, streams, schemas and rights for the processes of a split platform, with owners' credentials
    Migrate(Box<Flags>),
    /// Show a device's message going all the way, on a running platform
    Demo(trunkline_cli::Demo),
    /// Follow a message through a platform that runs, and name the first step that fails
    Doctor(trunkline_cli::Doctor),
    /// Print the effective configuration, with secrets hidden
    Config {
        /// Only say whether it is right
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        flags: Box<Flags>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the runtime cannot be started: {error}"), 2),
    };
    match arguments.command {
        Command::Up(flags) => report(runtime.block_on(up(&flags))),
        Command::Serve(flags) => report(runtime.block_on(serve(&flags))),
        Command::Migrate(flags) => report(runtime.block_on(migrate(&flags))),
        Command::Demo(demo) => report_client(runtime.block_on(trunkline_cli::demo(demo))),
        Command::Doctor(doctor) => report_client(runtime.block_on(trunkline_cli::doctor(doctor))),
        Command::Config { check, flags } => report(show_config(&flags, check)),
    }
}

async fn up(flags: &Flags) -> Result<(), Error> {
    let config = Config::load(flags, std::env::vars())?;
    let Some((node, stop)) = open(&config, Shape::Whole).await? else {
        return Ok(());
    };
    if node.admin_was_there() && (flags.admin_email.is_some() || flags.admin_password_file.is_some()) {
        eprintln!(
            "--admin-email and --admin-password-file are ignored: {} has its users already",
            config.data.display()
        );
    }
    let (login, notice) = node.login_hint(&config.admin.email);
    if let Some(notice) = notice {
        eprintln!("{notice}");
    }
    let addresses = node.addresses();
    let defaults = Config::default().listen;
    let mut next = format!("next: trunkline demo{login}");
    if let Some(http) = addresses.http.filter(|http| *http != defaults.http) {
        next += &format!(" --url http://{http}");
    }
    if let Some(mqtt) = addresses.mqtt.filter(|mqtt| *mqtt != defaults.mqtt) {
        next += &format!(" --mqtt {mqtt}");
    }
    announce(&format!("ready {addresses}\n{next}"));
    node.run(stop).await
}

async fn serve(flags: &SliceFlags) -> Result<(), Error> {
    let config = Config::load_slice(flags, std::env::vars())?;
    let Some((node, stop)) = open(&config, Shape::Split).await? else {
        return Ok(());
    };
    announce(&format!("ready {}", node.addresses()));
    node.run(stop).await
}

async fn migrate(flags: &Flags) -> Result<(), Error> {
    let config = Config::load(flags, std::env::vars())?;
    announce(&trunkline::migrate(&config).await?.join("\n"));
    Ok(())
}

/// A node that serves, and what stops it; none when it was stopped before it could.
async fn open(config: &Config, shape: Shape) -> Result<Option<(Node, CancellationToken)>, Error> {
    trunkline_telemetry::init(&config.logging.filter, Format::of_stderr())
        .map_err(|error| Error::Configuration(format!("logging.filter: {error}")))?;
    let stop = stop_on_signals()?;
    // Opening may wait for what cannot be reached; dropped, it leaves nothing behind.
    let node = tokio::select! {
        node = Node::open(config, shape) => node?,
        () = stop.cancelled() => return Ok(None),
    };
    if let Some(tier) = node.tier() {
        tracing::info!(tier, "an acknowledgement means that the message is kept at this tier");
    }
    Ok(Some((node, stop)))
}

/// Writes to standard output. A closed one is no reason to end.
fn announce(lines: &str) {
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{lines}").and_then(|()| stdout.flush());
}

/// A token that SIGTERM and SIGINT cancel.
fn stop_on_signals() -> Result<CancellationToken, Error> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut received =
            signal(kind).map_err(|error| Error::Configuration(format!("signals cannot be received: {error}")))?;
        let stop = stop.clone();
        // Ends with the process: there is no later use of a signal.
        tokio::spawn(async move {
            received.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}

fn show_config(flags: &Flags, check: bool) -> Result<(), Error> {
    let config = Config::load(flags, std::env::vars())?;
    if check {
        let shape = if config.roles.is_empty() {
            Shape::Whole
        } else {
            Shape::Split
        };
        config.check_as(shape)?;
        println!("the configuration is right");
    } else {
        print!("{}", config.render()?);
    }
    Ok(())
}

fn report(outcome: Result<(), Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string(), error.exit_code()),
    }
}

fn report_client(outcome: Result<(), trunkline_cli::Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string(), 1),
    }
}

fn failed(sentence: &str, code: u8) -> ExitCode {
    eprintln!("trunkline: {sentence}");
    ExitCode::from(code)
}

//! The binary `trunkline-bench`: loads any MQTT broker, loads a Trunkline and judges it, judges it later.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use trunkline_bench::check::{Verdict, check};
use trunkline_bench::ledger::{Book, Ledger, Protocol};
use trunkline_bench::load::{Audience, Clock, Load, Plan, Summary, Target};
use trunkline_bench::site::{Access, Site};
use trunkline_bench::store::rows;
use trunkline_bench::{Place, ingest, mqtt, overload, reader, split, store};

/// How long the platform may take to store what it accepted.
const QUIESCE_WAIT: Duration = Duration::from_secs(60);

/// Loads brokers, and holds Trunkline to its promises.
#[derive(Parser)]
#[command(name = "trunkline-bench", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load any MQTT broker, or HTTP of a Trunkline, at one topic
    Load {
        #[command(flatten)]
        whom: Whom,
        #[command(flatten)]
        what: What,
        /// Subscribers to the topic that read
        #[arg(long, default_value_t = 0)]
        subscribers: usize,
        /// Subscribers that stop reading until the load has ended
        #[arg(long, default_value_t = 0)]
        stalled: usize,
        /// The broker's process, to see its memory grow
        #[arg(long, value_name = "PID")]
        server: Option<u32>,
    },
    /// Make domains on a Trunkline, load them, and judge it by its ledger
    Judge {
        #[command(flatten)]
        access: AccessFlags,
        #[command(flatten)]
        what: What,
        /// Domains, with a channel of the same route each
        #[arg(long, default_value_t = 2)]
        domains: usize,
        /// File to write the ledger to
        #[arg(long, value_name = "FILE")]
        ledger: PathBuf,
        /// The message store's file, to be read instead of asking the reader
        #[arg(long, value_name = "FILE")]
        store: Option<PathBuf>,
    },
    /// Measure ingest of a Trunkline beside mosquitto and beside the least that must be done
    Ingest(IngestFlags),
    /// Measure MQTT of a Trunkline beside mosquitto, rumqttd and loopback without a broker
    Mqtt(MqttFlags),
    /// Measure a platform of four processes on NATS and Postgres beside a bare async-nats publisher, and rows beside raw COPY
    Split(SplitFlags),
    /// Measure rows into Postgres through the message store, beside raw COPY
    Rows(RowsFlags),
    /// Saturate a Trunkline, and then send it twice as much
    Overload(OverloadFlags),
    /// Judge a Trunkline by the ledger of an earlier run
    Verify {
        #[command(flatten)]
        access: AccessFlags,
        /// The ledger
        #[arg(long, value_name = "FILE")]
        ledger: PathBuf,
        /// The message store's file, to be read instead of asking the reader
        #[arg(long, value_name = "FILE")]
        store: Option<PathBuf>,
    },
}

/// One broker and one topic of it.
#[derive(Args)]
struct Whom {
    /// Address of the broker, by number
    #[arg(long, default_value = "127.0.0.1")]
    host: std::net::IpAddr,
    /// Its port
    #[arg(long, default_value_t = 1883)]
    port: u16,
    /// User name; none means without
    #[arg(long, default_value = "")]
    user: String,
    /// Password
    #[arg(long, default_value = "")]
    password: String,
    /// Topic to publish to
    #[arg(long, default_value = "bench")]
    topic: String,
}

/// How much is sent, and how.
#[derive(Args)]
struct What {
    /// How to speak
    #[arg(long, value_enum, default_value_t = Protocol::Mqtt5)]
    protocol: Protocol,
    /// MQTT quality of service, 0 or 1
    #[arg(long, default_value_t = 1)]
    qos: u8,
    /// Connections
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Messages under way on each connection
    #[arg(long, default_value_t = 4)]
    window: usize,
    /// Messages per second in all; without it, as many as are answered
    #[arg(long)]
    rate: Option<f64>,
    /// Bytes of a payload
    #[arg(long, default_value_t = 256)]
    payload_bytes: usize,
    /// Messages after which it ends
    #[arg(long, default_value_t = u64::MAX)]
    messages: u64,
    /// Seconds after which it ends
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Connect anew when a connection breaks, and repeat what had no answer
    #[arg(long)]
    persistent: bool,
}

/// What ingest is measured with.
#[derive(Args)]
struct IngestFlags {
    /// The binary `trunkline`
    #[arg(long, value_name = "FILE")]
    trunkline: PathBuf,
    /// The binary `mosquitto`
    #[arg(long, value_name = "FILE")]
    mosquitto: PathBuf,
    /// Folder on the disk to measure on
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Seconds of each part
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Messages in flight in all
    #[arg(long, value_delimiter = ',', default_value = "1,64,1000")]
    in_flight: Vec<usize>,
    /// Rounds, each of which runs everything twice
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Bytes of a payload
    #[arg(long, default_value_t = 256)]
    payload_bytes: usize,
}

impl IngestFlags {
    fn options(self) -> Result<ingest::Options> {
        Ok(ingest::Options {
            trunkline: self.trunkline.canonicalize().context("--trunkline")?,
            mosquitto: self.mosquitto.canonicalize().context("--mosquitto")?,
            folder: self.folder,
            time: Duration::from_secs(self.seconds),
            in_flight: self.in_flight,
            rounds: self.rounds,
            payload_bytes: self.payload_bytes,
        })
    }
}

/// What MQTT is measured with.
#[derive(Args)]
struct MqttFlags {
    /// The binary `trunkline`
    #[arg(long, value_name = "FILE")]
    trunkline: PathBuf,
    /// The binary `mosquitto`
    #[arg(long, value_name = "FILE")]
    mosquitto: PathBuf,
    /// The binary `mosquitto_passwd`
    #[arg(long, value_name = "FILE")]
    mosquitto_passwd: PathBuf,
    /// The binary `rumqttd`
    #[arg(long, value_name = "FILE")]
    rumqttd: PathBuf,
    /// Folder on the disk to measure on
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Seconds of each part
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Rounds, each of which runs everything twice
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// What is measured; all when absent
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<mqtt::Measure>,
}

impl MqttFlags {
    fn options(self) -> Result<mqtt::Options> {
        Ok(mqtt::Options {
            trunkline: self.trunkline.canonicalize().context("--trunkline")?,
            mosquitto: self.mosquitto.canonicalize().context("--mosquitto")?,
            mosquitto_passwd: self.mosquitto_passwd.canonicalize().context("--mosquitto-passwd")?,
            rumqttd: self.rumqttd.canonicalize().context("--rumqttd")?,
            folder: self.folder,
            time: Duration::from_secs(self.seconds),
            rounds: self.rounds,
            only: self.only,
        })
    }
}

/// What a split platform is measured with.
#[derive(Args)]
struct SplitFlags {
    /// The binary `trunkline`
    #[arg(long, value_name = "FILE")]
    trunkline: PathBuf,
    /// The binary `nats-server`
    #[arg(long, value_name = "FILE")]
    nats_server: PathBuf,
    /// Folder on the disk to measure on
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Seconds of each part
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Messages in flight in all
    #[arg(long, value_delimiter = ',', default_value = "64,1000")]
    in_flight: Vec<usize>,
    #[command(flatten)]
    rows: RowsFlags,
}

impl SplitFlags {
    fn options(&self) -> Result<split::Options> {
        Ok(split::Options {
            trunkline: self.trunkline.canonicalize().context("--trunkline")?,
            nats_server: self.nats_server.canonicalize().context("--nats-server")?,
            folder: self.folder.clone(),
            time: Duration::from_secs(self.seconds),
            in_flight: self.in_flight.clone(),
            rounds: self.rows.rounds,
            rows: self.rows.options(),
        })
    }
}

/// What rows into Postgres are measured with.
#[derive(Args)]
struct RowsFlags {
    /// A Postgres server, as its superuser: `postgres://…/<database>`
    #[arg(long, value_name = "URL")]
    postgres: String,
    /// Rows of each part
    #[arg(long, default_value_t = 400_000)]
    rows: usize,
    /// Rows of a batch
    #[arg(long, default_value_t = 1_000)]
    batch_rows: usize,
    /// Shards that store at the same time
    #[arg(long, default_value_t = 4)]
    shards: usize,
    /// Bytes of the payload that a row came in
    #[arg(long, default_value_t = 256)]
    payload_bytes: usize,
    /// Rounds, each of which runs both twice
    #[arg(long, default_value_t = 1)]
    rounds: usize,
}

impl RowsFlags {
    fn options(&self) -> rows::Options {
        rows::Options {
            postgres: self.postgres.clone(),
            rows: self.rows,
            batch_rows: self.batch_rows,
            shards: self.shards,
            payload_bytes: self.payload_bytes,
            rounds: self.rounds,
        }
    }
}

/// What overload is measured with.
#[derive(Args)]
struct OverloadFlags {
    /// The binary `trunkline`
    #[arg(long, value_name = "FILE")]
    trunkline: PathBuf,
    /// Folder on the disk to measure on
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Seconds of each part
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Messages in flight in all that saturate it
    #[arg(long, default_value_t = 1_000)]
    in_flight: usize,
}

impl OverloadFlags {
    fn options(self) -> Result<overload::Options> {
        Ok(overload::Options {
            trunkline: self.trunkline.canonicalize().context("--trunkline")?,
            folder: self.folder,
            time: Duration::from_secs(self.seconds),
            in_flight: self.in_flight,
        })
    }
}

/// A Trunkline and a user of it.
#[derive(Args)]
struct AccessFlags {
    /// HTTP
    #[arg(long, default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Messages over HTTP, where another process has them
    #[arg(long)]
    messages: Option<SocketAddr>,
    /// MQTT
    #[arg(long, default_value = "127.0.0.1:1883")]
    mqtt: SocketAddr,
    /// Metrics
    #[arg(long, default_value = "127.0.0.1:7071")]
    ops: SocketAddr,
    /// E-mail address of a user that may make domains
    #[arg(long, default_value = "admin@example.com")]
    email: String,
    /// File with his password
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trunkline-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Load {
            whom,
            what,
            subscribers: reading,
            stalled,
            server,
        } => {
            let audience = Audience {
                reading,
                stalled,
                server,
            };
            let fanout = audience.attend(&what.plan()?, &[whom.target()], None).await?;
            print!("{fanout}");
            ended_well(&fanout.summary)
        }
        Command::Ingest(flags) => ingest::run(&flags.options()?).await,
        Command::Mqtt(flags) => mqtt::run(&flags.options()?).await,
        Command::Split(flags) => split::run(&flags.options()?).await,
        Command::Rows(flags) => rows::run(&flags.options()).await,
        Command::Overload(flags) => overload::run(&flags.options()?).await,
        Command::Judge {
            access,
            what,
            domains,
            ledger: path,
            store,
        } => {
            let plan = what.plan()?;
            let site = Site::make(&access.access()?, domains, plan.connections.div_ceil(domains)).await?;
            let ledger = Ledger::create(&path, &plan.run)?;
            let summary = Load::start(&plan, &site.targets, Some(&ledger), Clock::start())?
                .finish()
                .await;
            print!("{summary}");
            ledger.close()?;
            site.quiesce(QUIESCE_WAIT).await?;
            judge(&site, &Book::read(&path)?, store).await?;
            ended_well(&summary)
        }
        Command::Verify { access, ledger, store } => {
            let book = Book::read(&ledger)?;
            let site = Site::existing(&access.access()?, &book.places()).await?;
            judge(&site, &book, store).await
        }
    }
}

/// Fails if connections ended before their time.
fn ended_well(summary: &Summary) -> Result<()> {
    match summary.failures.keys().next() {
        Some(failure) => bail!("connections ended before their time, such as: {failure}"),
        None => Ok(()),
    }
}

/// Prints the verdict; fails if a promise was broken.
async fn judge(site: &Site, book: &Book, store: Option<PathBuf>) -> Result<()> {
    let mut rows = Vec::new();
    for place in book.places() {
        rows.extend(match &store {
            Some(file) => store::rows(file, &place).await?,
            None => reader::rows(site, &place).await?,
        });
    }
    let verdict: Verdict = check(book, &rows);
    println!("{verdict}");
    ensure!(verdict.is_clean(), "a promise was broken");
    Ok(())
}

impl Whom {
    fn target(self) -> Target {
        let address = SocketAddr::new(self.host, self.port);
        Target {
            http: address,
            mqtt: address,
            user: self.user,
            password: self.password,
            topic: self.topic,
            place: Place {
                domain: String::new(),
                channel: String::new(),
            },
        }
    }
}

impl What {
    fn plan(&self) -> Result<Plan> {
        let seconds = Duration::try_from_secs_f64(self.seconds);
        Ok(Plan {
            run: Plan::new_run(),
            protocol: self.protocol,
            qos: self.qos,
            connections: self.connections,
            window: self.window,
            rate: self.rate,
            payload_bytes: self.payload_bytes,
            messages_max: self.messages,
            time_max: seconds.context("this many seconds are not possible")?,
            is_persistent: self.persistent,
            tier: Plan::TIER_UNTOLD.to_owned(),
        })
    }
}

impl AccessFlags {
    fn access(&self) -> Result<Access> {
        let password = std::fs::read_to_string(&self.password_file)
            .with_context(|| format!("{} cannot be read", self.password_file.display()))?;
        Ok(Access {
            http: self.http,
            messages: self.messages.unwrap_or(self.http),
            mqtt: self.mqtt,
            ops: self.ops,
            email: self.email.clone(),
            password: password.trim_end_matches('\n').to_owned(),
        })
    }
}

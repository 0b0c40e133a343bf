//! A broker for testing: the adapter with free topics and without authentication, on the embedded bus.
//!
//! It exists so that MQTT suites and tools can be run against the adapter unchanged: it takes all that the standard allows, and says of a
//! refusal no more than its code, as most of them expect of a broker. It is not for use.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use trunkline_bus::EmbeddedBus;
use trunkline_bus::embedded::Config;
use trunkline_bus::envelope::PAYLOAD_BYTES_MAX;
use trunkline_core::SystemClock;
use trunkline_gate::OpenGate;
use trunkline_mqtt::{Adapter, DeniedPublish, Deps, Refusals, Settings};
use trunkline_mqtt_wire::Limits;

/// A broker FOR TESTING ONLY: anybody may publish and subscribe to anything, but for what brokers keep for themselves, `$share/...` and
/// `$SYS/...`, where only bridges tell their state. A message has 1,000,000 bytes at most, which is the log's limit.
#[derive(Parser)]
struct Arguments {
    /// Port on 127.0.0.1; 0 picks one.
    #[arg(long, default_value_t = 1883)]
    port: u16,
    /// Folder of the log; a temporary one when absent.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Topic filter that nobody may subscribe to; may be given more than once.
    #[arg(long, value_name = "TOPIC")]
    deny_subscribe: Vec<String>,
    /// Topic that nobody may publish to; may be given more than once.
    #[arg(long, value_name = "TOPIC")]
    deny_publish: Vec<String>,
    /// Keep to the limits of the product, and give reasons in words as it does.
    #[arg(long)]
    as_trunkline: bool,
}

/// No limit for a packet but the standard's, and little said of a refusal. Where the standard leaves a choice, it is Mosquitto's, whose
/// scripts compare every byte of an answer.
const STANDARD: Settings = Settings {
    payload_bytes_max: Limits::STANDARD_PACKET_BYTES_MAX as usize,
    keep_alive_s_max: u16::MAX,
    receive_max: 20,
    topic_alias_max: 10,
    denied_publish: DeniedPublish::Acknowledge,
    // It counts 200 separators.
    limits: Limits {
        topic_levels_max: 201,
        ..Limits::STANDARD
    },
    refusals: Refusals::Terse,
    tells_unheard: true,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let temporary = tempfile::tempdir()?;
    let folder = arguments.data.as_deref().unwrap_or(temporary.path());
    let clock = Arc::new(SystemClock);
    let config = Config {
        payload_bytes_max: PAYLOAD_BYTES_MAX,
        ..Config::default()
    };
    let bus = EmbeddedBus::open(folder, config, clock.clone()).await?;
    let deps = Deps {
        gate: Arc::new(OpenGate::new(arguments.deny_subscribe).denying_publish(move |topic| {
            is_the_brokers_own(topic) || arguments.deny_publish.iter().any(|denied| denied == topic)
        })),
        log: bus.log.clone(),
        live: bus.live.clone(),
        state: bus.state.clone(),
        clock,
        metrics: trunkline_telemetry::Metrics::new(),
        tracer: Default::default(),
    };
    let settings = match arguments.as_trunkline {
        true => Settings::default(),
        false => Settings {
            // Sessions of before may be away and subscribe.
            tells_unheard: arguments.data.is_none(),
            ..STANDARD
        },
    };
    let adapter = Adapter::open(deps, settings);
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port))).await?;
    println!("ready mqtt={}", listener.local_addr()?);

    let (stop, stop_router) = (CancellationToken::new(), CancellationToken::new());
    let router = tokio::spawn({
        let (adapter, stop_router) = (Arc::clone(&adapter), stop_router.clone());
        async move { adapter.run(stop_router).await }
    });
    let serving = tokio::spawn({
        let stop = stop.clone();
        async move { adapter.serve(listener, stop).await }
    });
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    stop.cancel();
    serving.await?;
    stop_router.cancel();
    router.await?;
    bus.close().await;
    Ok(())
}

/// Whether a topic is one that brokers do not let clients publish to (4.7.2): bridges tell in one below `$SYS` whether they are there, and by
/// `$share` a subscription is shared, so nobody could ask for such a topic.
fn is_the_brokers_own(topic: &str) -> bool {
    let is_state = topic.starts_with("$SYS/broker/connection/") && topic.ends_with("/state");
    topic.starts_with("$share/") || topic.starts_with("$SYS/") && !is_state
}

//! The bus on NATS JetStream: `Log`, `Live` and `State` for processes that share a server or a cluster.
//!
//! A log is a stream for each shard; a keyspace is a bucket. The server republishes whatever it stores, so that followers hear it
//! as it happens and read by position what they missed; nothing of a consumer is kept on the server but its position, in a
//! bucket. A process has two connections, one to read the bulk of the logs and one for the rest, and one more for each log that it
//! appends to.
//!
//! **Invariants:** nothing is acknowledged that the server did not acknowledge; streams refuse when they are full and are trimmed by
//! us alone; every wait for the server is bounded; what may have been missed is told as missed.
//!
//! # What a process must be allowed
//!
//! With `P` for the prefix, `B` for each of the buckets `durable`, `volatile` and `leases`, and `S` for each stream of a log, such as
//! `P_messages_0`. `migrate` needs everything. Who serves needs:
//!
//! | who | may publish to | may subscribe to |
//! |---|---|---|
//! | everybody | `P.nobody`, `P.live.>`, `$KV.P_B.>`, `$JS.API.STREAM.INFO.*`, `$JS.API.STREAM.MSG.GET.KV_P_B`, `$JS.API.CONSUMER.{CREATE,MSG.NEXT,DELETE}.KV_P_B.>` | `_INBOX.<user>.>`, `P.live.>`, `P.changes.>` |
//! | adapters | `P.messages.>`, `$JS.API.{DIRECT,STREAM.MSG}.GET.S` of messages; not `$KV.P_*.bus.>`, not `$KV.P_volatile.authz.change.>` | `P.news.messages.>`, `P.messages.*.*.u` |
//! | the writer | `P.dead.>`, `$JS.API.{DIRECT,STREAM.MSG}.GET.S`, `$JS.API.STREAM.PURGE.S`, `$JS.API.CONSUMER.{CREATE,MSG.NEXT,DELETE}.S.>` of all logs; not `$KV.P_leases.>`, not `$KV.P_volatile.authz.change.>` | `P.news.>` |
//! | auth, things, channels | `P.events.>`, `$JS.API.{DIRECT,STREAM.MSG}.GET.S` of events; not `$KV.P_leases.>`, not `$KV.P_durable.bus.groups.messages.>`, not `$KV.P_volatile.bus.>` | `P.news.events.>` |
//!
//! `tests/on_nats/users.conf` is that as a configuration of the server, and `tests/nats_rights.rs` holds it to this.

mod api;
mod config;
mod connect;
mod error;
mod feeder;
mod health;
mod identity;
mod lapses;
mod leader;
mod live;
mod log;
mod losses;
mod monitor;
mod names;
mod outlet;
mod pages;
mod state;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use trunkline_core::Clock;
use uuid::Uuid;

pub use config::NatsConfig;
pub use error::NatsError;
pub use health::{NatsHealth, Standing};
pub use log::ACK_WAIT_MAX;

use self::connect::Connection;
use self::identity::Identity;
use self::live::NatsLive;
use self::log::{Limits, NatsLog, Parts, Running};
use self::losses::{Lookout, Renewal};
use self::monitor::Proof;
use self::names::{LogName, Names};
use self::outlet::Outlets;
use self::state::NatsState;
use self::streams::{DEAD_BYTES_MAX, EVENTS_BYTES_MAX, Streams};

use crate::live::Live;
use crate::log::{Durability, Log, Tier};
use crate::state::State;

/// The oldest server that has what we need: major and minor version.
pub const VERSION_MIN: (u32, u32) = (2, 14);

/// Whether this process removes what every required group is done with, and tells publishers how much each domain holds. The
/// writer role does; of several such processes, one at a time works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trimming {
    /// Here.
    Here,
    /// In another process.
    Elsewhere,
}

/// The parts of the bus on NATS.
pub struct NatsBus {
    /// The log of messages.
    pub log: Arc<dyn Log>,
    /// The log of platform events.
    pub events: Arc<dyn Log>,
    /// The log of messages that could not be stored, for [`DeadLetters`](crate::dead_letters::DeadLetters).
    pub dead: Arc<dyn Log>,
    /// Fan-out of ephemera.
    pub live: Arc<dyn Live>,
    /// Small shared facts.
    pub state: Arc<dyn State>,
    /// How NATS stands.
    pub health: NatsHealth,
    running: Vec<Running>,
    connections: [Connection; 2],
    /// Ends what looks after it.
    end: DropGuard,
}

/// Bytes of events that one domain may have waiting.
const EVENTS_DOMAIN_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long events are kept that everybody has taken notice of, and dead letters that were seen to, in seconds.
const EVENTS_KEEP_SECONDS: u64 = 86_400;
/// What a message has around its envelope at most.
const HEADER_BYTES_MAX: usize = 1_024;
/// Bytes that may wait to be acknowledged in the logs of events and of dead letters.
const SMALL_QUEUE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of the newest entries of such a log in memory.
const SMALL_RING_BYTES_MAX: usize = 256 * 1024;

impl NatsBus {
    /// Connects and checks that everything is there as `platform`'s [`provision`] made it.
    ///
    /// # Errors
    /// See [`NatsError`]; where [`NatsError::is_passing`], the same call may succeed later.
    pub async fn open(
        config: &NatsConfig,
        platform: Uuid,
        trimming: Trimming,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, NatsError> {
        config.check().map_err(NatsError::Config)?;
        let (bulk, control, outlets) = connect(config).await?;
        let names = Arc::new(Names::new(&config.prefix));
        let streams = Streams {
            connection: &control,
            config,
            names: &names,
            platform,
        };
        streams.check_buckets().await?;
        let info = bulk.client.server_info();
        let durability = monitor::durability(config, &info.server_id).await?;
        let nats_state = Arc::new(NatsState::new(control.clone(), names.clone()));
        let mut watched = nats_state.watched();
        let state: Arc<dyn State> = nats_state;
        let (tell, failure) = watch::channel(None);
        let (losses, told) = mpsc::channel(1);
        let mut running = Vec::new();
        let mut logs: Vec<Arc<dyn Log>> = Vec::new();
        for log in LogName::ALL {
            let (facts, heads) = streams.check_log(log, &*clock).await?;
            let parts = Parts {
                connection: bulk.clone(),
                outlets: outlets.clone(),
                inbox: bulk.client.new_inbox(),
                state: state.clone(),
                names: names.clone(),
                log,
                facts,
                heads,
                limits: limits(config, log, info.max_payload),
                durability,
                clock: clock.clone(),
                failure: failure.clone(),
                losses: losses.clone(),
            };
            let (log, tasks) = NatsLog::open(parts, trimming).await?;
            logs.push(log);
            watched.extend(tasks.watched());
            running.push(tasks);
        }
        let [log, events, dead] = <[_; 3]>::try_from(logs).unwrap_or_else(|_| unreachable!("there are three logs"));
        let closing = CancellationToken::new();
        let lookout = Lookout {
            connection: control.clone(),
            watched,
            told,
            renewal: (trimming == Trimming::Here).then(|| Renewal::new(&state, &clock)),
            tell,
        };
        look_after(lookout, config, durability, &closing);
        let connections = [bulk, control.clone()];
        let health = health::look_after(connections.clone(), state.clone(), clock, closing.clone());
        Ok(Self {
            log,
            events,
            dead,
            live: Arc::new(NatsLive {
                connection: control,
                names,
            }),
            state,
            health,
            running,
            connections,
            end: closing.drop_guard(),
        })
    }

    /// Waits for what was taken, at most [`ACK_WAIT_MAX`], and disconnects. Appends from now on are refused.
    pub async fn close(self) {
        futures_util::future::join_all(self.running.into_iter().map(Running::close)).await;
        drop(self.end);
        for connection in self.connections {
            // The server notices the end in any case.
            let _ = tokio::time::timeout(connect::ANSWER_WAIT_MAX, connection.client.drain()).await;
        }
    }
}

/// The connections for logs and for the rest, and what opens further ones to append.
async fn connect(config: &NatsConfig) -> Result<(Connection, Connection, Outlets), NatsError> {
    let identity = Identity::read(config).await?;
    let bulk = Connection::open(config, identity.clone(), "log").await?;
    let control = Connection::open(config, identity.clone(), "state").await?;
    Ok((bulk, control, Outlets::new(config, identity)))
}

/// Starts what ends the process when the servers do not keep what they promised, until `closing`.
fn look_after(lookout: Lookout, config: &NatsConfig, durability: Durability, closing: &CancellationToken) {
    if durability.tier == Tier::Synced {
        let proof = Proof {
            config: config.clone(),
            connection: lookout.connection.clone(),
            tell: lookout.tell.clone(),
        };
        tokio::spawn(proof.run(closing.clone()));
    }
    tokio::spawn(lookout.run(closing.clone()));
}

/// What `log` may hold on a server that takes messages of `payload_bytes_max`.
fn limits(config: &NatsConfig, log: LogName, payload_bytes_max: usize) -> Limits {
    // Headers and the like come on top of an envelope.
    let message_bytes_max = payload_bytes_max.saturating_sub(HEADER_BYTES_MAX) as u64;
    match log {
        LogName::Messages => Limits {
            bytes_max: config.bytes_max,
            domain_bytes_max: config.domain_bytes_max,
            entry_bytes_max: config.entry_bytes_max().min(message_bytes_max),
            keep: config.keep(),
            queue_bytes_max: config.queue_bytes_max,
            ring_bytes_max: config.ring_bytes_max,
        },
        LogName::Events => Limits {
            bytes_max: EVENTS_BYTES_MAX,
            domain_bytes_max: EVENTS_DOMAIN_BYTES_MAX,
            ..small_limits(message_bytes_max)
        },
        LogName::Dead => Limits {
            bytes_max: DEAD_BYTES_MAX,
            domain_bytes_max: DEAD_BYTES_MAX,
            ..small_limits(message_bytes_max)
        },
    }
}

const fn small_limits(entry_bytes_max: u64) -> Limits {
    Limits {
        bytes_max: 0,
        domain_bytes_max: 0,
        entry_bytes_max,
        keep: Duration::from_secs(EVENTS_KEEP_SECONDS),
        queue_bytes_max: SMALL_QUEUE_BYTES_MAX,
        ring_bytes_max: SMALL_RING_BYTES_MAX,
    }
}

/// Makes the streams and buckets of `platform` that are missing, and checks those that are there. Safe to run twice, also at once.
/// Needs an owner's credentials. Returns the names of what was missing.
///
/// # Errors
/// See [`NatsError`].
pub async fn provision(config: &NatsConfig, platform: Uuid, clock: &dyn Clock) -> Result<Vec<String>, NatsError> {
    config.check().map_err(NatsError::Config)?;
    let connection = Connection::open(config, Identity::read(config).await?, "migrate").await?;
    let streams = Streams {
        connection: &connection,
        config,
        names: &Names::new(&config.prefix),
        platform,
    };
    streams.make(clock).await
}

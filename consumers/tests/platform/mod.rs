//! A log, a message store and a writer between them: the log and the dead letters on real files, the store on either database.

mod store;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trunkline_bus::embedded::{Config, EmbeddedBus};
use trunkline_bus::log::{Shard, WRITER_GROUP};
use trunkline_bus::{DeadLetters, Log, NewEntry};
use trunkline_consumers::{Error, Writer};
use trunkline_core::{ChannelId, DomainId, MessageId, SystemClock};
use trunkline_proto::messages::v1::{Envelope, Protocol, Publisher, PublisherKind};
use trunkline_store::{MessageStore, Page, PageLimit, PostgresStore, Query};
use trunkline_telemetry::{Counter, Metrics};
use trunkline_testkit::{Postgres, Proxy, until};
use uuid::Uuid;

pub(crate) use store::Place;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Holds each claim with a store on SQLite and with one on Postgres.
#[macro_export]
macro_rules! on_both {
    ($($claim:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $claim() {
                super::$claim(super::Platform::on_sqlite().await).await;
            })+
        }

        mod on_postgres {
            $(#[tokio::test]
            async fn $claim() {
                super::$claim(super::Platform::on_postgres().await).await;
            })+
        }
    };
}

pub(crate) struct Platform {
    pub(crate) bus: EmbeddedBus,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) place: Place,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) metrics: Metrics,
    pub(crate) directory: TempDir,
    /// What stands before the store's server, if anything does.
    #[allow(dead_code, reason = "not every test file needs it")]
    pub(crate) proxy: Option<Proxy>,
    _dead_letters_bus: EmbeddedBus,
}

/// A writer that runs.
pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Platform {
    pub(crate) async fn on_sqlite() -> Platform {
        let directory = TempDir::new().unwrap();
        let place = Place::Sqlite(directory.path().join("messages.db"));
        Platform::open(directory, place, Config::default()).await
    }

    pub(crate) async fn on_postgres() -> Platform {
        let database = Postgres::database().await;
        PostgresStore::migrate(database.url(), Uuid::nil()).await.unwrap();
        Platform::open(TempDir::new().unwrap(), Place::Postgres(database), Config::default()).await
    }

    #[allow(dead_code, reason = "not every test file needs it")]
    pub(crate) async fn on_postgres_behind_a_proxy() -> Platform {
        let platform = Platform::on_postgres().await;
        let Place::Postgres(database) = &platform.place else {
            unreachable!()
        };
        let (user, address) = database.url().split_once('@').unwrap();
        let (server, name) = address.split_once('/').unwrap();
        let proxy = Proxy::before(server).await;
        let store = PostgresStore::open(&format!("{user}@{}/{name}", proxy.address()), Uuid::nil())
            .await
            .unwrap();
        Platform {
            store: Arc::new(store),
            proxy: Some(proxy),
            ..platform
        }
    }

    async fn open(directory: TempDir, place: Place, dead_letters: Config) -> Platform {
        let bus = open_bus(directory.path(), Config::default()).await;
        let dead_letters_folder = directory.path().join("dead-letters");
        std::fs::create_dir_all(&dead_letters_folder).unwrap();
        let dead_letters_bus = open_bus(&dead_letters_folder, dead_letters).await;
        Platform {
            bus,
            store: place.open().await,
            place,
            dead_letters: DeadLetters::open(dead_letters_bus.log.clone()).await.unwrap(),
            metrics: Metrics::new(),
            directory,
            proxy: None,
            _dead_letters_bus: dead_letters_bus,
        }
    }

    /// Closes the logs and opens everything again.
    #[allow(dead_code, reason = "not every test file restarts")]
    pub(crate) async fn restart(self) -> Platform {
        self.restart_with(Config::default()).await
    }

    /// The same, with another configuration of the dead letters.
    #[allow(dead_code, reason = "not every test file restarts")]
    pub(crate) async fn restart_with(self, dead_letters: Config) -> Platform {
        self.bus.close().await;
        self._dead_letters_bus.close().await;
        drop(self.store);
        Platform::open(self.directory, self.place, dead_letters).await
    }

    pub(crate) async fn start(&self) -> Running {
        let log: Arc<dyn Log> = self.bus.log.clone();
        let writer = Writer::open(log, self.store.clone(), Arc::new(SystemClock), &self.metrics)
            .await
            .unwrap()
            .parking_in(self.dead_letters.clone());
        let stop = CancellationToken::new();
        Running {
            task: tokio::spawn(writer.run(stop.clone())),
            stop,
        }
    }

    /// Attempts of the writer that failed.
    #[allow(dead_code, reason = "not every test file fails")]
    pub(crate) fn retries(&self) -> Counter {
        self.metrics.counter("trunkline_writer_retries_total", "", &[])
    }

    /// Appends a message and waits until the log holds it.
    pub(crate) async fn publish(&self, channel: Channel, payload: &[u8]) {
        let entry = NewEntry::seal(channel.envelope(payload), usize::MAX).unwrap();
        self.bus.log.append(entry).await.unwrap().await.unwrap();
    }

    pub(crate) async fn read(&self, channel: Channel) -> Page {
        let limit = PageLimit::parse(1000).unwrap();
        let query = Query {
            limit,
            ..Query::latest(channel.domain_id, channel.channel_id)
        };
        self.store.read(&query).await.unwrap()
    }

    /// Waits until the channel has `count` records.
    pub(crate) async fn stored(&self, channel: Channel, count: u64) -> Page {
        until(PATIENCE, || async { self.read(channel).await.total >= count }).await;
        self.read(channel).await
    }

    /// Waits until the group has committed all that the log holds.
    pub(crate) async fn committed(&self) {
        let log = &self.bus.log;
        let is_committed =
            |shard| log.committed(WRITER_GROUP, Shard(shard)).unwrap() == log.head(Shard(shard)).unwrap();
        until(PATIENCE, || async { (0..log.shards()).all(is_committed) }).await;
    }
}

async fn open_bus(folder: &Path, config: Config) -> EmbeddedBus {
    let bus = EmbeddedBus::open(folder, config, Arc::new(SystemClock)).await;
    bus.unwrap()
}

impl Running {
    /// Stops the writer and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

/// Where to publish.
#[derive(Clone, Copy)]
pub(crate) struct Channel {
    pub(crate) domain_id: DomainId,
    pub(crate) channel_id: ChannelId,
}

impl Channel {
    pub(crate) fn new() -> Channel {
        Channel {
            domain_id: DomainId::new(),
            channel_id: ChannelId::new(),
        }
    }

    fn envelope(self, payload: &[u8]) -> Envelope {
        let bytes = |id: &[u8; 16]| id.to_vec().into();
        Envelope {
            id: bytes(MessageId::new().as_bytes()),
            domain_id: bytes(self.domain_id.as_bytes()),
            channel_id: bytes(self.channel_id.as_bytes()),
            publisher: Some(Publisher {
                kind: PublisherKind::Client.into(),
                id: bytes(&[7; 16]),
                ..Publisher::default()
            }),
            protocol: Protocol::Mqtt.into(),
            received_at: 1_700_000_000_000_000_000,
            payload: payload.to_vec().into(),
            ..Envelope::default()
        }
    }
}

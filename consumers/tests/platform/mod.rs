//! A log, a message store and a writer between them, on real files.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trunkline_bus::embedded::{Config, EmbeddedBus};
use trunkline_bus::log::{Shard, WRITER_GROUP};
use trunkline_bus::{Log, NewEntry};
use trunkline_consumers::{Error, Writer};
use trunkline_core::{ChannelId, DomainId, MessageId, SystemClock};
use trunkline_proto::messages::v1::{Envelope, Protocol, Publisher, PublisherKind};
use trunkline_store::{MessageStore, Page, PageLimit, Query, SqliteStore};
use trunkline_telemetry::Metrics;
use trunkline_testkit::until;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Platform {
    pub(crate) bus: EmbeddedBus,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) metrics: Metrics,
    pub(crate) directory: TempDir,
}

/// A writer that runs.
pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Platform {
    pub(crate) async fn open() -> Platform {
        Platform::open_in(TempDir::new().unwrap()).await
    }

    pub(crate) async fn open_in(directory: TempDir) -> Platform {
        let bus = EmbeddedBus::open(directory.path(), Config::default(), Arc::new(SystemClock))
            .await
            .unwrap();
        let store = Arc::new(SqliteStore::open(&directory.path().join("messages.db")).await.unwrap());
        Platform {
            bus,
            store,
            metrics: Metrics::new(),
            directory,
        }
    }

    /// Closes every file and opens it again.
    #[allow(dead_code, reason = "not every test file restarts")]
    pub(crate) async fn restart(self) -> Platform {
        self.bus.close().await;
        self.store.close().await;
        Platform::open_in(self.directory).await
    }

    pub(crate) async fn start(&self) -> Running {
        let log: Arc<dyn Log> = self.bus.log.clone();
        let writer = Writer::open(log, self.store.clone(), Arc::new(SystemClock), &self.metrics)
            .await
            .unwrap();
        let stop = CancellationToken::new();
        Running {
            task: tokio::spawn(writer.run(stop.clone())),
            stop,
        }
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

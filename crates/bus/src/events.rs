//! What happened to entities, told to every service that wants to know: a log of its own, with a quota of its own.
//!
//! Events come from the outboxes of the services and are told at least once, those of one domain in their order. Whoever follows
//! them does nothing twice that may be done only once.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use trunkline_core::Clock;
use trunkline_proto::events::v1::Event;
use trunkline_proto::messages::v1::{Envelope, Protocol};

use crate::envelope::{EnvelopeError, NewEntry, PAYLOAD_BYTES_MAX};
use crate::log::{AppendError, Log, LogError, ReadLimit, Shard};

/// Waits before an event is handled again that could not be handled.
const RETRY_WAITS: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(10),
];
/// The domain of events on platform level.
const NO_DOMAIN: [u8; 16] = [0; 16];

/// Why an event was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The bytes are no event.
    #[error("the event cannot be decoded: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// The event does not fit the log.
    #[error("the event does not fit the log: {0}")]
    Unfit(#[from] EnvelopeError),
    /// The log did not take it.
    #[error("the log did not take the event: {0}")]
    Append(#[from] AppendError),
}

/// The events of a platform, cheap to clone.
#[derive(Clone)]
pub struct Events {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
}

impl Events {
    /// Events kept in `log`, which holds nothing else.
    pub fn new(log: Arc<dyn Log>, clock: Arc<dyn Clock>) -> Self {
        Self { log, clock }
    }

    /// Publishes an encoded event; returns once it is durable. The same event again changes nothing.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, encoded: Vec<u8>) -> Result<(), PublishError> {
        let event = Event::decode(encoded.as_slice())?;
        let domain_id = if event.domain_id.is_empty() {
            Bytes::from_static(&NO_DOMAIN)
        } else {
            event.domain_id
        };
        let envelope = Envelope {
            id: event.id,
            domain_id,
            channel_id: event.object_id,
            subtopic: event.r#type,
            protocol: Protocol::Internal.into(),
            received_at: self.clock.now_ns(),
            qos: 1,
            payload: encoded.into(),
            ..Envelope::default()
        };
        let entry = NewEntry::seal(envelope, PAYLOAD_BYTES_MAX)?;
        self.log.append(entry).await?.await?;
        Ok(())
    }

    /// Hands every event to `handle`, for the consumer group `group`, until `cancel`. An event that fails is handed over again, later and
    /// later, and those behind it wait.
    ///
    /// # Errors
    /// When the log failed.
    pub async fn follow<H, F, E>(&self, group: &str, cancel: &CancellationToken, handle: H) -> Result<(), LogError>
    where
        H: Fn(Event) -> F,
        F: Future<Output = Result<(), E>>,
        E: Display,
    {
        self.log.join(group, true).await?;
        let shards = (0..self.log.shards()).map(|shard| self.follow_shard(group, Shard(shard), &handle));
        tokio::select! {
            () = cancel.cancelled() => Ok(()),
            ended = futures_util::future::try_join_all(shards) => ended.map(drop),
        }
    }

    async fn follow_shard<H, F, E>(&self, group: &str, shard: Shard, handle: &H) -> Result<(), LogError>
    where
        H: Fn(Event) -> F,
        F: Future<Output = Result<(), E>>,
        E: Display,
    {
        let mut done = self.log.committed(group, shard)?;
        loop {
            self.log.wait(shard, done).await?;
            let page = self.log.read(shard, done + 1, ReadLimit::default()).await?;
            for entry in &page.entries {
                match Event::decode(entry.envelope.payload.clone()) {
                    Ok(event) => handled(&event, handle).await,
                    Err(error) => {
                        tracing::error!(sequence = entry.sequence, %error, "an event cannot be decoded and is passed over");
                    }
                }
            }
            done = page.next.saturating_sub(1).max(done);
            self.log.commit(group, shard, done).await?;
        }
    }
}

/// Hands one event over until it is handled.
async fn handled<H, F, E>(event: &Event, handle: &H)
where
    H: Fn(Event) -> F,
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    let mut waits = RETRY_WAITS.into_iter();
    let mut wait = Duration::ZERO;
    while let Err(error) = handle(event.clone()).await {
        wait = waits.next().unwrap_or(wait);
        tracing::warn!(event.kind = event.r#type, %error, retry_in_ms = wait.as_millis(), "an event could not be handled yet");
        tokio::time::sleep(wait).await;
    }
}

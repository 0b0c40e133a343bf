//! The writer: reads every shard of the log and stores what it finds.
//!
//! Where a shard goes on is what the message store says, not the log: the store's position commits with the rows. The log is told
//! afterwards, so that it may trim. Storing an entry twice is harmless, so every doubt is settled by reading again.

mod park;
mod shard;
mod teller;

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline_bus::log::{LogError, Shard, WRITER_GROUP};
use trunkline_bus::{DeadLetters, Log};
use trunkline_core::Clock;
use trunkline_store::MessageStore;
use trunkline_telemetry::{Metrics, Tracer};

use crate::metrics::WriterMetrics;
use shard::ShardWriter;

/// Stores every message of a log.
pub struct Writer {
    context: Context,
}

/// What all shards share.
#[derive(Clone)]
struct Context {
    log: Arc<dyn Log>,
    store: Arc<dyn MessageStore>,
    dead_letters: Option<DeadLetters>,
    clock: Arc<dyn Clock>,
    metrics: WriterMetrics,
    tracer: Tracer,
}

/// Why the writer ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read any more.
    #[error("the writer could not read the log")]
    Log(#[source] LogError),
    /// A defect in the writer itself.
    #[error("the writer of a shard panicked")]
    Panicked,
}

impl Writer {
    /// A writer of `log` into `store`. From now on the log keeps what is not stored; open the writer before anything is admitted.
    ///
    /// # Errors
    /// When the log cannot take the writer's group.
    pub async fn open(
        log: Arc<dyn Log>,
        store: Arc<dyn MessageStore>,
        clock: Arc<dyn Clock>,
        metrics: &Metrics,
    ) -> Result<Writer, LogError> {
        log.join(WRITER_GROUP, true).await?;
        Ok(Writer {
            context: Context {
                log,
                store,
                dead_letters: None,
                clock,
                metrics: WriterMetrics::new(metrics),
                tracer: Tracer::default(),
            },
        })
    }

    /// Has messages that the store refuses kept as dead letters, so that one of them cannot hold up those behind it. Without this, they
    /// are tried for ever.
    pub fn parking_in(mut self, dead_letters: DeadLetters) -> Writer {
        self.context.dead_letters = Some(dead_letters);
        self
    }

    /// Has batches with messages of recorded traces recorded, each linked to those traces.
    pub fn traced_by(mut self, tracer: Tracer) -> Writer {
        self.context.tracer = tracer;
        self
    }

    /// Stores until told to stop; then finishes the batches at hand and returns. While the store fails it is tried again, for ever and
    /// with growing pauses; nothing is skipped.
    ///
    /// # Errors
    /// When the log ended first. Not cancel safe in time: dropped, batches at hand are stored whole or not at all.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        // Ends the other shards when one fails, and all when this future is dropped.
        let stop = stop.child_token();
        let _stop_at_end = stop.clone().drop_guard();
        let mut shards = JoinSet::new();
        for number in 0..self.context.log.shards() {
            let writer = ShardWriter::new(self.context.clone(), Shard(number), stop.clone());
            shards.spawn(writer.run());
        }
        let mut outcome = Ok(());
        while let Some(ended) = shards.join_next().await {
            let ended = ended.unwrap_or(Err(Error::Panicked));
            if ended.is_err() && outcome.is_ok() {
                stop.cancel();
                outcome = ended;
            }
        }
        outcome
    }
}

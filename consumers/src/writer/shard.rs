//! The writer of one shard: wait for news, gather a batch, store it, commit it.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use trunkline_bus::StoredEntry;
use trunkline_bus::log::{LogError, ReadLimit, Shard, WRITER_GROUP};
use trunkline_store::{Batch, LogPosition, StoredRecord, UnreadableEntry};
use trunkline_telemetry::traces::{Kind, TraceContext};

use super::teller::Teller;
use super::{Context, Error};
use crate::metrics::ShardLag;
use crate::transform;

/// Records that are worth a transaction: a batch with as many is stored at once.
const BATCH_RECORDS_MIN: usize = 500;

/// Records after which a batch is stored though more entries are at hand; the last message's pack may exceed it.
const BATCH_RECORDS_MAX: usize = 2_000;

/// Bytes of text after which a batch is stored though it has fewer records; the last message may exceed it.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long a smaller batch waits for more.
const LINGER: Duration = Duration::from_millis(20);

/// What is read from the log at once.
const READ_LIMIT: ReadLimit = ReadLimit {
    entries: 1_024,
    bytes: 2 * 1024 * 1024,
};

/// Larger payloads are decoded on a thread for blocking work, since they take longer than a task may.
const INLINE_PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// The first pause after a failure.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause between attempts: a log that is full takes messages again so soon after the store does.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(1);

/// One shard on its way into the store.
pub(super) struct ShardWriter {
    pub(super) context: Context,
    pub(super) shard: Shard,
    stop: CancellationToken,
    lag: ShardLag,
    teller: Teller,
    /// Sequence to read from next.
    next: u64,
    /// Sequence up to which all is stored.
    stored: u64,
    pending: Pending,
}

/// What is read and not stored yet.
#[derive(Default)]
struct Pending {
    records: Vec<StoredRecord>,
    /// Bytes of their texts.
    text_bytes: usize,
    unreadable: Vec<UnreadableEntry>,
    /// The last entry that is covered; `None` when there is nothing to store.
    through: Option<u64>,
    /// Admission of the oldest message.
    received_at: Option<i64>,
    /// Where the messages of recorded traces were appended, at most one for each entry.
    causes: Vec<TraceContext>,
}

impl Pending {
    fn extend(&mut self, records: Vec<StoredRecord>) {
        self.text_bytes += records.iter().map(StoredRecord::text_bytes).sum::<usize>();
        self.records.extend(records);
    }

    /// Whether it must be stored before more is taken.
    fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS_MAX || self.text_bytes >= BATCH_BYTES_MAX
    }
}

/// Why a shard's loop ended.
pub(super) enum End {
    /// It was told to.
    Stopped,
    /// It cannot go on.
    Failed(Error),
}

impl From<LogError> for End {
    fn from(error: LogError) -> End {
        End::Failed(Error::Log(error))
    }
}

impl ShardWriter {
    pub(super) fn new(context: Context, shard: Shard, stop: CancellationToken) -> ShardWriter {
        let lag = context.metrics.shard_lag();
        let teller = Teller::new(context.log.clone(), shard);
        ShardWriter {
            context,
            shard,
            stop,
            lag,
            teller,
            next: 0,
            stored: 0,
            pending: Pending::default(),
        }
    }

    /// Runs until stopped.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        let end = self.run_to_end().await;
        self.teller.finish().await;
        match end {
            End::Stopped => Ok(()),
            // A log that closes while the node stops is no failure.
            End::Failed(_) if self.stop.is_cancelled() => Ok(()),
            End::Failed(error) => Err(error),
        }
    }

    async fn run_to_end(&mut self) -> End {
        match self.first_sequence().await {
            Ok(next) => (self.next, self.stored) = (next, next - 1),
            Err(end) => return end,
        }
        loop {
            if let Err(end) = self.store_next_batch().await {
                return end;
            }
        }
    }

    async fn store_next_batch(&mut self) -> Result<(), End> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(End::Stopped),
            news = self.context.log.wait(self.shard, self.next - 1) => news?,
        }
        self.gather().await?;
        self.store_pending().await
    }

    /// Where the store says that the shard goes on.
    async fn first_sequence(&self) -> Result<u64, End> {
        let mut pauses = Pauses::new();
        let position = loop {
            match self.context.store.position(WRITER_GROUP, self.shard.0).await {
                Ok(position) => break position,
                Err(error) => {
                    self.pause_after("read the writer's position", &error, &mut pauses)
                        .await?;
                }
            }
        };
        let Some(position) = position else { return Ok(1) };
        let head = self.context.log.head(self.shard)?;
        if position.incarnation != self.context.log.incarnation().0 || position.sequence > head {
            error!(
                shard = %self.shard,
                stored = position.sequence,
                head,
                "the log is not the one that was stored up to now, or it went back; storing it from its beginning"
            );
            return Ok(1);
        }
        // A crash may have come between storing and telling the log.
        self.teller.tell(position.sequence);
        Ok(position.sequence + 1)
    }

    /// Reads until a batch is worth its transaction, has waited for its time, or the shard stops.
    async fn gather(&mut self) -> Result<(), End> {
        let deadline = Instant::now() + LINGER;
        loop {
            self.read_page().await?;
            // The deadline is asked for here, since a wait for what is there already is over before it looks at the clock.
            if self.pending.records.len() >= BATCH_RECORDS_MIN || Instant::now() >= deadline {
                return Ok(());
            }
            // One wait for all that is missing, since the log has news with each of its commits. Places rise by one for an entry, or by more.
            let missing = (BATCH_RECORDS_MIN - self.pending.records.len()) as u64;
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                news = timeout_at(deadline, self.context.log.wait(self.shard, self.next + missing - 2)) => {
                    news.unwrap_or(Ok(()))?;
                }
            }
        }
    }

    async fn read_page(&mut self) -> Result<(), End> {
        let mut pauses = Pauses::new();
        let mut limit = READ_LIMIT;
        let page = loop {
            match self.context.log.read(self.shard, self.next, limit).await {
                Ok(page) => break page,
                // Fewer and fewer, until the damaged entry is alone and those before it are taken.
                Err(LogError::Damaged { .. }) if limit.entries > 1 => limit.entries /= 2,
                Err(error @ LogError::Damaged { sequence, .. }) => {
                    self.note_unreadable(sequence, error.to_string());
                    self.next = sequence + 1;
                    return Ok(());
                }
                Err(error @ LogError::Failed(_)) => self.pause_after("read the log", &error, &mut pauses).await?,
                Err(error) => return Err(error.into()),
            }
        };
        if page.skipped > 0 {
            error!(shard = %self.shard, entries = page.skipped, "the log trimmed entries before they were stored");
            self.context.metrics.skipped(page.skipped);
        }
        for entry in page.entries {
            self.take(entry).await?;
            if self.pending.is_full() {
                self.store_pending().await?;
            }
        }
        self.next = page.next;
        Ok(())
    }

    /// Adds what an entry becomes to what is pending.
    async fn take(&mut self, entry: StoredEntry) -> Result<(), End> {
        let sequence = entry.sequence;
        self.pending.received_at.get_or_insert(entry.envelope.received_at);
        // Most messages are in no trace, and their text is empty.
        self.pending
            .causes
            .extend(TraceContext::parse(&entry.envelope.traceparent));
        let transformed = if entry.envelope.payload.len() > INLINE_PAYLOAD_BYTES_MAX {
            let work = tokio::task::spawn_blocking(move || transform(&entry));
            work.await.map_err(|_| End::Failed(Error::Panicked))?
        } else {
            tokio::task::consume_budget().await;
            transform(&entry)
        };
        match transformed {
            Ok(records) => self.pending.extend(records),
            Err(error) => self.note_unreadable(sequence, error.to_string()),
        }
        self.pending.through = Some(sequence);
        Ok(())
    }

    fn note_unreadable(&mut self, sequence: u64, error: String) {
        error!(shard = %self.shard, sequence, error, "an entry of the log cannot be read; it is noted in the message store");
        let log_position = self.position(sequence);
        self.pending.unreadable.push(UnreadableEntry {
            log_shard: self.shard.0,
            log_position,
            error,
        });
        self.pending.through = Some(sequence);
    }

    /// Stores what is pending, trying until it succeeds or the shard stops, and then has the log told.
    async fn store_pending(&mut self) -> Result<(), End> {
        let pending = std::mem::take(&mut self.pending);
        let Some(through) = pending.through else { return Ok(()) };
        let batch = Batch {
            group: WRITER_GROUP,
            log_shard: self.shard.0,
            position: self.position(through),
            records: &pending.records,
            unreadable: &pending.unreadable,
        };
        let mut span = self.context.tracer.join(Kind::Consumer, "store", &pending.causes);
        if let Some(span) = &mut span {
            span.number("log.shard", self.shard.0.into());
            span.number("records", pending.records.len() as i64);
        }
        let rows = self.insert(&batch).await?;
        drop(span);
        self.stored = through;
        self.update_lag()?;
        let undecoded = pending
            .records
            .iter()
            .filter(|record| record.decode_error.is_some())
            .count() as u64;
        let delay = self
            .context
            .clock
            .now_ns()
            .saturating_sub(pending.received_at.unwrap_or(i64::MAX));
        let delay = Duration::from_nanos(u64::try_from(delay).unwrap_or_default());
        self.context
            .metrics
            .stored(rows, undecoded, pending.unreadable.len() as u64, delay);
        self.teller.tell(through);
        Ok(())
    }

    pub(super) fn update_lag(&mut self) -> Result<(), End> {
        self.lag.set(self.context.log.entries_beyond(self.shard, self.stored)?);
        Ok(())
    }

    /// Pauses before the next attempt; the first of several failures in a row is logged.
    pub(super) async fn pause_after(
        &self,
        operation: &str,
        error: &(dyn std::error::Error + Send + Sync + 'static),
        pauses: &mut Pauses,
    ) -> Result<(), End> {
        if pauses.is_first() {
            warn!(shard = %self.shard, operation, error, "the writer could not do its work and tries again");
        }
        self.context.metrics.retried();
        pauses.pause(&self.stop).await
    }

    fn position(&self, sequence: u64) -> LogPosition {
        LogPosition {
            incarnation: self.context.log.incarnation().0,
            sequence,
        }
    }
}

/// Pauses between attempts, each twice as long as the one before.
pub(super) struct Pauses {
    next: Duration,
}

impl Pauses {
    pub(super) fn new() -> Pauses {
        Pauses { next: RETRY_PAUSE_MIN }
    }

    fn is_first(&self) -> bool {
        self.next == RETRY_PAUSE_MIN
    }

    async fn pause(&mut self, stop: &CancellationToken) -> Result<(), End> {
        tokio::select! {
            () = stop.cancelled() => Err(End::Stopped),
            () = tokio::time::sleep(self.take()) => Ok(()),
        }
    }

    fn take(&mut self) -> Duration {
        let pause = self.next;
        self.next = RETRY_PAUSE_MAX.min(pause * 2);
        pause
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trunkline_core::{ChannelId, DomainId, MessageId};
    use trunkline_store::{Origin, Protocol, PublisherKind};

    use super::*;

    fn record(text_bytes: usize) -> StoredRecord {
        let origin = Origin {
            domain_id: DomainId::new(),
            channel_id: ChannelId::new(),
            message_id: MessageId::new(),
            subtopic: String::new(),
            publisher_id: Default::default(),
            publisher_kind: PublisherKind::Client,
            device_id: None,
            protocol: Protocol::Mqtt,
            content_type: String::new(),
            received_at: 0,
            log_shard: 0,
            log_position: LogPosition {
                incarnation: 1,
                sequence: 1,
            },
        };
        StoredRecord {
            data_value: Some("x".repeat(text_bytes)),
            ..StoredRecord::new(Arc::new(origin), 0, 0)
        }
    }

    #[test]
    fn a_batch_is_full_of_few_large_records_as_of_many_small_ones() {
        let mut large = Pending::default();
        large.extend((0..7).map(|_| record(1 << 20)).collect());
        assert!(!large.is_full());
        large.extend(vec![record(1 << 20)]);
        assert!(large.is_full());

        let mut small = Pending::default();
        small.extend(vec![record(1); BATCH_RECORDS_MAX - 1]);
        assert!(!small.is_full());
        small.extend(vec![record(1)]);
        assert!(small.is_full());
    }

    #[test]
    fn pauses_grow_to_one_second_and_no_further() {
        let mut pauses = Pauses::new();
        let taken: Vec<_> = (0..8).map(|_| pauses.take().as_millis()).collect();
        assert_eq!(taken, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
    }
}

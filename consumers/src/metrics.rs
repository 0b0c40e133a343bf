//! What the writer counts.

use std::time::Duration;

use trunkline_telemetry::{Counter, Gauge, Histogram, Metrics};

/// The writer's metrics, shared by its shards.
#[derive(Clone)]
pub(crate) struct WriterMetrics {
    records: Counter,
    undecoded: Counter,
    unreadable: Counter,
    skipped: Counter,
    parked: Counter,
    batches: Counter,
    retries: Counter,
    delay: Histogram,
    lag_entries: Gauge,
}

/// How far one shard is behind; its part of the sum leaves with it.
pub(crate) struct ShardLag {
    sum: Gauge,
    entries: i64,
}

impl WriterMetrics {
    pub(crate) fn new(metrics: &Metrics) -> WriterMetrics {
        let counter = |name, help| metrics.counter(name, help, &[]);
        WriterMetrics {
            records: counter(
                "trunkline_writer_records_total",
                "Records stored that were not stored before.",
            ),
            undecoded: counter(
                "trunkline_writer_undecoded_total",
                "Records stored with a decode error.",
            ),
            unreadable: counter(
                "trunkline_writer_unreadable_total",
                "Entries of the log that could not be read.",
            ),
            skipped: counter(
                "trunkline_writer_skipped_total",
                "Entries that the log had trimmed before they were stored.",
            ),
            parked: counter(
                "trunkline_writer_parked_total",
                "Records that the message store refused and whose messages are dead letters.",
            ),
            batches: counter("trunkline_writer_batches_total", "Transactions committed."),
            retries: counter(
                "trunkline_writer_retries_total",
                "Attempts to read the log or to store that failed and are repeated.",
            ),
            delay: metrics.histogram(
                "trunkline_writer_delay_seconds",
                "Time from admission to commit of the oldest message of a batch.",
                &[],
            ),
            lag_entries: metrics.gauge(
                "trunkline_writer_lag_entries",
                "Entries in the log that are not stored yet.",
                &[],
            ),
        }
    }

    pub(crate) fn stored(&self, records: u64, undecoded: u64, unreadable: u64, delay: Duration) {
        self.records.add(records);
        self.undecoded.add(undecoded);
        self.unreadable.add(unreadable);
        self.batches.increment();
        self.delay.observe(delay);
    }

    pub(crate) fn skipped(&self, entries: u64) {
        self.skipped.add(entries);
    }

    pub(crate) fn parked(&self) {
        self.parked.increment();
    }

    pub(crate) fn retried(&self) {
        self.retries.increment();
    }

    pub(crate) fn shard_lag(&self) -> ShardLag {
        ShardLag {
            sum: self.lag_entries.clone(),
            entries: 0,
        }
    }
}

impl ShardLag {
    pub(crate) fn set(&mut self, entries: u64) {
        let entries = i64::try_from(entries).unwrap_or(i64::MAX);
        self.sum.add(entries - self.entries);
        self.entries = entries;
    }
}

impl Drop for ShardLag {
    fn drop(&mut self) {
        self.sum.add(-self.entries);
    }
}

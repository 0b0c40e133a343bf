//! Storing a batch whatever is in it: records that the store refuses are found by halving, and their messages are kept as dead
//! letters before anything goes on.

use tracing::error;
use trunkline_bus::log::{LogError, ReadLimit};
use trunkline_bus::{DeadLetters, StoredEntry};
use trunkline_store::{Batch, Error as StoreError, LogPosition, StoredRecord};

use super::shard::{End, Pauses, ShardWriter};

/// To read one entry.
const ONE_ENTRY: ReadLimit = ReadLimit { entries: 1, bytes: 1 };

impl ShardWriter {
    /// Stores a batch, trying until it succeeds or the shard stops, and counts the rows that were not there. A record that the store
    /// refuses is left out once its message is a dead letter; a writer without dead letters tries for ever. A store that is too slow for
    /// a batch is given less at once.
    pub(super) async fn insert(&mut self, batch: &Batch<'_>) -> Result<u64, End> {
        let mut rows = 0;
        // What is still to be stored, the first of it at the end.
        let mut parts = vec![batch.records];
        let mut pauses = Pauses::new();
        while let Some(records) = parts.pop() {
            let part = match parts.last() {
                None => Batch { records, ..*batch },
                Some(rest) => Batch {
                    position: before(rest),
                    records,
                    unreadable: &[],
                    ..*batch
                },
            };
            let error = match self.context.store.insert(&part).await {
                Ok(inserted) => {
                    rows += inserted.rows;
                    pauses = Pauses::new();
                    continue;
                }
                Err(error) => error,
            };
            match (&error, self.context.dead_letters.clone(), records) {
                (StoreError::Refused { source }, Some(dead_letters), [record]) => {
                    self.park(&dead_letters, record, &source.to_string()).await?;
                    // What it was the last record of is complete.
                    parts.extend(parts.is_empty().then_some(&[][..]));
                }
                (StoreError::Refused { .. }, Some(_), [_, _, ..]) => parts.extend(halves(records)),
                (StoreError::TooSlow { .. }, _, [_, _, ..]) => {
                    self.wait_after(&error, &mut pauses).await?;
                    parts.extend(halves(records));
                }
                _ => {
                    self.wait_after(&error, &mut pauses).await?;
                    parts.push(records);
                }
            }
        }
        Ok(rows)
    }

    async fn wait_after(&mut self, error: &StoreError, pauses: &mut Pauses) -> Result<(), End> {
        self.update_lag()?;
        self.pause_after("store a batch", error, pauses).await
    }

    /// Keeps the message of a record as a dead letter, trying until it succeeds or the shard stops.
    async fn park(&self, dead_letters: &DeadLetters, record: &StoredRecord, reason: &str) -> Result<(), End> {
        let origin = &record.origin;
        let reason = format!("record {} of its pack: {reason}", record.pack_index);
        error!(
            message.id = %origin.message_id,
            channel.id = %origin.channel_id,
            reason,
            "the message store refuses a record; its message is kept as a dead letter"
        );
        let mut pauses = Pauses::new();
        let entry = loop {
            match self.entry(origin.log_position.sequence).await {
                Ok(entry) => break entry,
                Err(error) => {
                    self.pause_after("read a message to park it", &error, &mut pauses)
                        .await?;
                }
            }
        };
        while let Err(error) = dead_letters.accept(&entry, &reason).await {
            self.pause_after("park a message", &error, &mut pauses).await?;
        }
        self.context.metrics.parked();
        Ok(())
    }

    /// An entry that the group has not committed, so that the log still has it.
    async fn entry(&self, sequence: u64) -> Result<StoredEntry, LogError> {
        let page = self.context.log.read(self.shard, sequence, ONE_ENTRY).await?;
        let entry = page.entries.into_iter().find(|entry| entry.sequence == sequence);
        entry.ok_or_else(|| LogError::Failed(format!("entry {sequence} is not there any more")))
    }
}

/// A part in two, the first of them at the end.
fn halves(records: &[StoredRecord]) -> [&[StoredRecord]; 2] {
    let (first, second) = records.split_at(records.len() / 2);
    [second, first]
}

/// The last entry that is complete once all before `rest` is stored.
fn before(rest: &[StoredRecord]) -> LogPosition {
    let first = &rest.first().expect("only the last part is empty").origin.log_position;
    LogPosition {
        sequence: first.sequence - 1,
        ..*first
    }
}

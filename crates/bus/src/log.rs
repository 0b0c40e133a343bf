//! `Log`: the durable, ordered record of messages that every consumer reads from, as a trait over its backends.
//!
//! A log is a fixed number of shards; a domain's messages are all in one. Appending pipelines: an entry is taken, and its
//! [`Receipt`] resolves once the entry is durable. Consumers read by position and commit what they have done with.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::time::Instant;
use trunkline_core::error::reason;
use trunkline_core::{Code, DomainId, Fault};
use trunkline_proto::messages::v1::Envelope;

use crate::envelope::{NewEntry, StoredEntry};
use crate::feed::{Feed, locked};

/// The group of the message writer: required, so nothing goes before it is stored.
pub const WRITER_GROUP: &str = "writer";

/// One shard of a log, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub u16);

impl Shard {
    /// The shard of `domain` among `shards`. Part of the format: it never changes.
    pub fn of(domain: DomainId, shards: u16) -> Self {
        // FNV-1a, folded: stable across versions and platforms, and spreads ids that differ in few bits.
        let hash = domain.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let folded = hash ^ (hash >> 32);
        Self(u16::try_from(folded % u64::from(shards.max(1))).expect("the remainder is below a u16"))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Which log gave a sequence: microseconds since the Unix epoch at which it was made. A later one is a later log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub i64);

/// How a record was kept when it was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Not kept.
    None,
    /// Written: survives the end of any process.
    Written,
    /// Written and flushed to the device: survives a power cut.
    Synced,
}

impl Tier {
    /// The word for it in answers, logs and health.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Written => "written",
            Self::Synced => "synced",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A tier, and on how many hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durability {
    /// How each copy is kept.
    pub tier: Tier,
    /// Hosts that hold one.
    pub copies: u8,
}

/// Where an entry is, now that it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The shard that holds it.
    pub shard: Shard,
    /// Its place in the shard.
    pub sequence: u64,
    /// How it was kept.
    pub tier: Tier,
    /// Whether the log held this message id already; the place is then that of the first.
    pub is_duplicate: bool,
}

/// What ran full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// The bytes that one domain may hold.
    Domain,
    /// The bytes that the log may hold.
    Total,
}

/// Why an entry was not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No room, and the oldest entry in the way is not yet committed by every required group.
    #[error("the log is full: {}", match .quota {
        Quota::Domain => "the domain holds as many bytes as it may, and its oldest message is not stored yet",
        Quota::Total => "it holds as many bytes as it may, and its oldest message is not stored yet",
    })]
    Full {
        /// What ran full.
        quota: Quota,
        /// When trying again may succeed.
        retry_after: Duration,
    },
    /// The disk has less free room than the watermark.
    #[error("the disk of the log has less free room than its watermark")]
    DiskLow {
        /// When trying again may succeed.
        retry_after: Duration,
    },
    /// The entry alone is larger than the log or the domain may be.
    #[error("the entry has {bytes} bytes and the log takes at most {bytes_max}")]
    TooLarge {
        /// Bytes of the encoded envelope.
        bytes: usize,
        /// Bytes that it may have.
        bytes_max: usize,
    },
    /// No acknowledgement came in time. Whether the entry was kept is unknown.
    #[error("the log did not answer in time, so it is unknown whether the message was kept")]
    Unanswered,
    /// The log failed or is closing. Whether the entry was kept is unknown.
    #[error("the log is closed")]
    Closed,
}

impl AppendError {
    /// The failure as it is told to publishers.
    pub fn fault(&self) -> Fault {
        let (code, why, wait) = match self {
            Self::Full { retry_after, .. } => (Code::ResourceExhausted, reason::LOG_FULL, Some(*retry_after)),
            Self::DiskLow { retry_after } => (Code::ResourceExhausted, reason::DISK_LOW, Some(*retry_after)),
            Self::TooLarge { .. } => (Code::InvalidArgument, reason::PAYLOAD_TOO_LARGE, None),
            Self::Unanswered | Self::Closed => (
                Code::Unavailable,
                reason::DEPENDENCY_UNAVAILABLE,
                Some(Duration::from_secs(1)),
            ),
        };
        let fault = Fault::new(code, why, self.to_string());
        match wait {
            Some(wait) => fault.retry_after(wait),
            None => fault,
        }
    }
}

/// Why an entry was not taken at once.
#[derive(Debug)]
pub enum TryAppendError {
    /// The queue is full for the moment, or consumers are to come nearer first; here is the entry back. [`Log::append`] waits.
    Busy(NewEntry),
    /// It will not be taken.
    Refused(AppendError),
}

/// Resolves once the entry is durable, or with why it is not. Dropping it does not withdraw the entry.
#[derive(Debug)]
#[must_use = "an entry is acknowledged only when its receipt resolves"]
pub struct Receipt(oneshot::Receiver<Result<Appended, AppendError>>);

/// The backend's end of a [`Receipt`]. Dropping it unsent resolves the receipt as [`AppendError::Closed`].
pub type ReceiptSender = oneshot::Sender<Result<Appended, AppendError>>;

impl Receipt {
    /// A receipt and the end that resolves it.
    pub fn channel() -> (ReceiptSender, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl Future for Receipt {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(AppendError::Closed)))
    }
}

/// Why the log could not answer a consumer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// No such shard.
    #[error("the log has no shard {0}")]
    NoSuchShard(Shard),
    /// No such group; groups are made by [`Log::join`].
    #[error("the log knows no group `{0}`")]
    NoSuchGroup(String),
    /// A stored entry cannot be decoded.
    #[error("entry {sequence} of shard {shard} is damaged")]
    Damaged {
        /// Its shard.
        shard: Shard,
        /// Its place.
        sequence: u64,
    },
    /// The backend failed.
    #[error("the log failed: {0}")]
    Failed(String),
    /// The log failed earlier or is closing.
    #[error("the log is closed")]
    Closed,
}

/// How much one read may give: at least one entry, else at most these.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Entries.
    pub entries: usize,
    /// Bytes of their envelopes.
    pub bytes: usize,
}

impl Default for ReadLimit {
    /// 1,024 entries, 4 MiB.
    fn default() -> Self {
        Self {
            entries: 1_024,
            bytes: 4 * 1024 * 1024,
        }
    }
}

/// What a read gave.
#[derive(Debug, Clone)]
pub struct Page {
    /// Durable entries in order of their sequences; empty when there is no news.
    pub entries: Vec<StoredEntry>,
    /// The sequence to read from next.
    pub next: u64,
    /// Sequences passed over because they were trimmed before this read.
    pub skipped: u64,
}

/// Counters and gauges of a log, for metrics and health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Entries appended durably since start.
    pub appended: u64,
    /// Commits that made them durable.
    pub commits: u64,
    /// Appends that were duplicates.
    pub duplicates: u64,
    /// Appends refused, for whatever reason.
    pub refused: u64,
    /// Unacknowledged appends dropped, since the queue or the log was full.
    pub dropped: u64,
    /// Entries trimmed since start.
    pub trimmed: u64,
    /// Entries waiting to be committed.
    pub queued: u64,
    /// Entries held.
    pub entries: u64,
    /// Envelope bytes held, as quotas count them.
    pub bytes: u64,
}

/// How long an entry without promise may wait for room: long enough for a burst, and shorter than a keep alive.
pub const UNACKNOWLEDGED_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long nobody waits for room without promise once one has waited in vain: the log does not move, and whatever its client sends next
/// would wait behind it.
pub const IN_VAIN_TIME: Duration = Duration::from_secs(10);

/// When an entry without promise waited for room in vain.
#[derive(Debug, Default)]
pub(crate) struct InVain(Mutex<Option<Instant>>);

impl InVain {
    pub(crate) fn note(&self) {
        *locked(&self.0) = Some(Instant::now());
    }

    pub(crate) fn is_recent(&self) -> bool {
        locked(&self.0).is_some_and(|since| since.elapsed() < IN_VAIN_TIME)
    }
}

/// The durable record of messages. Every method may be called from any task.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Number of shards, fixed when the log was made.
    fn shards(&self) -> u16;

    /// What a resolved receipt promises.
    fn durability(&self) -> Durability;

    /// Which log this is.
    fn incarnation(&self) -> Incarnation;

    /// Takes `entry` if there is room in the queue. Entries are appended in the order in which they were taken.
    ///
    /// # Errors
    /// [`TryAppendError::Busy`] gives the entry back: stop reading from publishers and use [`Log::append`].
    fn try_append(&self, entry: NewEntry) -> Result<Receipt, TryAppendError>;

    /// Takes `entry`, waiting for room in the queue; those who wait for that are served in their order. While required consumers
    /// are far behind and moving, a log may hold it back besides, for a second at most. Cancel safe: when dropped before it returned,
    /// the entry was not taken.
    ///
    /// # Errors
    /// The entry will not be taken; a full log or disk may also be told by the receipt.
    async fn append(&self, entry: NewEntry) -> Result<Receipt, AppendError>;

    /// Takes `entry` without promise (QoS 0), if there is room in the queue. One that is refused is dropped and counted; so is one that
    /// finds no room within [`IN_VAIN_TIME`] of another that has waited for it in vain, with [`AppendError::Unanswered`].
    ///
    /// # Errors
    /// [`TryAppendError::Busy`] gives the entry back: stop reading from its publisher and use [`Log::append_unacknowledged`].
    fn try_append_unacknowledged(&self, entry: NewEntry) -> Result<(), TryAppendError>;

    /// Takes `entry` without promise (QoS 0), waiting for room as [`Log::append`] does, for [`UNACKNOWLEDGED_WAIT_MAX`] at most. Cancel
    /// safe: when dropped before it returned, the entry was not taken.
    ///
    /// # Errors
    /// Why it was not taken, but dropped and counted; [`AppendError::Unanswered`] where there was no room in time.
    async fn append_unacknowledged(&self, entry: NewEntry) -> Result<(), AppendError>;

    /// Every unacknowledged entry that is taken from now on, by whichever node, before it is durable: this is how subscribers
    /// get QoS 0 without waiting for a sync. A slow holder loses the oldest and is told how many. Such entries come again
    /// from [`Log::read`], with `qos` 0 in their envelopes.
    fn tap(&self) -> Feed<Arc<Envelope>>;

    /// Durable entries of `shard` from the sequence `from` on. Does not wait for news.
    ///
    /// # Errors
    /// An unknown shard, a damaged entry, a failed backend.
    async fn read(&self, shard: Shard, from: u64, limit: ReadLimit) -> Result<Page, LogError>;

    /// The last durable sequence of `shard`; 0 when nothing was ever appended. Sequences rise, and need not by one.
    ///
    /// # Errors
    /// An unknown shard.
    fn head(&self, shard: Shard) -> Result<u64, LogError>;

    /// The same, asked of the backend: other nodes may have appended what this one has not heard of. [`Log::head`] gives at least this
    /// from then on. Cancel safe.
    ///
    /// # Errors
    /// An unknown shard, a failed backend.
    async fn latest(&self, shard: Shard) -> Result<u64, LogError>;

    /// How many entries of `shard` are known to be beyond `sequence`: about as many, where a log does not number each; 0 only when there is
    /// none.
    ///
    /// # Errors
    /// An unknown shard.
    fn entries_beyond(&self, shard: Shard, sequence: u64) -> Result<u64, LogError>;

    /// Waits until the head of `shard` is beyond `sequence`. Cancel safe.
    ///
    /// # Errors
    /// An unknown shard; [`LogError::Closed`] once no news can come.
    async fn wait(&self, shard: Shard, sequence: u64) -> Result<(), LogError>;

    /// Makes the group `name` if it is new, placing it before the oldest entry held. A required group holds back trimming.
    ///
    /// # Errors
    /// A failed backend.
    async fn join(&self, name: &str, is_required: bool) -> Result<(), LogError>;

    /// The last sequence of `shard` that the group has committed; 0 for none.
    ///
    /// # Errors
    /// An unknown shard or group.
    fn committed(&self, name: &str, shard: Shard) -> Result<u64, LogError>;

    /// Records that the group is done with everything up to `sequence`; returns once that is durable. Moving back is ignored.
    ///
    /// # Errors
    /// An unknown shard or group, a failed backend.
    async fn commit(&self, name: &str, shard: Shard, sequence: u64) -> Result<(), LogError>;

    /// Removes what is older than `keep` and committed by every required group; runs by itself as well. Returns entries removed.
    ///
    /// # Errors
    /// A failed backend.
    async fn trim(&self) -> Result<u64, LogError>;

    /// Counters and gauges.
    fn stats(&self) -> LogStats;

    /// Resolves with one sentence once the log has failed for good. The node must then end: nothing more is acknowledged.
    async fn failed(&self) -> String;

    /// The shard that holds the messages of `domain`.
    fn shard_of(&self, domain: DomainId) -> Shard {
        Shard::of(domain, self.shards())
    }
}

//! `Log` on JetStream: a stream for each shard, pipelined acknowledgements, and news that the server republishes as it stores.
//!
//! **Invariants:** a receipt resolves well only by the server's acknowledgement, and every receipt resolves within
//! [`ACK_WAIT_MAX`] of being taken; what was sent over a connection that broke is sent again in its order, and the server drops
//! what it holds already by the message id.

mod append;
mod books;
mod groups;
mod lanes;
mod pack;
mod places;
mod quota;
mod shared;
mod tail;
mod trim;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{TryAcquireError, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::DropGuard;
use trunkline_proto::messages::v1::Envelope;

use self::append::Appender;
use self::groups::Groups;
use self::lanes::Job;
pub(super) use self::quota::Limits;
use self::shared::cost;
pub(super) use self::shared::{Parts, Shared};
use self::trim::Trimmer;
use super::losses::{self, Watched};
use super::names::Answer;
use super::{NatsError, Trimming, pages};
use crate::envelope::NewEntry;
use crate::feed::Feed;
use crate::log::{
    AppendError, Durability, InVain, Incarnation, Log, LogError, LogStats, Page, ReadLimit, Receipt, Shard,
    TryAppendError, UNACKNOWLEDGED_WAIT_MAX,
};

/// How long an entry may wait for its acknowledgement, from when it was taken. After that nobody knows whether it was kept.
pub const ACK_WAIT_MAX: Duration = Duration::from_secs(10);

/// A log on a server.
pub(super) struct NatsLog {
    shared: Arc<Shared>,
    jobs: mpsc::UnboundedSender<Job>,
    trimmer: Option<Arc<Trimmer>>,
    in_vain: InVain,
}

/// What runs for a log, until it is closed.
pub(super) struct Running {
    shared: Arc<Shared>,
    trimmer: Option<Arc<Trimmer>>,
    appender: JoinHandle<()>,
    /// Ends the tasks of a log that is dropped without being closed.
    _end: DropGuard,
}

impl NatsLog {
    pub(super) async fn open(mut parts: Parts, trimming: Trimming) -> Result<(Arc<Self>, Running), NatsError> {
        parts.facts.incarnation = incarnation(&parts, trimming).await?;
        let shared = Arc::new(Shared::new(parts));
        let trimmer = match trimming {
            Trimming::Here => Some(Trimmer::start(shared.clone()).await),
            Trimming::Elsewhere => {
                quota::follow_reports(&shared);
                None
            }
        };
        let (jobs, queue) = mpsc::unbounded_channel();
        let appender = Appender::new(shared.clone(), trimmer.clone(), queue);
        let appender = tokio::spawn(appender.run());
        let log = Arc::new(Self {
            shared: shared.clone(),
            jobs,
            trimmer: trimmer.clone(),
            in_vain: InVain::default(),
        });
        let running = Running {
            _end: shared.closing.clone().drop_guard(),
            shared,
            trimmer,
            appender,
        };
        Ok((log, running))
    }

    fn check_shard(&self, shard: Shard) -> Result<usize, LogError> {
        if shard.0 < self.shared.parts.facts.shards {
            Ok(usize::from(shard.0))
        } else {
            Err(LogError::NoSuchShard(shard))
        }
    }

    /// What is known to be wrong with `entry` before it is queued.
    fn refusal(&self, entry: &NewEntry) -> Option<AppendError> {
        let (bytes, bytes_max) = (entry.encoded().len(), self.shared.parts.limits.entry_bytes_max);
        (bytes as u64 > bytes_max).then(|| {
            self.shared.counters.refused.fetch_add(1, Relaxed);
            let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
            AppendError::TooLarge { bytes, bytes_max }
        })
    }

    /// Takes room for `entry`, if publishers need not wait.
    fn take_room(&self, entry: NewEntry) -> Result<NewEntry, TryAppendError> {
        if let Some(refusal) = self.refusal(&entry) {
            return Err(TryAppendError::Refused(refusal));
        }
        match self.shared.room.try_acquire_many(cost(&entry)) {
            Ok(room) => room.forget(),
            Err(TryAcquireError::NoPermits) => return Err(TryAppendError::Busy(entry)),
            Err(TryAcquireError::Closed) => return Err(TryAppendError::Refused(AppendError::Closed)),
        }
        Ok(entry)
    }

    /// Counts an entry without promise that is dropped, and says why.
    fn dropped(&self, why: AppendError) -> AppendError {
        self.shared.counters.dropped.fetch_add(1, Relaxed);
        why
    }

    /// Sends `entry` without promise. Listeners of this node get it here; those of others hear the publish itself.
    fn send_unacknowledged(&self, entry: NewEntry) -> Result<(), AppendError> {
        self.shared.tap.send(entry.envelope(), entry.encoded().len());
        self.send(entry, Answer::Unwanted, None)
    }

    /// Queues `entry`, for which room was taken.
    fn queue(&self, entry: NewEntry) -> Result<Receipt, AppendError> {
        let (sender, receipt) = Receipt::channel();
        self.send(entry, Answer::Wanted, Some(sender))?;
        Ok(receipt)
    }

    fn send(
        &self,
        entry: NewEntry,
        answer: Answer,
        receipt: Option<crate::log::ReceiptSender>,
    ) -> Result<(), AppendError> {
        self.shared.counters.queued.fetch_add(1, Relaxed);
        let (id, domain, cost) = (entry.id(), entry.domain(), cost(&entry));
        let job = Job {
            id,
            domain,
            shard: self.shard_of(domain),
            answer,
            goes_alone: entry.may_repeat(),
            payload: entry.into_parts().1.into(),
            receipt,
            deadline: Instant::now() + ACK_WAIT_MAX,
            cost,
            is_answered: false,
        };
        self.jobs.send(job).map_err(|_| AppendError::Closed)
    }
}

/// Which log this is: another one than before if groups are beyond what it holds.
async fn incarnation(parts: &Parts, trimming: Trimming) -> Result<Incarnation, NatsError> {
    let failed = |cause: &dyn std::fmt::Display| NatsError::Failed {
        step: "reading positions",
        cause: cause.to_string(),
    };
    let (state, log) = (&parts.state, parts.log);
    let made = parts.facts.incarnation;
    let (current, expect) = losses::incarnation(&**state, log, made)
        .await
        .map_err(|error| failed(&error))?;
    if trimming == Trimming::Elsewhere {
        return Ok(current);
    }
    let groups = Groups::new(state.clone(), log, parts.facts.shards, current);
    groups.refresh().await.map_err(|error| failed(&error))?;
    // Asked for after the positions, so that what others append and commit meanwhile cannot look like a loss.
    let mut heads = Vec::new();
    for shard in (0..parts.facts.shards).map(Shard) {
        let bounds = pages::bounds(&parts.connection, &parts.names.stream(log, shard)).await;
        heads.push(places::last_of(bounds.map_err(|error| failed(&error))?.last));
    }
    if !groups.are_beyond(&heads) {
        return Ok(current);
    }
    tracing::error!(
        log = log.as_str(),
        ?heads,
        "groups are beyond what the log holds: it lost entries"
    );
    let next = Incarnation(parts.clock.now().micros());
    losses::renew(&**state, log, expect, next)
        .await
        .map_err(|error| failed(&error))?;
    Ok(next)
}

impl Running {
    /// The streams of the log, and what they are known to have stored.
    pub(super) fn watched(&self) -> Vec<Watched> {
        self.shared.watched()
    }

    /// Waits for what was taken and ends all tasks.
    pub(super) async fn close(self) {
        self.shared.room.close();
        self.shared.closing.cancel();
        if let Err(error) = self.appender.await {
            tracing::error!(%error, "the appender of the log ended badly");
        }
        if let Some(trimmer) = &self.trimmer {
            trimmer.release().await;
        }
    }
}

#[async_trait]
impl Log for NatsLog {
    fn shards(&self) -> u16 {
        self.shared.parts.facts.shards
    }

    fn durability(&self) -> Durability {
        self.shared.parts.durability
    }

    fn incarnation(&self) -> Incarnation {
        self.shared.parts.facts.incarnation
    }

    fn try_append(&self, entry: NewEntry) -> Result<Receipt, TryAppendError> {
        let entry = self.take_room(entry)?;
        self.queue(entry).map_err(TryAppendError::Refused)
    }

    async fn append(&self, entry: NewEntry) -> Result<Receipt, AppendError> {
        if let Some(refusal) = self.refusal(&entry) {
            return Err(refusal);
        }
        let room = tokio::time::timeout(ACK_WAIT_MAX, self.shared.room.acquire_many(cost(&entry)));
        let room = room.await.map_err(|_| AppendError::Unanswered)?;
        room.map_err(|_| AppendError::Closed)?.forget();
        self.queue(entry)
    }

    fn try_append_unacknowledged(&self, entry: NewEntry) -> Result<(), TryAppendError> {
        let entry = match self.take_room(entry) {
            Ok(entry) => entry,
            Err(TryAppendError::Refused(refusal)) => return Err(TryAppendError::Refused(self.dropped(refusal))),
            Err(TryAppendError::Busy(_)) if self.in_vain.is_recent() => {
                return Err(TryAppendError::Refused(self.dropped(AppendError::Unanswered)));
            }
            Err(busy) => return Err(busy),
        };
        self.send_unacknowledged(entry).map_err(TryAppendError::Refused)
    }

    async fn append_unacknowledged(&self, entry: NewEntry) -> Result<(), AppendError> {
        if let Some(refusal) = self.refusal(&entry) {
            return Err(self.dropped(refusal));
        }
        let room = self.shared.room.acquire_many(cost(&entry));
        match timeout(UNACKNOWLEDGED_WAIT_MAX, room).await {
            Ok(Ok(room)) => room.forget(),
            Ok(Err(_)) => return Err(self.dropped(AppendError::Closed)),
            Err(_) => {
                self.in_vain.note();
                return Err(self.dropped(AppendError::Unanswered));
            }
        }
        self.send_unacknowledged(entry)
    }

    fn tap(&self) -> Feed<Arc<Envelope>> {
        tail::listen_for_taps(&self.shared);
        self.shared.tap.listen()
    }

    async fn read(&self, shard: Shard, from: u64, limit: ReadLimit) -> Result<Page, LogError> {
        self.check_shard(shard)?;
        self.shared.read(shard, from.max(1), limit).await
    }

    fn head(&self, shard: Shard) -> Result<u64, LogError> {
        let head = *self.shared.shards[self.check_shard(shard)?].head.borrow();
        Ok(places::last_of(head))
    }

    fn entries_beyond(&self, shard: Shard, sequence: u64) -> Result<u64, LogError> {
        let view = &self.shared.shards[self.check_shard(shard)?];
        let messages = (*view.head.borrow()).saturating_sub(places::whole_to(sequence));
        Ok(view.entries_in(messages))
    }

    async fn latest(&self, shard: Shard) -> Result<u64, LogError> {
        self.check_shard(shard)?;
        self.shared.latest(shard).await.map(places::last_of)
    }

    async fn wait(&self, shard: Shard, sequence: u64) -> Result<(), LogError> {
        let index = self.check_shard(shard)?;
        tail::follow(&self.shared, shard, places::whole_to(sequence));
        let mut heard = self.shared.shards[index].heard.subscribe();
        // Both branches only look, so dropping either loses nothing.
        tokio::select! {
            biased;
            news = heard.wait_for(|heard| places::last_of(*heard) > sequence) => news.map(drop).map_err(|_| LogError::Closed),
            () = self.shared.closing.cancelled() => Err(LogError::Closed),
        }
    }

    async fn join(&self, name: &str, is_required: bool) -> Result<(), LogError> {
        self.shared.groups.join(name, is_required).await
    }

    fn committed(&self, name: &str, shard: Shard) -> Result<u64, LogError> {
        let index = self.check_shard(shard)?;
        self.shared.groups.committed(name, index)
    }

    async fn commit(&self, name: &str, shard: Shard, sequence: u64) -> Result<(), LogError> {
        let index = self.check_shard(shard)?;
        self.shared.groups.commit(name, index, sequence).await
    }

    async fn trim(&self) -> Result<u64, LogError> {
        match &self.trimmer {
            Some(trimmer) => trimmer
                .trim()
                .await
                .map_err(|error| LogError::Failed(error.to_string())),
            None => Ok(0),
        }
    }

    fn stats(&self) -> LogStats {
        self.shared.stats()
    }

    async fn failed(&self) -> String {
        self.shared.failed().await
    }
}

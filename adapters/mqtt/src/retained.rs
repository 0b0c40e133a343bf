//! Retained messages: the last message of each topic that was published with the retain flag, kept in `State` and made from the log.
//!
//! The keeper of every node follows the log and brings `State` to what the log says; writes are compared by place in the log, so it does
//! not matter which node comes first or how often an entry is applied. A PUBACK needs to wait for the log alone: after a crash the
//! keeper goes on where it was. Who subscribes waits until the keeper is as far as the log was, and so misses nothing.
//!
//! Before the first message of a shard is retained, the shard is marked in `State`, and from then on every node attends it. A shard
//! without a mark has nothing retained, so nodes without subscribers there need not follow it.
//!
//! **Invariant:** in memory there is only what is needed to find a message, and only of domains that this node serves.

mod index;
mod keeper;
mod record;
mod room;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{mpsc, oneshot, watch};
use trunkline_bus::log::Shard;
use trunkline_bus::state::StateError;
use trunkline_bus::{Log, NewEntry, State, StoredEntry};
use trunkline_core::{ChannelId, Clock, DomainId, SessionId};

use crate::attendance::Attendance;
use crate::limits::{RETAINED_BYTES_MAX, RETAINED_PAGE_BYTES_MAX, RETAINED_PAGE_ENTRIES_MAX, RETAINED_QUEUE_MAX};
use crate::message::Message;
use crate::metrics::Metrics;
use crate::session::Unsent;
use crate::subscription::Subscription;
use index::Index;
use record::{Record, key_of};
use room::Admitted;

pub(crate) use record::Slot;

/// The retained messages, as a node has them.
pub(crate) struct Retained {
    state: Arc<dyn State>,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    attendance: Arc<Attendance>,
    metrics: Arc<Metrics>,
    index: RwLock<Index>,
    admitted: Mutex<Admitted>,
    work: mpsc::Sender<Work>,
    inbox: Mutex<Option<mpsc::Receiver<Work>>>,
    shards: Vec<Progress>,
}

/// How far the keeper is in a shard.
struct Progress {
    applied: watch::Sender<u64>,
    /// Whether `State` has a mark, which is the position that was saved last.
    is_marked: AtomicBool,
    /// Entries on their way to the keeper.
    waiting: AtomicUsize,
}

impl Progress {
    fn advance(&self, sequence: u64) {
        self.applied.send_modify(|applied| *applied = (*applied).max(sequence));
    }
}

/// What the keeper is given.
enum Work {
    /// The node's reader of the log begins a shard after this place.
    Begin(Shard, u64),
    /// A message is to be retained in a shard that was begun after this place.
    Mark(Shard, u64, oneshot::Sender<()>),
    /// An entry with the retain flag.
    Apply(StoredEntry),
    /// There is nothing more up to this place of the shard.
    Reached(Shard, u64),
    /// The messages of a domain are asked for, whose shard was begun after this place.
    Load(DomainId, u64, oneshot::Sender<()>),
}

/// Whether a domain may retain one more message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may.
    Yes,
    /// It has as much as it may have.
    No,
    /// What it has is not known yet: [`Retained::prepare`].
    Unknown,
}

/// What a new subscription is still to be given.
pub(crate) struct Lookup {
    pub(crate) subscription: Arc<Subscription>,
    pub(crate) session_id: SessionId,
    unsent: Unsent,
}

impl Lookup {
    pub(crate) const fn new(subscription: Arc<Subscription>, session_id: SessionId, unsent: Unsent) -> Self {
        Self {
            subscription,
            session_id,
            unsent,
        }
    }
}

impl Retained {
    pub(crate) fn new(
        state: Arc<dyn State>,
        log: Arc<dyn Log>,
        clock: Arc<dyn Clock>,
        attendance: Arc<Attendance>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (work, inbox) = mpsc::channel(RETAINED_QUEUE_MAX);
        let progress = |_| Progress {
            applied: watch::Sender::new(0),
            is_marked: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
        };
        Self {
            shards: (0..log.shards()).map(progress).collect(),
            state,
            log,
            clock,
            attendance,
            metrics,
            index: RwLock::default(),
            admitted: Mutex::default(),
            work,
            inbox: Mutex::new(Some(inbox)),
        }
    }

    /// Tells the keeper that the node's reader of the log begins `shard` after `head`.
    pub(crate) async fn begins(&self, shard: Shard, head: u64) {
        let _ = self.work.send(Work::Begin(shard, head)).await;
    }

    /// Gives the keeper an entry that the node's reader of the log came by; waits while the keeper has enough.
    pub(crate) async fn came_by(&self, entry: StoredEntry) {
        self.shard(entry.shard).waiting.fetch_add(1, Ordering::AcqRel);
        // It ends with the node.
        let _ = self.work.send(Work::Apply(entry)).await;
    }

    /// Tells that the node's reader of the log has given everything up to `sequence`.
    pub(crate) async fn reached(&self, shard: Shard, sequence: u64) {
        let progress = self.shard(shard);
        // The reader alone adds to what waits, so nothing can come between.
        if progress.waiting.load(Ordering::Acquire) == 0 && *progress.applied.borrow() > 0 {
            progress.advance(sequence);
        } else {
            let _ = self.work.send(Work::Reached(shard, sequence)).await;
        }
    }

    /// Whether a message may be retained in `slot`, where it takes the place of one that is there. If so, there is room for it. An empty
    /// one takes none: it removes what is there.
    pub(crate) fn admit(&self, slot: &Slot, entry: &NewEntry) -> Admission {
        let bytes = entry.encoded().len();
        if bytes > RETAINED_BYTES_MAX {
            return Admission::No;
        }
        let is_marked = self
            .shard(self.log.shard_of(slot.domain_id()))
            .is_marked
            .load(Ordering::Acquire);
        // Locked first: what is put into the index meanwhile counts twice and not never.
        let mut admitted = self.admitted();
        let Some(need) = self.index().need(slot, bytes).filter(|_| is_marked) else {
            return Admission::Unknown;
        };
        let envelope = entry.envelope();
        let is_admitted =
            envelope.payload.is_empty() || admitted.admit(slot.domain_id(), &envelope.id, need, self.clock.now_ns());
        match is_admitted {
            true => Admission::Yes,
            false => Admission::No,
        }
    }

    fn admitted(&self) -> MutexGuard<'_, Admitted> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a message may be retained in `domain_id`: every node knows that it must look for it, and it is known how much room
    /// is left. Without end while `State` or the log cannot be reached: whoever waits bounds the time.
    pub(crate) async fn prepare(&self, domain_id: DomainId) {
        let shard = self.log.shard_of(domain_id);
        let Ok(head) = self.attendance.attend(shard).await else {
            return;
        };
        if !self.shard(shard).is_marked.load(Ordering::Acquire) {
            let (done, marked) = oneshot::channel();
            if self.work.send(Work::Mark(shard, head, done)).await.is_ok() {
                let _ = marked.await;
            }
        }
        self.load(domain_id).await;
    }

    /// Waits until it is known what `domain_id` retains. Without end while `State` cannot be reached: whoever waits bounds the time.
    async fn load(&self, domain_id: DomainId) {
        if self.index().has(domain_id) {
            return;
        }
        let shard = self.log.shard_of(domain_id);
        let Ok(head) = self.attendance.attend(shard).await else {
            return;
        };
        let (done, loaded) = oneshot::channel();
        if self.work.send(Work::Load(domain_id, head, done)).await.is_ok() {
            let _ = loaded.await;
        }
    }

    /// The next messages for a new subscription, and what is left to be asked for. Waits without end as [`Retained::load`] does.
    ///
    /// # Errors
    /// `State` cannot be read.
    pub(crate) async fn read(&self, mut lookup: Lookup) -> Result<(Vec<Arc<Message>>, Option<Lookup>), StateError> {
        let (domain_id, channel_id) = lookup.subscription.place();
        self.load(domain_id).await;
        let mut applied = self.shard(self.log.shard_of(domain_id)).applied.subscribe();
        let _ = applied.wait_for(|applied| *applied >= lookup.unsent.up_to).await;
        let (mut messages, mut bytes) = (Vec::new(), 0);
        loop {
            let wants = |subtopic: &str| lookup.subscription.matches(subtopic);
            let after = lookup.unsent.after.as_deref();
            let next = self.index().next((domain_id, channel_id), after, wants);
            let Some(subtopic) = next else {
                return Ok((messages, None));
            };
            let slot = Slot::new(domain_id, channel_id, &subtopic);
            lookup.unsent.after = Some(subtopic);
            let found = self.state.get(&slot.key()).await?;
            let record = found.and_then(|found| Record::decode(found.value));
            if let Some(message) = record.and_then(|record| self.message_for(&lookup, record)) {
                bytes += message.bytes();
                messages.push(message);
            }
            if messages.len() >= RETAINED_PAGE_ENTRIES_MAX || bytes >= RETAINED_PAGE_BYTES_MAX {
                return Ok((messages, Some(lookup)));
            }
        }
    }

    /// The message that is retained in a channel under the subtopic of this digest, if there is one.
    ///
    /// # Errors
    /// `State` cannot be read.
    pub(crate) async fn find(
        &self,
        place: (DomainId, ChannelId),
        digest: [u8; 32],
    ) -> Result<Option<Arc<Message>>, StateError> {
        let found = self.state.get(&key_of(place, digest)).await?;
        let record = found.and_then(|found| Record::decode(found.value));
        let record = record.filter(|record| record.is_set() && !record.has_lapsed(self.clock.now_ns()));
        Ok(record.map(|record| Arc::new(Message::new(Arc::new(record.envelope), Some(record.sequence)))))
    }

    /// What a record holds for a subscription: nothing that comes to it as a new message, that lapsed, or that it published itself and
    /// does not want to hear.
    fn message_for(&self, lookup: &Lookup, record: Record) -> Option<Arc<Message>> {
        let is_news = record.incarnation == self.log.incarnation() && record.sequence > lookup.unsent.up_to;
        let is_unheard = lookup.subscription.options().no_local
            && record.envelope.session_id == lookup.session_id.as_bytes().as_slice();
        let is_there = record.is_set() && !record.has_lapsed(self.clock.now_ns());
        (is_there && !is_news && !is_unheard)
            .then(|| Arc::new(Message::new(Arc::new(record.envelope), Some(record.sequence))))
    }

    fn shard(&self, shard: Shard) -> &Progress {
        &self.shards[usize::from(shard.0)]
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

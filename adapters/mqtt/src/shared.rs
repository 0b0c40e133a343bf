//! Shared subscriptions: each message that matches goes to one member of a group.
//!
//! A group deals its messages from the log alone, at QoS 0 too, so that it knows of each where it is. A member is dealt what it has room
//! for: within its window at QoS 1 and 2, and a few ahead of what its socket takes.

mod dealer;
mod group;
mod room;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_bus::Log;
use trunkline_bus::log::{LogError, Page, ReadLimit};
use trunkline_core::{ChannelId, DomainId, SessionId};

use crate::limits::{CATCH_UP_BYTES_MAX, CATCH_UP_ENTRIES_MAX, SHARED_GROUPS_MAX};
use crate::message::Message;
use crate::metrics::Metrics;
use crate::retry::retry;
use dealer::Read;
pub(crate) use group::{Group, GroupKey, Ticket};
pub(crate) use room::Room;

/// The groups that connections of this node have.
pub(crate) struct Shared {
    log: Arc<dyn Log>,
    replays: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    groups: RwLock<Groups>,
    /// How many there are, for a look without the lock.
    count: AtomicUsize,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// By the channel of their messages.
type Groups = HashMap<(DomainId, ChannelId), Vec<Arc<Group>>>;

/// Why a connection has no place in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotJoined {
    /// The domain has as many groups as it may have here.
    Groups,
    /// The group has as many members as it may have here.
    Members,
}

impl NotJoined {
    /// Every cause, in the order of their numbers.
    pub(crate) const ALL: [Self; 2] = [Self::Groups, Self::Members];

    /// Its name in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Groups => "groups_full",
            Self::Members => "members_full",
        }
    }
}

impl Shared {
    pub(crate) fn new(log: Arc<dyn Log>, replays: Arc<Semaphore>, metrics: Arc<Metrics>) -> Self {
        Self {
            log,
            replays,
            metrics,
            groups: RwLock::default(),
            count: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Ends what groups do once `cancel` says so.
    pub(crate) async fn run(&self, cancel: &CancellationToken) {
        cancel.cancelled().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Stays with a group for a connection whose session is known as `member`, once that deals. What it deals begins where the log ends
    /// when its first member comes. Cancel safe.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) async fn join(self: &Arc<Self>, key: GroupKey, member: SessionId) -> Result<Ticket, NotJoined> {
        let joined = self.find_or_open(key, member);
        let ticket = joined.inspect_err(|cause| self.metrics.shared_refused(*cause).increment())?;
        ticket.group().opened().await;
        Ok(ticket)
    }

    fn find_or_open(self: &Arc<Self>, key: GroupKey, member: SessionId) -> Result<Ticket, NotJoined> {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        let known = groups.get(&key.place).into_iter().flatten();
        if let Some(group) = known.into_iter().find(|group| group.key == key) {
            return group.admit(member).ok_or(NotJoined::Members);
        }
        let of_domain = groups.iter().filter(|((domain_id, _), _)| *domain_id == key.place.0);
        if of_domain.map(|(_, groups)| groups.len()).sum::<usize>() >= SHARED_GROUPS_MAX {
            return Err(NotJoined::Groups);
        }
        let group = Arc::new(Group::new(key));
        let ticket = group.admit(member).ok_or(NotJoined::Members)?;
        groups.entry(group.key.place).or_default().push(Arc::clone(&group));
        self.count.fetch_add(1, Ordering::Relaxed);
        self.metrics.shared_groups.add(1);
        let (shared, stop) = (Arc::clone(self), self.stop.clone());
        self.tasks.spawn(async move {
            stop.run_until_cancelled(shared.serve(&group)).await;
        });
        Ok(ticket)
    }

    /// Gives every group that asks for it a message that came by in the log.
    pub(crate) fn route(&self, message: &Arc<Message>) {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        for group in message
            .place()
            .and_then(|place| groups.get(&place))
            .into_iter()
            .flatten()
        {
            group.route(message);
        }
    }

    /// Whether there is no group.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Does what a group waits for, until nobody has it any more.
    async fn serve(&self, group: &Arc<Group>) {
        if let Err(error) = self.work(group).await {
            tracing::error!(%error, "a shared subscription gets no messages any more: the log cannot be read");
        }
    }

    async fn work(&self, group: &Arc<Group>) -> Result<(), LogError> {
        let shard = self.log.shard_of(group.key.place.0);
        group.begin_after(retry(u32::MAX, || self.log.latest(shard)).await?);
        // What was stored before the router knew of the group is read from the log.
        group.reaches(retry(u32::MAX, || self.log.latest(shard)).await?);
        loop {
            group.work.notified().await;
            if group.is_empty() && self.close(group) {
                return Ok(());
            }
            while let Some(read) = group.to_read() {
                let page = self.read(group, read).await?;
                self.metrics.lost_trimmed.add(group.was_read(read, page));
            }
        }
    }

    /// Reads what a group asked for, when it is its turn.
    async fn read(&self, group: &Group, read: Read) -> Result<Page, LogError> {
        let shard = self.log.shard_of(group.key.place.0);
        let (from, entries) = match read {
            Read::One(sequence) => (sequence, 1),
            Read::From(from) => (from, CATCH_UP_ENTRIES_MAX),
        };
        let limit = ReadLimit {
            entries,
            bytes: CATCH_UP_BYTES_MAX,
        };
        let _turn = self.replays.acquire().await;
        match retry(u32::MAX, || self.log.read(shard, from, limit)).await {
            Err(LogError::Damaged { sequence, .. }) => Ok(Page {
                entries: Vec::new(),
                next: sequence + 1,
                skipped: 1,
            }),
            page => page,
        }
    }

    /// Forgets a group, unless somebody has come to it.
    fn close(&self, group: &Arc<Group>) -> bool {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        if !group.is_empty() {
            return false;
        }
        if let Some(known) = groups.get_mut(&group.key.place) {
            known.retain(|other| !Arc::ptr_eq(other, group));
            if known.is_empty() {
                groups.remove(&group.key.place);
            }
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.metrics.shared_groups.add(-1);
        true
    }
}

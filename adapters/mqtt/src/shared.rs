//! Shared subscriptions: each message that matches goes to one member of a group.
//!
//! A group deals its messages from the log alone, at QoS 0 too, so that it knows of each where it is. A member is dealt what it has room
//! for: within its window at QoS 1 and 2, and a few ahead of what its socket takes. Where a group is in the log, and what members have, is in
//! a record in `State`. Of several nodes with members one deals at a time, and passes the turn on by compare-and-swap of that record.

mod dealer;
mod group;
mod keeper;
mod record;
mod room;
mod shares;
mod standing;
mod sweep;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_bus::log::Shard;
use trunkline_bus::{Log, State};
use trunkline_core::{ChannelId, DomainId, SessionId};

use crate::limits::{LEAVE_TIME_MAX, SHARED_GROUPS_MAX};
use crate::message::Message;
use crate::metrics::Metrics;
use crate::session::{Ended, Sessions};
pub(crate) use group::{Group, GroupKey, Ticket};
pub(crate) use record::KeptMember;
pub(crate) use room::Room;
pub(crate) use standing::Standing;

/// The groups that connections of this node have.
pub(crate) struct Shared {
    log: Arc<dyn Log>,
    state: Arc<dyn State>,
    sessions: Arc<Sessions>,
    replays: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    /// By shard, the place up to which everything came by.
    routed: Vec<AtomicU64>,
    groups: RwLock<Groups>,
    /// How many there are, for a look without the lock.
    count: AtomicUsize,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What groups are made of.
pub(crate) struct Parts {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) state: Arc<dyn State>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) replays: Arc<Semaphore>,
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
    pub(crate) fn new(parts: Parts, metrics: Arc<Metrics>) -> Self {
        let Parts {
            log,
            state,
            sessions,
            replays,
        } = parts;
        Self {
            routed: (0..log.shards()).map(|_| AtomicU64::new(0)).collect(),
            log,
            state,
            sessions,
            replays,
            metrics,
            groups: RwLock::default(),
            count: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Hears what other nodes write, and looks after groups that no node has, until `cancel`; then leaves the groups in order. To be ended
    /// when no connection has one any more.
    pub(crate) async fn run(&self, cancel: &CancellationToken) {
        let working = async { tokio::join!(self.hear(), self.sweep_on()) };
        cancel.run_until_cancelled(working).await;
        self.tasks.close();
        // Others find out that this node is gone where it does not say so in time.
        let _ = timeout(LEAVE_TIME_MAX, self.tasks.wait()).await;
        self.stop.cancel();
        self.tasks.wait().await;
    }

    /// Stays with a group for a connection whose session is known as `member`, once the record of the group says so, and that it waits for
    /// the `kept` member while it is away. What a new group deals begins where the log ends. Cancel safe.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) async fn join(
        self: &Arc<Self>,
        key: GroupKey,
        member: SessionId,
        kept: Option<KeptMember>,
    ) -> Result<Ticket, NotJoined> {
        let joined = self.find_or_open(key, member);
        let ticket = joined.inspect_err(|cause| self.metrics.shared_refused(*cause).increment())?;
        let group = ticket.group();
        let number = match &kept {
            Some(kept) => group.keep(kept.clone(), true),
            None => group.changes(),
        };
        group.is_saved(number).await;
        if group.has(kept.as_ref()) {
            return Ok(ticket);
        }
        if let Some(kept) = kept {
            group.keep(kept, false);
        }
        self.metrics.shared_refused(NotJoined::Groups).increment();
        Err(NotJoined::Groups)
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
        let group = Arc::new(Group::new(key, Arc::clone(self.sessions.standing())));
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

    /// Gives back what the connection of a session has that could not leave it in order, once it is known what of that the session has. A
    /// session that is over is not waited for any more.
    pub(crate) fn give_back_later(self: &Arc<Self>, tickets: Vec<Ticket>, ended: Ended) {
        let (shared, stop) = (Arc::clone(self), self.stop.clone());
        self.tasks.spawn(async move {
            let settled = async {
                let (session, is_over) = shared.sessions.conclude(&ended).await;
                for group in tickets.iter().map(Ticket::group) {
                    let sent = session.iter().flat_map(|session| session.sent_by(group.id()));
                    sent.for_each(|sequence| group.done(sequence));
                    if is_over {
                        group.keep(ended.member.clone(), false);
                    }
                    // What it completed elsewhere since is in the record of the group.
                    group.catch_up().await;
                }
            };
            stop.run_until_cancelled(settled).await;
        });
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

    /// Everything up to `place` of `shard` came by.
    pub(crate) fn reached(&self, shard: Shard, place: u64) {
        self.routed[usize::from(shard.0)].store(place, Ordering::Release);
    }

    fn routed(&self, group: &Group) -> u64 {
        let shard = self.log.shard_of(group.key.place.0);
        self.routed[usize::from(shard.0)].load(Ordering::Acquire)
    }

    /// Whether there is no group.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// The groups that connections here have.
    fn all(&self) -> Vec<Arc<Group>> {
        let groups = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        groups.values().flatten().cloned().collect()
    }

    /// Forgets a group, unless somebody has come to it.
    fn close(&self, group: &Arc<Group>) -> bool {
        let mut groups = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        if !group.is_over() {
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

#[cfg(test)]
mod tests;

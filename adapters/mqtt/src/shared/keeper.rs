//! What a group's task does: it reads the log for the group, and brings the record to what is known here.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval, sleep};
use trunkline_bus::log::{LogError, Page, ReadLimit};
use trunkline_bus::state::{Expect, StateError};

use super::Shared;
use super::dealer::Read;
use super::group::Group;
use super::record::{Record, domain_key};
use super::shares::{Base, Follows};
use crate::limits::{
    CATCH_UP_BYTES_MAX, CATCH_UP_ENTRIES_MAX, RETRY_PAUSE_MAX, RETRY_PAUSE_MIN, SHARED_GROUPS_MAX, SHARED_PAUSE,
};
use crate::retry::retry;

/// Why the record of a group was not brought to what is known here.
enum NotSynced {
    /// Others wrote it meanwhile.
    Conflict,
    /// Shared state does not answer.
    State(StateError),
    /// The record is of another version, or damaged.
    Unreadable,
    /// The log has ended.
    Log(LogError),
}

impl From<StateError> for NotSynced {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Conflict { .. } => Self::Conflict,
            error => Self::State(error),
        }
    }
}

impl Shared {
    /// Does what a group waits for, until nobody here has it any more.
    pub(super) async fn serve(&self, group: &Arc<Group>) {
        if let Err(error) = self.work(group).await {
            tracing::error!(%error, "a shared subscription gets no messages any more: the log cannot be read");
        }
    }

    async fn work(&self, group: &Arc<Group>) -> Result<(), LogError> {
        let mut pauses = interval(SHARED_PAUSE);
        pauses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now_and_then = tokio::select! {
                () = group.work.notified() => false,
                _ = pauses.tick() => true,
            };
            let is_due = || group.is_due(self.routed(group), |node| self.sessions.saw(node));
            if group.is_urgent() || (now_and_then && is_due()) {
                self.sync(group).await?;
            }
            if self.close(group) {
                return Ok(());
            }
            if let Some(read) = group.to_read() {
                let page = self.read(group, read).await?;
                let lost = group.was_read(read, page);
                self.metrics.lost_trimmed.add(lost);
                if matches!(read, Read::One(_)) && lost == 0 {
                    self.metrics.shared_again.increment();
                }
                // There may be more to be read.
                group.work.notify_one();
            }
        }
    }

    /// Brings the record of a group to what is known here, and what is known here to the record. Asks again until that is done.
    async fn sync(&self, group: &Arc<Group>) -> Result<(), LogError> {
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            match self.try_sync(group).await {
                Ok(()) => return Ok(()),
                Err(NotSynced::Conflict) => {}
                Err(NotSynced::Unreadable) => {
                    let key = group.state_key.name();
                    tracing::error!(
                        key,
                        "the record of a shared subscription is not understood, so it has no members here"
                    );
                    group.refuse();
                    return Ok(());
                }
                Err(NotSynced::Log(error)) => return Err(error),
                Err(NotSynced::State(error)) => {
                    if let StateError::TooLarge(_) | StateError::Key(_) = error {
                        group.lock().shares.abandon();
                    }
                    tracing::warn!(%error, "the place of a shared subscription could not be saved, which is tried again");
                    sleep(pause).await;
                    pause = RETRY_PAUSE_MAX.min(pause * 2);
                }
            }
        }
    }

    async fn try_sync(&self, group: &Arc<Group>) -> Result<(), NotSynced> {
        let comeback = self.sessions.standing().up().await;
        let (node, key) = (self.sessions.node_id(), &group.state_key);
        let (changes, may_have_begun) = {
            let mut inner = group.lock();
            (inner.shares.look(), inner.shares.may_have_begun())
        };
        let found = self.state.get(key).await?;
        let (read, revision) = match &found {
            Some(found) => (self.understood(&found.value)?, found.revision),
            // One that may have begun is there already, or is about to be.
            None if !may_have_begun && self.is_full(group).await? => {
                group.refuse();
                return Ok(());
            }
            None => (Record::new(self.log.incarnation(), self.latest(group).await? + 1), 0),
        };
        let mut cleared = read.clone();
        self.bury(key, &mut cleared).await?;
        let base = Base {
            read,
            revision,
            cleared,
            changes,
        };
        // Read before what is at hand is looked at: what came by by then has been put there.
        let routed = self.routed(group);
        let draft = group.lock().draft(base, (node, comeback, routed));
        let revision = match (&found, draft.record.is_over()) {
            (None, true) => revision,
            (Some(_), false) if !draft.is_news => revision,
            (Some(_), true) => self.state.delete(key, revision).await?,
            (None, false) => {
                let value = draft.record.encode();
                self.state.compare_and_swap(key, Expect::Absent, value).await?
            }
            (Some(_), false) => {
                let value = draft.record.encode();
                self.state
                    .compare_and_swap(key, Expect::Revision(revision), value)
                    .await?
            }
        };
        let saved = draft.changes;
        let (follows, was_asleep) = {
            let mut inner = group.lock();
            let follows = inner.adopt(draft, node, revision);
            // It is said of the turn that begins, and of none that comes later.
            let was_asleep = follows == Follows::Turn && std::mem::take(&mut inner.shares.was_asleep);
            (follows, was_asleep)
        };
        group.saved.send_replace(saved);
        match follows {
            // What was stored before the router gave the group anything is read from the log.
            Follows::Turn => group.reaches(self.latest(group).await?, was_asleep),
            Follows::Nothing => group.deal(&mut group.lock()),
        }
        if group.is_urgent() {
            group.work.notify_one();
        }
        Ok(())
    }

    /// A record in the log of now.
    fn understood(&self, value: &[u8]) -> Result<Record, NotSynced> {
        let record = Record::decode(value).ok_or(NotSynced::Unreadable)?;
        Ok(record.adopted(self.log.incarnation()))
    }

    async fn is_full(&self, group: &Group) -> Result<bool, NotSynced> {
        let groups = self.state.list(&domain_key(group.key.place.0)).await?;
        Ok(groups.len() >= SHARED_GROUPS_MAX)
    }

    async fn latest(&self, group: &Group) -> Result<u64, NotSynced> {
        let shard = self.log.shard_of(group.key.place.0);
        retry(u32::MAX, || self.log.latest(shard)).await.map_err(NotSynced::Log)
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
}

//! Groups and the nodes and sessions that are gone: what these had is dealt again, and groups without members are removed.

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use trunkline_bus::feed::FeedError;
use trunkline_bus::state::{Expect, Key, StateError, Versioned};

use super::Shared;
use super::record::{Record, all_key, id_of};
use crate::limits::{RETRY_PAUSE_MAX, SHARED_SWEEP_PAUSE};
use crate::session::Seen;

impl Shared {
    /// Has the groups here look at their records when other nodes write them.
    pub(super) async fn hear(&self) {
        loop {
            if let Ok(mut changes) = self.state.watch(&all_key()).await {
                // What was written before was not heard.
                self.all().iter().for_each(|group| group.heard(u64::MAX));
                loop {
                    match changes.next().await {
                        Ok(change) => {
                            let groups = self.all();
                            let known = groups.iter().filter(|group| group.state_key == change.key);
                            known.for_each(|group| group.heard(change.revision));
                        }
                        Err(FeedError::Lagged(_)) => self.all().iter().for_each(|group| group.heard(u64::MAX)),
                        Err(FeedError::Closed) => break,
                    }
                }
            }
            sleep(RETRY_PAUSE_MAX).await;
        }
    }

    /// Looks at every group, again and again.
    pub(super) async fn sweep_on(&self) {
        let mut sweeps = interval_at(Instant::now() + SHARED_SWEEP_PAUSE, SHARED_SWEEP_PAUSE);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            sweeps.tick().await;
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "groups that nobody is in could not be removed");
            }
        }
    }

    pub(super) async fn sweep(&self) -> Result<(), StateError> {
        for (key, found) in self.state.list(&all_key()).await? {
            match self.sweep_one(&key, found).await {
                // Somebody has come to it, or another node sweeps.
                Ok(()) | Err(StateError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn sweep_one(&self, key: &Key, found: Versioned) -> Result<(), StateError> {
        let Some(before) = Record::decode(&found.value) else {
            return Ok(());
        };
        let mut record = before.clone();
        self.bury(key, &mut record).await?;
        // A client that was refused, was cut off before it had its answer, or may not subscribe any more, is not waited for either.
        let group = id_of(key);
        for member in &before.kept {
            let is_waited_for = match self.sessions.look(member).await? {
                Seen::Gone => false,
                Seen::There(session) => session.is_in(group),
                Seen::Unknown => {
                    let session = member.key.name();
                    tracing::warn!(
                        session,
                        "a group waits for a session that is not understood; a clean start removes it"
                    );
                    true
                }
            };
            if !is_waited_for {
                record.kept.remove(member);
            }
        }
        if record.is_over() {
            self.state.delete(key, found.revision).await?;
        } else if record != before {
            let expect = Expect::Revision(found.revision);
            self.state.compare_and_swap(key, expect, record.encode()).await?;
        }
        Ok(())
    }

    /// Takes out of a record the nodes that do not run any more. What is in the record of a session was not lost with them; while one is not
    /// understood, it may be any of what they had.
    pub(super) async fn bury(&self, key: &Key, record: &mut Record) -> Result<(), StateError> {
        let mut gone = Vec::new();
        for node in record.nodes.iter().map(|share| share.node) {
            if !self.sessions.is_alive(node).await? {
                gone.push(node);
            }
        }
        // While shared state was away nobody renewed: who looks gone may only not have been heard yet.
        if gone.is_empty() || !self.sessions.may_judge() {
            return Ok(());
        }
        let (mut sessions, mut is_known) = (Vec::new(), true);
        for member in &record.kept {
            match self.sessions.look(member).await? {
                Seen::Gone => {}
                Seen::There(session) => sessions.push(session),
                Seen::Unknown => is_known = false,
            }
        }
        match is_known {
            true => gone.into_iter().for_each(|node| record.remove(node)),
            false => record.set_aside(&gone),
        }
        let group = id_of(key);
        let sent = sessions.iter().flat_map(|session| session.sent_by(group));
        sent.for_each(|sequence| record.pass(sequence));
        Ok(())
    }
}

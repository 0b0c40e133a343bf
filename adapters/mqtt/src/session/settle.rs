//! The end of sessions that have no connection: a will is published when it is due, and a record removed when its time is over.
//!
//! Who publishes a will owns the session meanwhile. If it ends in between, the next one publishes the same message under the same id.

use trunkline_bus::state::{Expect, Key, StateError};

use super::record::Record;
use super::store::Sessions;
use crate::limits::{AGENDA_RETRY_PAUSE, WILL_TIME_MAX};

/// What came of publishing the will of a session.
pub(super) enum Executed {
    /// It is done with: the session without it, as this node owns it, and the change that made it so.
    Done(u64, Box<Record>),
    /// It may have been published or not. The record still has it.
    Unknown,
}

impl Sessions {
    /// Does what is due for a session. Says when to look at it again, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// Shared state does not answer, or somebody else has written the session meanwhile and looks after it.
    pub(super) async fn attend(&self, key: &Key) -> Result<Option<i64>, StateError> {
        let Some(found) = self.state.get(key).await? else {
            return Ok(None);
        };
        let Some(record) = Record::decode(&found.value) else {
            return Ok(None);
        };
        let now_ms = self.now_ms();
        if self.hand_to_holder(key) {
            // A connection of this node has it, or is about to.
            let is_ours = record.owner == Some(self.node_id);
            return Ok((!is_ours).then(|| now_ms + retry_ms()));
        }
        if let Some(owner) = record.owner.filter(|owner| *owner != self.node_id) {
            if self.is_alive(owner).await? {
                return Ok(None);
            }
            if !self.nodes.is_steady() {
                return Ok(Some(now_ms + retry_ms()));
            }
        }
        let has_owner = record.owner.is_some();
        let record = record.put_aside(now_ms);
        if record.will_at_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            return match self.execute(key, found.revision, record).await? {
                Executed::Done(revision, record) => self.put_back(key, revision, *record).await,
                Executed::Unknown => Ok(Some(self.now_ms() + retry_ms())),
            };
        }
        match has_owner || record.has_expired(now_ms) {
            true => self.put_back(key, found.revision, record).await,
            false => Ok(record.due_at_ms()),
        }
    }

    /// Leaves a session without an owner, or removes it when its time is over. A node that was taken for gone and is not owns it no more.
    async fn put_back(&self, key: &Key, revision: u64, record: Record) -> Result<Option<i64>, StateError> {
        let record = record.put_aside(self.now_ms());
        if record.content.will.is_none() && record.has_expired(self.now_ms()) {
            self.state.delete(key, revision).await?;
            if record.content.expiry_s > 0 {
                self.wills.metrics.sessions_expired.increment();
            }
            return Ok(None);
        }
        let expect = Expect::Revision(revision);
        self.state.compare_and_swap(key, expect, record.encode()).await?;
        Ok(record.due_at_ms())
    }

    /// Publishes the will of a session that has no connection and is at `revision`, as its owner.
    ///
    /// # Errors
    /// As [`Sessions::attend`].
    pub(super) async fn execute(&self, key: &Key, revision: u64, record: Record) -> Result<Executed, StateError> {
        let Some(will) = record.content.will.clone() else {
            return Ok(Executed::Done(revision, Box::new(record)));
        };
        let mut hold = self.hold(key);
        let mut record = record.put_aside(self.now_ms());
        record.owner = Some(self.node_id);
        hold.is_written = true;
        let expect = Expect::Revision(revision);
        let written = self.state.compare_and_swap(key, expect, record.encode()).await;
        // Whoever asked is told, and looks again after a pause.
        let revision = written.inspect_err(|_| hold.is_written = false)?;
        let published = match self.wills.recall(&will) {
            Some(session) => self.wills.publish(&will, &session, WILL_TIME_MAX).await,
            None => {
                tracing::error!(key = key.name(), "a will is not understood and is not published");
                Ok(())
            }
        };
        // Whoever asked looks after the rest.
        hold.is_written = false;
        if published.is_err() {
            return Ok(Executed::Unknown);
        }
        record.content.will = None;
        Ok(Executed::Done(revision, Box::new(record)))
    }

    /// The same for a session that its client comes back to, if the will is due: its time is over, or the client throws the session away.
    ///
    /// # Errors
    /// As [`Sessions::attend`].
    pub(super) async fn execute_before(
        &self,
        key: &Key,
        revision: u64,
        record: &Record,
        is_clean_start: bool,
    ) -> Result<Option<Executed>, StateError> {
        let now_ms = self.now_ms();
        let mut record = record.clone().put_aside(now_ms);
        if is_clean_start {
            record.content.expiry_s = 0;
        }
        match record.will_at_ms() {
            Some(at_ms) if at_ms <= now_ms => self.execute(key, revision, record).await.map(Some),
            _ => Ok(None),
        }
    }
}

fn retry_ms() -> i64 {
    i64::try_from(AGENDA_RETRY_PAUSE.as_millis()).unwrap_or(i64::MAX)
}

//! Records of sessions in `State`: taken, saved and given up by compare-and-swap, and removed when their time is over.

use std::sync::Arc;

use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;
use trunkline_bus::log::Incarnation;
use trunkline_bus::state::{Expect, Key, State, StateError, Versioned};
use trunkline_core::{ClientId, Clock, NodeId, SessionId};

use super::record::{Content, Record, all_key, client_key, key_of};
use crate::limits::{CLAIM_ATTEMPTS_MAX, SESSION_SWEEP_PAUSE, SESSIONS_PER_CLIENT_MAX};
use crate::machine::Source;

/// The sessions of the platform, as one node takes and leaves them.
pub(crate) struct Sessions {
    state: Arc<dyn State>,
    clock: Arc<dyn Clock>,
    /// This node, for as long as it runs.
    node_id: NodeId,
    incarnation: Incarnation,
}

/// What a client that connects asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) client_id: ClientId,
    pub(crate) mqtt_client_id: &'a str,
    /// What a new session is called.
    pub(crate) session_id: SessionId,
    pub(crate) is_clean_start: bool,
    /// 0 for a session that ends with its connection.
    pub(crate) expiry_s: u32,
}

/// A session that this node owns.
#[derive(Debug)]
pub(crate) struct Owned {
    key: Key,
    /// The change that wrote it last.
    revision: u64,
    epoch: u64,
    pub(crate) session_id: SessionId,
}

/// What a client connects to.
#[derive(Debug)]
pub(crate) struct Claimed {
    /// Its session and what is in it, unless that ends with the connection.
    pub(crate) owned: Option<(Owned, Content)>,
    /// Whether it was there before.
    pub(crate) is_present: bool,
}

/// Why a client has no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotClaimed {
    /// The client has as many sessions as it may have.
    TooMany,
    /// Shared state does not answer, or others write the session all the time.
    Unavailable,
}

/// Why a session was not saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotSaved {
    /// Somebody else has it.
    Lost,
    /// Shared state does not answer; whether it was saved is unknown, and saving again is safe.
    Unavailable,
}

impl From<StateError> for NotClaimed {
    fn from(error: StateError) -> Self {
        tracing::warn!(%error, "a session could not be taken");
        Self::Unavailable
    }
}

impl Sessions {
    pub(crate) fn new(state: Arc<dyn State>, clock: Arc<dyn Clock>, incarnation: Incarnation) -> Self {
        Self {
            state,
            clock,
            node_id: NodeId::new(),
            incarnation,
        }
    }

    /// Removes sessions whose time is over until `cancel`.
    pub(crate) async fn run(&self, cancel: &CancellationToken) {
        let mut sweep = interval_at(Instant::now() + SESSION_SWEEP_PAUSE, SESSION_SWEEP_PAUSE);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = sweep.tick() => {}
            }
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "sessions whose time is over could not be removed");
            }
        }
    }

    /// Takes a session for a client that connects: its old one, a new one, or none that is kept.
    ///
    /// # Errors
    /// The client gets none.
    pub(crate) async fn claim(&self, wish: &Wish<'_>) -> Result<Claimed, NotClaimed> {
        let key = key_of(wish.client_id, wish.mqtt_client_id);
        for _ in 0..CLAIM_ATTEMPTS_MAX {
            let found = self.state.get(&key).await?;
            if let Some(claimed) = self.claim_found(&key, found, wish).await? {
                return Ok(claimed);
            }
        }
        Err(NotClaimed::Unavailable)
    }

    /// `None` when somebody else was first.
    async fn claim_found(
        &self,
        key: &Key,
        found: Option<Versioned>,
        wish: &Wish<'_>,
    ) -> Result<Option<Claimed>, NotClaimed> {
        let record = match &found {
            None => None,
            Some(found) => match Record::decode(&found.value) {
                None if !wish.is_clean_start => {
                    tracing::error!(
                        key = key.name(),
                        "a session is not understood; a clean start removes it"
                    );
                    return Err(NotClaimed::Unavailable);
                }
                record => record,
            },
        };
        let epoch = record.as_ref().map_or(0, |record| record.epoch) + 1;
        let goes_on = record.filter(|record| !wish.is_clean_start && !record.has_expired(self.now_ms()));
        let is_present = goes_on.is_some();
        let record = match goes_on {
            Some(record) => self.adopted(record),
            None if wish.expiry_s > 0 => self.fresh(wish.session_id),
            None => return self.remove(key, found).await,
        };
        let mut record = Record {
            owner: Some(self.node_id),
            epoch,
            left_at_ms: 0,
            ..record
        };
        record.content.expiry_s = wish.expiry_s;
        if found.is_none() && self.is_full(wish.client_id).await? {
            return Err(NotClaimed::TooMany);
        }
        let expect = found.map_or(Expect::Absent, |found| Expect::Revision(found.revision));
        match self.state.compare_and_swap(key, expect, record.encode()).await {
            Ok(revision) => {
                let owned = Owned {
                    key: key.clone(),
                    revision,
                    epoch,
                    session_id: record.session_id,
                };
                Ok(Some(Claimed {
                    owned: Some((owned, record.content)),
                    is_present,
                }))
            }
            Err(StateError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what the connection has made of a session that goes on.
    ///
    /// # Errors
    /// It is owned no more, or it is unknown whether it was written.
    pub(crate) async fn save(&self, owned: &mut Owned, content: &Content) -> Result<(), NotSaved> {
        let record = Record {
            owner: Some(self.node_id),
            left_at_ms: 0,
            ..self.record(owned, content)
        };
        self.write(owned, &record).await
    }

    /// The same when the connection has ended.
    ///
    /// # Errors
    /// As [`Sessions::save`].
    pub(crate) async fn leave(&self, owned: &mut Owned, content: &Content) -> Result<(), NotSaved> {
        let record = self.record(owned, content);
        self.write(owned, &record).await
    }

    async fn write(&self, owned: &mut Owned, record: &Record) -> Result<(), NotSaved> {
        let value = record.encode();
        loop {
            let expect = Expect::Revision(owned.revision);
            match self.state.compare_and_swap(&owned.key, expect, value.clone()).await {
                Ok(revision) => {
                    owned.revision = revision;
                    return Ok(());
                }
                Err(StateError::Conflict { .. }) => self.look_again(owned).await?,
                Err(StateError::Unavailable(_)) => return Err(NotSaved::Unavailable),
                Err(error @ (StateError::TooLarge(_) | StateError::Key(_))) => {
                    tracing::error!(%error, "a session cannot be saved");
                    return Err(NotSaved::Lost);
                }
            }
        }
    }

    /// A session without a connection.
    fn record(&self, owned: &Owned, content: &Content) -> Record {
        Record {
            session_id: owned.session_id,
            owner: None,
            epoch: owned.epoch,
            left_at_ms: self.now_ms(),
            incarnation: self.incarnation,
            content: content.clone(),
        }
    }

    /// Removes a session that ends.
    ///
    /// # Errors
    /// As [`Sessions::save`].
    pub(crate) async fn end(&self, owned: &mut Owned) -> Result<(), NotSaved> {
        loop {
            match self.state.delete(&owned.key, owned.revision).await {
                Ok(_) => return Ok(()),
                Err(StateError::Conflict { .. }) => self.look_again(owned).await?,
                Err(_) => return Err(NotSaved::Unavailable),
            }
        }
    }

    /// Removes the sessions whose time is over. Returns how many.
    ///
    /// # Errors
    /// Shared state does not answer.
    pub(crate) async fn sweep(&self) -> Result<u64, StateError> {
        let mut removed = 0;
        for (key, found) in self.state.list(&all_key()).await? {
            let record = Record::decode(&found.value);
            if record.is_some_and(|record| record.has_expired(self.now_ms())) {
                match self.state.delete(&key, found.revision).await {
                    Ok(_) => removed += 1,
                    // Its client has come back.
                    Err(StateError::Conflict { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(removed)
    }

    /// After a conflict: the revision of the record, if a write of ours whose answer was lost has made it.
    async fn look_again(&self, owned: &mut Owned) -> Result<(), NotSaved> {
        let found = self.state.get(&owned.key).await.map_err(|_| NotSaved::Unavailable)?;
        let found = found.ok_or(NotSaved::Lost)?;
        let record = Record::decode(&found.value).ok_or(NotSaved::Lost)?;
        let is_ours = record.epoch == owned.epoch && record.session_id == owned.session_id;
        if !is_ours || found.revision <= owned.revision {
            return Err(NotSaved::Lost);
        }
        owned.revision = found.revision;
        Ok(())
    }

    async fn remove(&self, key: &Key, found: Option<Versioned>) -> Result<Option<Claimed>, NotClaimed> {
        let none = Claimed {
            owned: None,
            is_present: false,
        };
        let Some(found) = found else {
            return Ok(Some(none));
        };
        match self.state.delete(key, found.revision).await {
            Ok(_) => Ok(Some(none)),
            Err(StateError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn is_full(&self, client_id: ClientId) -> Result<bool, NotClaimed> {
        let sessions = self.state.list(&client_key(client_id)).await?;
        Ok(sessions.len() >= SESSIONS_PER_CLIENT_MAX)
    }

    /// A record that is gone on with. In another log than it was made in, everything is new to it, and nothing that it was sent is there.
    fn adopted(&self, mut record: Record) -> Record {
        if record.incarnation == self.incarnation {
            return record;
        }
        record.incarnation = self.incarnation;
        let content = &mut record.content;
        content.position = 0;
        for subscription in &mut content.subscriptions {
            subscription.since = 0;
        }
        for sent in &mut content.kept.sent {
            if let Source::Log(sequence) = &mut sent.source {
                *sequence = 0;
            }
        }
        record
    }

    fn fresh(&self, session_id: SessionId) -> Record {
        Record {
            session_id,
            owner: None,
            epoch: 0,
            left_at_ms: 0,
            incarnation: self.incarnation,
            content: Content::default(),
        }
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ns() / 1_000_000
    }
}

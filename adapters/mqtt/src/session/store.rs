//! Records of sessions in `State`: taken, saved and given up by compare-and-swap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use trunkline_bus::Live;
use trunkline_bus::log::Incarnation;
use trunkline_bus::state::{Expect, Key, State, StateError, Versioned};
use trunkline_core::{ClientId, Clock, NodeId, SessionId};
use trunkline_mqtt_wire::Utf8Bytes;

use super::agenda::Agenda;
use super::holds::{Hold, Holds};
use super::nodes::Nodes;
use super::record::{Content, Record, client_key, key_of};
use super::settle::Executed;
use crate::limits::{CLAIM_ATTEMPTS_MAX, LOOKS_MAX, SESSIONS_PER_CLIENT_MAX};
use crate::machine::Source;
use crate::shared::Standing;
use crate::will::{Testament, Wills};

/// The sessions of the platform, as one node takes and leaves them.
pub(crate) struct Sessions {
    pub(super) state: Arc<dyn State>,
    pub(super) live: Arc<dyn Live>,
    clock: Arc<dyn Clock>,
    /// This node, for as long as it runs.
    pub(super) node_id: NodeId,
    /// Whether others know that it runs.
    pub(super) standing: Arc<Standing>,
    pub(super) incarnation: Incarnation,
    pub(super) holds: Arc<Holds>,
    pub(super) agenda: Arc<Agenda>,
    pub(super) nodes: Nodes,
    pub(super) wills: Arc<Wills>,
    /// Whether a client had a session here that may outlive its connection.
    has_kept: AtomicBool,
    /// One for each session that may be looked at at once because its connection could not leave it.
    pub(super) looks: Semaphore,
}

/// What a client that connects asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) client_id: ClientId,
    pub(crate) mqtt_client_id: &'a Utf8Bytes,
    /// Whether the MQTT client id was made for it, so that there is no session under it.
    pub(crate) has_new_id: bool,
    /// What a new session is called.
    pub(crate) session_id: SessionId,
    pub(crate) is_clean_start: bool,
    /// 0 for a session that ends with its connection.
    pub(crate) expiry_s: u32,
    /// Where the log ends, for a new session.
    pub(crate) head: u64,
    /// What is to be published when its connection ends without a goodbye. While there is one, there is a record.
    pub(crate) will: Option<&'a Arc<Testament>>,
}

/// A session that this node owns.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(super) hold: Hold,
    /// The change that wrote it last.
    revision: u64,
    pub(super) epoch: u64,
    pub(crate) session_id: SessionId,
}

/// What a client connects to; by default a session that is new and is not kept.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    /// Its session and what is in it, unless that ends with the connection.
    pub(crate) owned: Option<(Owned, Content)>,
    /// Whether it was there before.
    pub(crate) is_present: bool,
    /// Whether it outlives the connection, or was there before: else there is a record for the sake of a will alone.
    pub(crate) is_kept: bool,
    /// The will of the connection before, which was not due.
    pub(crate) will_before: Option<Arc<Testament>>,
    /// Whether the connection that had it last left it in order.
    pub(crate) was_left: bool,
}

/// What there is under a key: a record, unless it is not understood, and the change that wrote it.
type Found = (u64, Option<Record>);

/// The record that was written, with the change that wrote it, and whether the session was there before.
type Taken = (Option<(u64, Record)>, bool);

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
    /// Shared state does not take it. It is owned still, as it was saved last.
    Refused,
}

impl From<StateError> for NotClaimed {
    fn from(error: StateError) -> Self {
        tracing::warn!(%error, "a session could not be taken");
        Self::Unavailable
    }
}

impl Sessions {
    pub(crate) fn new(state: Arc<dyn State>, live: Arc<dyn Live>, clock: Arc<dyn Clock>, wills: Arc<Wills>) -> Self {
        Self {
            state,
            live,
            clock,
            node_id: NodeId::new(),
            incarnation: wills.log.incarnation(),
            standing: Arc::default(),
            holds: Arc::default(),
            agenda: Arc::default(),
            nodes: Nodes::default(),
            wills,
            has_kept: AtomicBool::new(false),
            looks: Semaphore::new(LOOKS_MAX),
        }
    }

    /// Whether a client had a session on this node that may outlive its connection, since the node began.
    pub(crate) fn has_kept(&self) -> bool {
        self.has_kept.load(Ordering::Relaxed)
    }

    /// Takes a session for a client that connects: its old one, a new one, or none that is kept. A will that is due by that is published first.
    ///
    /// # Errors
    /// The client gets none.
    pub(crate) async fn claim(&self, wish: &Wish<'_>) -> Result<Claimed, NotClaimed> {
        if wish.expiry_s > 0 {
            self.has_kept.store(true, Ordering::Relaxed);
        }
        let key = key_of(wish.client_id, wish.mqtt_client_id);
        let mut hold = self.hold_for(&key, (wish.client_id, wish.mqtt_client_id.clone()));
        let mut has_waited = false;
        for _ in 0..CLAIM_ATTEMPTS_MAX {
            let found = self.find(&key, wish).await?;
            let record = found.as_ref().and_then(|(_, record)| record.as_ref());
            let was_left = record.is_none_or(|record| record.was_left);
            let owner = record.and_then(|record| record.owner);
            if let Some(owner) = owner.filter(|owner| *owner != self.node_id && !has_waited) {
                has_waited = true;
                self.await_leaving(&key, wish, owner).await?;
                continue;
            }
            hold.is_written = true;
            let Some(found) = self.settled(&key, found, wish).await? else {
                continue;
            };
            let will_before = found
                .as_ref()
                .and_then(|(_, record)| record.as_ref()?.content.will.clone());
            if let Some((taken, is_present)) = self.claim_found(&key, found, wish).await? {
                // A session without a record may have a connection on another node, too.
                self.tell(wish).await;
                hold.is_written = taken.is_some();
                let owned = taken.map(|(revision, record)| {
                    let owned = Owned {
                        hold,
                        revision,
                        epoch: record.epoch,
                        session_id: record.session_id,
                    };
                    (owned, record.content)
                });
                return Ok(Claimed {
                    is_kept: owned.is_some() && (is_present || wish.expiry_s > 0),
                    owned,
                    is_present,
                    will_before: will_before.filter(|_| is_present),
                    was_left,
                });
            }
        }
        Err(NotClaimed::Unavailable)
    }

    async fn find(&self, key: &Key, wish: &Wish<'_>) -> Result<Option<Found>, NotClaimed> {
        let Some(found) = self.state.get(key).await? else {
            return Ok(None);
        };
        let record = Record::decode(&found.value);
        if record.is_none() && !wish.is_clean_start {
            let key = key.name();
            tracing::error!(key, "a session is not understood; a clean start removes it");
            return Err(NotClaimed::Unavailable);
        }
        Ok(Some((found.revision, record)))
    }

    /// What there is without a will that is due; `None` when somebody else was first.
    async fn settled(
        &self,
        key: &Key,
        found: Option<Found>,
        wish: &Wish<'_>,
    ) -> Result<Option<Option<Found>>, NotClaimed> {
        let Some((revision, Some(record))) = found else {
            return Ok(Some(found));
        };
        match self.execute_before(key, revision, &record, wish.is_clean_start).await {
            Ok(None) => Ok(Some(Some((revision, Some(record))))),
            Ok(Some(Executed::Done(revision, record))) => Ok(Some(Some((revision, Some(*record))))),
            Ok(Some(Executed::Unknown)) => Err(NotClaimed::Unavailable),
            Err(StateError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// `None` when somebody else was first.
    async fn claim_found(&self, key: &Key, found: Option<Found>, wish: &Wish<'_>) -> Result<Option<Taken>, NotClaimed> {
        let (revision, record) = found.map_or((None, None), |(revision, record)| (Some(revision), record));
        let epoch = record.as_ref().map_or(0, |record| record.epoch) + 1;
        // Whatever connection had it is over by now.
        let record = record.map(|record| record.left(self.now_ms()));
        let has_expired = record.as_ref().is_some_and(|record| record.has_expired(self.now_ms()));
        if has_expired && record.as_ref().is_some_and(|record| record.content.expiry_s > 0) {
            self.wills.metrics.sessions_expired.increment();
        }
        let goes_on = record.filter(|_| !wish.is_clean_start && !has_expired);
        let is_present = goes_on.is_some();
        let record = match goes_on {
            Some(record) => self.adopted(record),
            None if wish.expiry_s > 0 || wish.will.is_some() => self.fresh(wish),
            None => return self.remove(key, revision).await,
        };
        let mut record = Record {
            owner: Some(self.node_id),
            epoch,
            left_at_ms: 0,
            was_left: false,
            ..record
        };
        record.content.expiry_s = wish.expiry_s;
        record.content.will = wish.will.cloned();
        if revision.is_none() && self.is_full(wish.client_id).await? {
            return Err(NotClaimed::TooMany);
        }
        let expect = revision.map_or(Expect::Absent, Expect::Revision);
        match self.state.compare_and_swap(key, expect, record.encode()).await {
            Ok(revision) => Ok(Some((Some((revision, record)), is_present))),
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
            was_left: false,
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
        let left = self.write(owned, &record).await;
        if let Ok(()) | Err(NotSaved::Lost) = left {
            owned.hold.is_written = false;
        }
        if let (Ok(()), Some(at_ms)) = (left, record.due_at_ms()) {
            self.note(&owned.hold.key, at_ms);
        }
        left
    }

    async fn write(&self, owned: &mut Owned, record: &Record) -> Result<(), NotSaved> {
        let value = record.encode();
        loop {
            let expect = Expect::Revision(owned.revision);
            match self
                .state
                .compare_and_swap(&owned.hold.key, expect, value.clone())
                .await
            {
                Ok(revision) => {
                    owned.revision = revision;
                    return Ok(());
                }
                Err(StateError::Conflict { .. }) => self.look_again(owned).await?,
                Err(StateError::Unavailable(_)) => return Err(NotSaved::Unavailable),
                Err(error @ (StateError::TooLarge(_) | StateError::Key(_))) => {
                    tracing::error!(%error, "a session cannot be saved");
                    return Err(NotSaved::Refused);
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
            was_left: true,
            incarnation: self.incarnation,
            content: content.clone(),
        }
    }

    /// Removes a session that ends.
    ///
    /// # Errors
    /// As [`Sessions::save`].
    pub(crate) async fn end(&self, owned: &mut Owned) -> Result<(), NotSaved> {
        let ended = loop {
            match self.state.delete(&owned.hold.key, owned.revision).await {
                Ok(_) => break Ok(()),
                Err(StateError::Conflict { .. }) => {
                    if let Err(error) = self.look_again(owned).await {
                        break Err(error);
                    }
                }
                Err(_) => break Err(NotSaved::Unavailable),
            }
        };
        if ended != Err(NotSaved::Unavailable) {
            owned.hold.is_written = false;
        }
        ended
    }

    /// Whether a session is still owned.
    ///
    /// # Errors
    /// It is not, or that is unknown.
    pub(crate) async fn check(&self, owned: &mut Owned) -> Result<(), NotSaved> {
        let found = self
            .state
            .get(&owned.hold.key)
            .await
            .map_err(|_| NotSaved::Unavailable)?;
        match found {
            Some(found) if found.revision == owned.revision => Ok(()),
            Some(found) => self.adopt_own(owned, &found),
            None => Err(NotSaved::Lost),
        }
    }

    /// After a conflict: the revision of the record, if a write of ours whose answer was lost has made it.
    async fn look_again(&self, owned: &mut Owned) -> Result<(), NotSaved> {
        let found = self
            .state
            .get(&owned.hold.key)
            .await
            .map_err(|_| NotSaved::Unavailable)?;
        self.adopt_own(owned, &found.ok_or(NotSaved::Lost)?)
    }

    fn adopt_own(&self, owned: &mut Owned, found: &Versioned) -> Result<(), NotSaved> {
        let record = Record::decode(&found.value).ok_or(NotSaved::Lost)?;
        let is_ours = record.epoch == owned.epoch && record.session_id == owned.session_id;
        if !is_ours || found.revision <= owned.revision {
            return Err(NotSaved::Lost);
        }
        owned.revision = found.revision;
        Ok(())
    }

    async fn remove(&self, key: &Key, revision: Option<u64>) -> Result<Option<Taken>, NotClaimed> {
        let Some(revision) = revision else {
            return Ok(Some((None, false)));
        };
        match self.state.delete(key, revision).await {
            Ok(_) => Ok(Some((None, false))),
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
        (content.position, content.head) = (0, 0);
        for subscription in &mut content.subscriptions {
            (subscription.since, subscription.unsent) = (0, None);
        }
        for sent in &mut content.kept.sent {
            if let Source::Log(sequence) | Source::Shared { sequence, .. } = &mut sent.source {
                *sequence = 0;
            }
        }
        record
    }

    fn fresh(&self, wish: &Wish<'_>) -> Record {
        Record {
            session_id: wish.session_id,
            owner: None,
            epoch: 0,
            left_at_ms: 0,
            was_left: false,
            incarnation: self.incarnation,
            content: Content {
                head: wish.head,
                ..Content::default()
            },
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ns() / 1_000_000
    }
}

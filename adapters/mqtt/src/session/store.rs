//! Records of sessions in `State`: taken, saved and given up by compare-and-swap.

use std::sync::Arc;

use dashmap::DashMap;
use trunkline_bus::Live;
use trunkline_bus::log::Incarnation;
use trunkline_bus::state::{Expect, Key, State, StateError, Versioned};
use trunkline_core::{ClientId, Clock, NodeId, SessionId};

use super::record::{Content, Record, client_key, key_of};
use crate::limits::{CLAIM_ATTEMPTS_MAX, SESSIONS_PER_CLIENT_MAX};
use crate::machine::Source;

/// The sessions of the platform, as one node takes and leaves them.
pub(crate) struct Sessions {
    pub(super) state: Arc<dyn State>,
    pub(super) live: Arc<dyn Live>,
    clock: Arc<dyn Clock>,
    /// This node, for as long as it runs.
    pub(super) node_id: NodeId,
    incarnation: Incarnation,
    holds: Arc<Holds>,
}

/// Keys of sessions that connections of this node have or are taking, with how many they are.
type Holds = DashMap<Key, usize>;

/// A connection's hold on the key of its session.
#[derive(Debug)]
struct Hold {
    holds: Arc<Holds>,
    key: Key,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.alter(&self.key, |_, count| count - 1);
        self.holds.remove_if(&self.key, |_, count| *count == 0);
    }
}

/// What a client that connects asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) client_id: ClientId,
    pub(crate) mqtt_client_id: &'a str,
    /// Whether the MQTT client id was made for it, so that there is no session under it.
    pub(crate) has_new_id: bool,
    /// What a new session is called.
    pub(crate) session_id: SessionId,
    pub(crate) is_clean_start: bool,
    /// 0 for a session that ends with its connection.
    pub(crate) expiry_s: u32,
    /// Where the log ends, for a new session.
    pub(crate) head: u64,
}

/// A session that this node owns.
#[derive(Debug)]
pub(crate) struct Owned {
    key: Key,
    _hold: Hold,
    /// The change that wrote it last.
    revision: u64,
    epoch: u64,
    pub(crate) session_id: SessionId,
}

/// What a client connects to; by default a session that is new and is not kept.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    /// Its session and what is in it, unless that ends with the connection.
    pub(crate) owned: Option<(Owned, Content)>,
    /// Whether it was there before.
    pub(crate) is_present: bool,
    /// Whether the connection that had it last left it in order.
    pub(crate) was_left: bool,
}

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
}

impl From<StateError> for NotClaimed {
    fn from(error: StateError) -> Self {
        tracing::warn!(%error, "a session could not be taken");
        Self::Unavailable
    }
}

impl Sessions {
    pub(crate) fn new(
        state: Arc<dyn State>,
        live: Arc<dyn Live>,
        clock: Arc<dyn Clock>,
        incarnation: Incarnation,
    ) -> Self {
        Self {
            state,
            live,
            clock,
            node_id: NodeId::new(),
            incarnation,
            holds: Arc::default(),
        }
    }

    /// Takes a session for a client that connects: its old one, a new one, or none that is kept.
    ///
    /// # Errors
    /// The client gets none.
    pub(crate) async fn claim(&self, wish: &Wish<'_>) -> Result<Claimed, NotClaimed> {
        let key = key_of(wish.client_id, wish.mqtt_client_id);
        let hold = self.hold(&key);
        let mut has_waited = false;
        for _ in 0..CLAIM_ATTEMPTS_MAX {
            let found = self.state.get(&key).await?;
            let record = found.as_ref().and_then(|found| Record::decode(&found.value));
            let owner = record.and_then(|record| record.owner);
            let was_left = owner.is_none();
            if let Some(owner) = owner.filter(|owner| *owner != self.node_id && !has_waited) {
                has_waited = true;
                self.await_leaving(&key, wish, owner).await?;
                continue;
            }
            if let Some((taken, is_present)) = self.claim_found(&key, found, wish).await? {
                // A session without a record may have a connection on another node, too.
                self.tell(wish).await;
                let owned = taken.map(|(revision, record)| {
                    let owned = Owned {
                        key,
                        _hold: hold,
                        revision,
                        epoch: record.epoch,
                        session_id: record.session_id,
                    };
                    (owned, record.content)
                });
                return Ok(Claimed {
                    owned,
                    is_present,
                    was_left,
                });
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
    ) -> Result<Option<Taken>, NotClaimed> {
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
            None if wish.expiry_s > 0 => self.fresh(wish),
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

    async fn remove(&self, key: &Key, found: Option<Versioned>) -> Result<Option<Taken>, NotClaimed> {
        let Some(found) = found else {
            return Ok(Some((None, false)));
        };
        match self.state.delete(key, found.revision).await {
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
            subscription.since = 0;
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
            incarnation: self.incarnation,
            content: Content {
                head: wish.head,
                ..Content::default()
            },
        }
    }

    /// Whether a connection of this node has the session, or is taking it.
    pub(super) fn is_held(&self, key: &Key) -> bool {
        self.holds.contains_key(key)
    }

    fn hold(&self, key: &Key) -> Hold {
        *self.holds.entry(key.clone()).or_default() += 1;
        Hold {
            holds: Arc::clone(&self.holds),
            key: key.clone(),
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now_ns() / 1_000_000
    }
}

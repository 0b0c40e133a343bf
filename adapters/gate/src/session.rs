//! Who was admitted: the [`Session`] an adapter holds, and the principal that sessions of equal credentials share.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use trunkline_core::{ChannelId, ClientId, CredentialId, DomainId, SessionId};
use uuid::Uuid;

use crate::disturbances::{Counted, Disturbances};
use crate::lease::Lease;
use crate::memory::Memory;
use crate::place::Place;
use crate::{Action, Denial};

/// One admitted connection, or one admitted request.
#[derive(Debug, Clone)]
pub struct Session {
    id: SessionId,
    principal: Arc<Principal>,
}

impl Session {
    pub(crate) fn new(principal: Arc<Principal>) -> Self {
        Self {
            id: SessionId::new(),
            principal,
        }
    }

    /// The session of a client that nothing is remembered of.
    pub(crate) fn recalled(identity: Identity, lease: Lease) -> Self {
        let Identity {
            session_id,
            domain_id,
            client_id,
            credential_id,
        } = identity;
        Self {
            id: session_id,
            principal: Arc::new(Principal::new(domain_id, client_id, credential_id, lease)),
        }
    }

    /// Who was admitted to this session, for [`Gate::recall`](crate::Gate::recall).
    pub fn identity(&self) -> Identity {
        Identity {
            session_id: self.id,
            domain_id: self.principal.domain_id,
            client_id: self.principal.client_id,
            credential_id: self.principal.credential_id,
        }
    }

    /// The same client going on with an earlier session of its own, `id`.
    #[must_use]
    pub fn continuing(self, id: SessionId) -> Self {
        Self { id, ..self }
    }

    /// Id of the session, as envelopes carry it.
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Domain of the client.
    pub fn domain_id(&self) -> DomainId {
        self.principal.domain_id
    }

    /// The client.
    pub fn client_id(&self) -> ClientId {
        self.principal.client_id
    }

    /// The credential that it came with.
    pub fn credential_id(&self) -> CredentialId {
        self.principal.credential_id
    }

    /// Whether nothing happened since its last check that could end it. Cheap enough to be asked for every message.
    pub fn is_undisturbed(&self) -> bool {
        self.principal.is_undisturbed()
    }

    /// The changes of authorization from now on that may concern the session or one of its grants.
    pub fn disturbances(&self) -> Disturbances {
        Disturbances::of(&self.principal)
    }

    pub(crate) fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }
}

/// Who was admitted once: enough to ask what the client may do after its connection is over, and on another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The session.
    pub session_id: SessionId,
    /// Domain of the client.
    pub domain_id: DomainId,
    /// The client.
    pub client_id: ClientId,
    /// The credential that it came with.
    pub credential_id: CredentialId,
}

/// One decision in favour of a client: it may use a channel by one action.
pub struct Grant {
    domain_id: DomainId,
    channel_id: ChannelId,
    is_withdrawn: AtomicBool,
    lease: Lease,
}

impl Grant {
    pub(crate) const fn new(domain_id: DomainId, channel_id: ChannelId, lease: Lease) -> Self {
        Self {
            domain_id,
            channel_id,
            is_withdrawn: AtomicBool::new(false),
            lease,
        }
    }

    /// Domain of the channel.
    pub const fn domain_id(&self) -> DomainId {
        self.domain_id
    }

    /// The channel.
    pub const fn channel_id(&self) -> ChannelId {
        self.channel_id
    }

    /// Whether the decision may still be relied on. Once false, the gate must be asked again.
    pub fn holds(&self) -> bool {
        !self.is_withdrawn.load(Ordering::Acquire) && self.lease.is_held()
    }

    pub(crate) fn withdraw(&self) {
        self.is_withdrawn.store(true, Ordering::Release);
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut grant = formatter.debug_struct("Grant");
        grant
            .field("channel_id", &self.channel_id)
            .field("holds", &self.holds())
            .finish()
    }
}

/// A client with the credential it was admitted by. Sessions with equal credentials share it, and with it the decisions.
pub(crate) struct Principal {
    domain_id: DomainId,
    client_id: ClientId,
    credential_id: CredentialId,
    is_disturbed: AtomicBool,
    pub(crate) disturbances: Counted,
    memory: RwLock<Memory>,
    lease: Lease,
    /// Held while one decision is being made, so that equal questions wait for one call.
    pub(crate) deciding: tokio::sync::Mutex<()>,
}

impl Principal {
    pub(crate) fn new(domain_id: DomainId, client_id: ClientId, credential_id: CredentialId, lease: Lease) -> Self {
        Self {
            domain_id,
            client_id,
            credential_id,
            is_disturbed: AtomicBool::new(false),
            disturbances: Counted::default(),
            memory: RwLock::default(),
            lease,
            deciding: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) const fn domain_id(&self) -> DomainId {
        self.domain_id
    }

    pub(crate) const fn client_id(&self) -> ClientId {
        self.client_id
    }

    pub(crate) fn is_undisturbed(&self) -> bool {
        !self.is_disturbed.load(Ordering::Acquire) && self.lease.is_held()
    }

    /// The remembered answer for `place`, if it may still be given.
    pub(crate) fn recall(&self, action: Action, place: &Place) -> Option<Result<Arc<Grant>, Denial>> {
        if !self.is_undisturbed() {
            return None;
        }
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        memory.recall(action, place)
    }

    /// Remembers an answer, unless `is_current` says, under the lock that changes take too, that it is from before a change.
    pub(crate) fn remember(
        &self,
        action: Action,
        place: &Place,
        answer: &Result<Arc<Grant>, Denial>,
        is_current: impl FnOnce() -> bool,
    ) -> bool {
        let mut memory = self.memory_mut();
        let is_current = is_current();
        if is_current {
            memory.remember(action, place, answer);
        }
        is_current
    }

    /// Forgets what a change has touched. Returns only when nothing of it can be recalled or holds any more.
    pub(crate) fn apply(&self, is_touched: impl Fn(Uuid) -> bool) {
        let mut memory = self.memory_mut();
        let ids = [self.domain_id.uuid(), self.client_id.uuid(), self.credential_id.uuid()];
        let is_whole = ids.into_iter().any(&is_touched);
        if is_whole {
            self.is_disturbed.store(true, Ordering::Release);
        }
        let is_news = memory.apply(is_whole, is_touched) || is_whole;
        drop(memory);
        if is_news {
            self.disturbances.tell();
        }
    }

    /// Takes the client for enabled again, unless `is_current` says, under the lock that changes take too, that this is old news.
    pub(crate) fn reassure(&self, is_current: impl FnOnce() -> bool) -> bool {
        let memory = self.memory_mut();
        let is_current = is_current();
        if is_current {
            self.is_disturbed.store(false, Ordering::Release);
        }
        drop(memory);
        is_current
    }

    fn memory_mut(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut principal = formatter.debug_struct("Principal");
        principal
            .field("domain_id", &self.domain_id)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

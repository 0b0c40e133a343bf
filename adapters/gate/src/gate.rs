//! The gate itself: one trait, with the platform's implementation and the open one of the test broker.

use std::sync::Arc;

use async_trait::async_trait;
use trunkline_core::{ChannelId, DomainId};

use crate::{Credentials, Denial, Grant, Identity, Refusal, Session};

/// What a client wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Send a message to a topic name.
    Publish,
    /// Receive the messages that a topic filter matches.
    Subscribe,
}

/// Decides who is admitted and what the admitted may do.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// Admits the owner of `credentials`.
    ///
    /// # Errors
    /// Why it is not admitted; [`Refusal::Unavailable`] whenever that cannot be known.
    async fn connect(&self, credentials: Credentials) -> Result<Session, Refusal>;

    /// Whether `session` may use `topic`, a name or a filter by `action`, when that is known already. `None` asks for [`Gate::may`].
    fn may_warm(&self, session: &Session, action: Action, topic: &str) -> Option<Result<Permit, Denial>>;

    /// Whether `session` may use `topic`, a name or a filter by `action`.
    ///
    /// # Errors
    /// Why it may not; [`Denial::Unavailable`] whenever that cannot be known.
    async fn may(&self, session: &Session, action: Action, topic: &str) -> Result<Permit, Denial>;

    /// Whether the client of `session` is still enabled, after [`Session::is_undisturbed`] became false.
    ///
    /// # Errors
    /// Why the session must end; [`Refusal::Unavailable`] asks to try again and to do nothing for the session meanwhile.
    async fn recheck(&self, session: &Session) -> Result<(), Refusal>;

    /// The session of a client that was admitted before, by any node, and has no connection. Nothing is known of what it may do now: each
    /// [`Gate::may`] asks.
    fn recall(&self, identity: Identity) -> Session;
}

/// The permission to use one topic: where it leads, and where in its text the subtopic begins.
#[derive(Debug, Clone)]
pub struct Permit {
    /// The decision behind it, which may lapse.
    pub grant: Arc<Grant>,
    /// Offset in bytes of the subtopic in the topic's text; the text's length when there is none.
    pub subtopic_at: usize,
}

impl Permit {
    /// Domain of the channel.
    pub fn domain_id(&self) -> DomainId {
        self.grant.domain_id()
    }

    /// Channel that the topic leads to.
    pub fn channel_id(&self) -> ChannelId {
        self.grant.channel_id()
    }

    /// The subtopic of `topic`, the text that the permission was asked for; empty when there is none.
    pub fn subtopic<'topic>(&self, topic: &'topic str) -> &'topic str {
        topic.get(self.subtopic_at..).unwrap_or_default()
    }
}

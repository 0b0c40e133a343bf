//! The open gate of the test broker: free topics, no authentication.

use std::sync::Arc;

use async_trait::async_trait;
use trunkline_core::digest::{DigestKey, KEY_BYTES};
use trunkline_core::{ChannelId, ClientId, CredentialId, DomainId};
use uuid::Uuid;

use crate::lease::Lease;
use crate::session::Principal;
use crate::{Action, Credentials, Denial, Gate, Grant, Identity, Permit, Realm, Refusal, Session};

/// Admits everybody to everything: every topic is a subtopic of one channel in one domain, spelled as it is.
///
/// For testing only. Topics and topic filters can be closed, to test what clients do when they are refused.
pub struct OpenGate {
    grant: Arc<Grant>,
    names: DigestKey,
    denied_filters: Vec<String>,
    is_topic_denied: Box<dyn Fn(&str) -> bool + Send + Sync>,
}

impl OpenGate {
    /// A gate that denies subscribing to exactly `denied_filters`.
    pub fn new(denied_filters: Vec<String>) -> Self {
        let domain_id = DomainId::from_uuid(Uuid::nil());
        let channel_id = ChannelId::from_uuid(Uuid::nil());
        Self {
            grant: Arc::new(Grant::new(domain_id, channel_id, Lease::unlimited())),
            names: DigestKey::new([0; KEY_BYTES]),
            denied_filters,
            is_topic_denied: Box::new(|_| false),
        }
    }

    /// The same gate, which denies publishing to the topics that `is_topic_denied` says.
    #[must_use]
    pub fn denying_publish(self, is_topic_denied: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self {
            is_topic_denied: Box::new(is_topic_denied),
            ..self
        }
    }

    /// Withdraws all that it permits, as a change of authorization does: no grant of it holds from now on.
    pub fn withdraw(&self) {
        self.grant.withdraw();
    }

    fn decide(&self, action: Action, topic: &str) -> Result<Permit, Denial> {
        let is_denied = match action {
            Action::Publish => (self.is_topic_denied)(topic),
            Action::Subscribe => self.denied_filters.iter().any(|denied| denied == topic),
        };
        if is_denied {
            return Err(Denial::NotAuthorized);
        }
        Ok(Permit {
            grant: Arc::clone(&self.grant),
            subtopic_at: 0,
        })
    }
}

#[async_trait]
impl Gate for OpenGate {
    /// Clients with equal user names are one principal, so that they can take each other's sessions.
    async fn connect(&self, credentials: Credentials) -> Result<Session, Refusal> {
        let name = match credentials.realm {
            Realm::Client(name) | Realm::Domain(name) => name,
            Realm::Certificate(client_id) => client_id.to_string(),
        };
        let digest = self.names.digest(&[name.as_bytes()]);
        let client_id = ClientId::from_slice(&digest[..16]).expect("half of a digest has 16 bytes");
        let credential_id = CredentialId::from_uuid(Uuid::nil());
        let principal = Principal::new(self.grant.domain_id(), client_id, credential_id, Lease::unlimited());
        Ok(Session::new(Arc::new(principal)))
    }

    fn may_warm(&self, _: &Session, action: Action, topic: &str) -> Option<Result<Permit, Denial>> {
        Some(self.decide(action, topic))
    }

    async fn may(&self, _: &Session, action: Action, topic: &str) -> Result<Permit, Denial> {
        self.decide(action, topic)
    }

    async fn recheck(&self, _: &Session) -> Result<(), Refusal> {
        Ok(())
    }

    fn recall(&self, identity: Identity) -> Session {
        Session::recalled(identity, Lease::unlimited())
    }
}

//! The use cases of `auth`, one method each, caller first. Product decisions about users, domains and roles live here alone.

mod domains;
pub mod objects;
pub mod roles;
mod users;

use std::sync::Arc;

use trunkline_bus::revision::{Revisions, Scope};
use trunkline_core::{Clock, DomainId};
use uuid::Uuid;

use crate::decider::Decider;
use crate::error::Error;
use crate::forest::Forest;
use crate::password::Hasher;
use crate::store::Store;
use crate::token::Tokens;

/// Everything that the use cases work with, cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub(crate) store: Store,
    pub(crate) forest: Arc<Forest>,
    pub(crate) decider: Arc<Decider>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) hasher: Hasher,
    pub(crate) revisions: Revisions,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Service {
    /// Tells every node that something in a domain was granted. Nobody waits for it, and a node that did not hear of it asks anew when
    /// its memory of a denial ends, so a failure is no reason to fail what was granted.
    async fn granted(&self, domain: DomainId, touched: &[Uuid]) -> u64 {
        let revision = self.revisions.grant(Scope::Domain(domain), touched).await;
        revision.unwrap_or_else(|error| {
            tracing::warn!(domain.id = %domain, %error, "a grant could not be announced");
            0
        })
    }

    /// Passes the outcome of a write on. When it is unclear whether the write was committed, the domain's tree is dropped, so that the
    /// next question reads it anew.
    fn in_step<T>(&self, domain: DomainId, written: Result<T, trunkline_db::Error>) -> Result<T, trunkline_db::Error> {
        if written.is_err() {
            self.forest.forget(domain);
        }
        written
    }

    /// Waits until every live node has applied that something in a domain was revoked.
    async fn revoked(&self, domain: DomainId, touched: &[Uuid]) -> Result<u64, Error> {
        let revision = self.revisions.revoke(Scope::Domain(domain), touched).await;
        revision.map_err(|error| {
            tracing::warn!(domain.id = %domain, %error, "a revocation is not confirmed");
            Error::Refused(error.fault())
        })
    }
}

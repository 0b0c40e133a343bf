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
    /// Tells every node that something in a domain was granted. Nobody waits for it.
    async fn granted(&self, domain: DomainId, touched: &[Uuid]) -> Result<u64, Error> {
        let revision = self.revisions.grant(Scope::Domain(domain), touched).await;
        revision.map_err(|error| Error::Bus {
            operation: "announcing a grant",
            message: error.to_string(),
        })
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

//! Users, tokens, domains, roles and the object tree: who somebody is, and what he may.
//!
//! Owns users and their passwords, access tokens, domains, roles with their actions and members, and the tree of all objects that
//! actions are held on. Answers every question about a user: authenticate, authorize, expand. What a client may do is not asked
//! here: that is the connection table of `channels`.
//!
//! **Invariants:** the database is the truth and the tree in memory is equal to it after every commit; one evaluator answers
//! checks, lists and explanations; the id of a removed object is never given out again; whatever takes a right away answers after
//! every live node has applied it; passwords are argon2id, and nothing here stores or logs a token.

pub mod actions;
mod convert;
mod decider;
pub mod domain;
pub mod error;
pub mod evaluate;
mod forest;
mod password;
mod rpc;
pub mod service;
pub mod store;
mod token;
pub mod tree;
pub mod user;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tonic::service::Routes;
use trunkline_bus::revision::Revisions;
use trunkline_core::{Clock, DomainId};
use trunkline_db::Db;
use trunkline_proto::auth::v1::auth_service_server::AuthServiceServer;
use trunkline_proto::auth::v1::roles_service_server::RolesServiceServer;
use trunkline_proto::domains::v1::domains_service_server::DomainsServiceServer;
use trunkline_proto::events::v1::Event;
use trunkline_proto::guards;
use trunkline_proto::users::v1::users_service_server::UsersServiceServer;
use trunkline_rpc::{Authorizer, RpcGuard};
use uuid::Uuid;

pub use error::Error;
pub use service::Service;
pub use token::ACCESS_TOKEN_S;

use decider::Decider;
use forest::Forest;
use password::Hasher;
use store::Store;
use token::Tokens;

/// The proto names of the services that run here.
pub const SERVICES: [&str; 4] = [
    "trunkline.auth.v1.AuthService",
    "trunkline.auth.v1.RolesService",
    "trunkline.users.v1.UsersService",
    "trunkline.domains.v1.DomainsService",
];

/// Configuration of this service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the database; a file in the data folder when absent.
    pub database_url: Option<String>,
}

/// What this service needs from its surroundings.
pub struct Deps {
    /// Its database.
    pub db: Db,
    /// The authorization revision of every domain.
    pub revisions: Revisions,
    /// The 32 bytes of the Ed25519 key that tokens are signed with.
    pub token_key: [u8; 32],
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

/// The running service.
#[derive(Clone)]
pub struct Auth {
    service: Arc<Service>,
    guard: Arc<RpcGuard>,
}

impl Auth {
    /// Opens the service over its database.
    ///
    /// # Errors
    /// When a key or a cost parameter is refused.
    pub fn open(deps: Deps) -> Result<Self, Error> {
        let store = Store::new(deps.db);
        let forest = Arc::new(Forest::new(store.clone()));
        let tokens = Arc::new(Tokens::new(&deps.token_key)?);
        let decider = Arc::new(Decider::new(
            store.clone(),
            forest.clone(),
            tokens.clone(),
            deps.clock.clone(),
        ));
        let guard = Arc::new(RpcGuard::new(decider.clone() as Arc<dyn Authorizer>));
        let service = Service {
            store,
            forest,
            decider,
            tokens,
            hasher: Hasher::new()?,
            revisions: deps.revisions,
            clock: deps.clock,
        };
        Ok(Self {
            service: Arc::new(service),
            guard,
        })
    }

    /// The use cases, for whoever opens the platform: it makes the first administrator.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Takes notice of what happened elsewhere: an entity whose owner has it is no longer pending in the tree. Without effect when
    /// repeated.
    ///
    /// # Errors
    /// When the database fails; the event is then to be told again.
    pub async fn notice(&self, event: &Event) -> Result<(), Error> {
        let ids = (
            DomainId::from_slice(&event.domain_id),
            Uuid::from_slice(&event.object_id),
        );
        if let ("client.create" | "channel.create", (Some(domain_id), Ok(id))) = (event.r#type.as_str(), ids) {
            let activated = self.service.store.activate(domain_id, id).await;
            activated.map_err(Error::database("activating an object"))?;
        }
        Ok(())
    }

    /// The service's contracts behind their guards.
    pub fn routes(&self) -> Routes {
        let (service, guard) = (&self.service, &self.guard);
        Routes::new(AuthServiceServer::new(guards::auth_service::Guarded::new(
            service.clone(),
            guard.clone(),
        )))
        .add_service(RolesServiceServer::new(guards::roles_service::Guarded::new(
            service.clone(),
            guard.clone(),
        )))
        .add_service(UsersServiceServer::new(guards::users_service::Guarded::new(
            service.clone(),
            guard.clone(),
        )))
        .add_service(DomainsServiceServer::new(guards::domains_service::Guarded::new(
            service.clone(),
            guard.clone(),
        )))
    }
}

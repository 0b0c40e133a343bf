//! Use cases about domains.

use trunkline_core::error::Code;
use trunkline_core::{DomainId, RoleId, UserId};
use trunkline_db::{Page, Total};
use trunkline_proto::guard::Entity;
use trunkline_rpc::UserCaller;

use super::Service;
use crate::actions;
use crate::domain::{Domain, Filter, NewDomain, NewRole, RoleName};
use crate::error::{Error, reasons};
use crate::store::{ObjectRow, RoleRow};
use crate::tree::{Role, Status};

impl Service {
    /// Creates a domain with the caller as member of its built-in role.
    ///
    /// # Errors
    /// ROUTE_TAKEN or ID_TAKEN.
    pub async fn create_domain(&self, caller: &UserCaller, new: NewDomain) -> Result<Domain, Error> {
        let now = self.clock.now();
        let id = new.id.unwrap_or_default();
        let domain = Domain {
            id,
            route: new.route,
            name: new.name,
            tags: new.tags,
            metadata: new.metadata,
            status: Status::Enabled,
            created_by: caller.id,
            created_at: now,
            updated_at: now,
            updated_by: None,
        };
        let object = ObjectRow {
            domain_id: id,
            id: id.uuid(),
            entity: Entity::Domain,
            parent: None,
            status: Status::Enabled,
            is_removed: false,
            created_by: caller.id,
        };
        let role = built_in_role(Entity::Domain, caller.id);
        let row = RoleRow {
            domain_id: id,
            id: RoleId::new(),
            entity_id: id.uuid(),
            is_built_in: true,
            role: &role,
            created_by: caller.id,
        };
        let inserted = self.store.insert_domain(&domain, &object, &row).await;
        self.in_step(id, inserted).map_err(taken)?;
        // Whoever asked for the domain before it was there may have its empty tree; the next question loads it.
        self.forest.forget(id);
        self.granted(id, &[id.uuid()]).await;
        Ok(domain)
    }

    /// Shows a domain.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn domain(&self, id: DomainId) -> Result<Domain, Error> {
        let domain = self
            .store
            .domain(id)
            .await
            .map_err(Error::database("reading a domain"))?;
        domain.ok_or_else(|| Error::not_found("domain"))
    }

    /// Lists the domains that the caller is a member of; all for administrators of the platform.
    ///
    /// # Errors
    /// That the database failed.
    pub async fn domains(
        &self,
        caller: &UserCaller,
        filter: Filter,
        page: Page,
    ) -> Result<(Total, Vec<Domain>), Error> {
        let member = (!caller.platform_admin).then_some(caller.id);
        let filter = Filter { member, ..filter };
        self.store
            .domains(&filter, page)
            .await
            .map_err(Error::database("listing domains"))
    }

    /// Enables a domain.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn enable_domain(&self, caller: &UserCaller, id: DomainId) -> Result<(), Error> {
        self.set_domain_status(caller, id, Status::Enabled).await?;
        self.granted(id, &[id.uuid()]).await;
        Ok(())
    }

    /// Disables a domain; answers when nothing in it publishes or receives any more.
    ///
    /// # Errors
    /// NOT_FOUND, or REVOCATION_PENDING when a node did not confirm it in time.
    pub async fn disable_domain(&self, caller: &UserCaller, id: DomainId) -> Result<(), Error> {
        self.set_domain_status(caller, id, Status::Disabled).await?;
        self.revoked(id, &[id.uuid()]).await.map(drop)
    }

    /// The id of the domain that a route or id stands for.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn resolve_domain(&self, text: &str) -> Result<DomainId, Error> {
        if let Ok(id) = text.parse() {
            return self.domain(id).await.map(|domain| domain.id);
        }
        let route = trunkline_bus::topic::Route::parse(text).ok_or_else(|| Error::not_found("domain"))?;
        let found = self
            .store
            .domain_by_route(&route)
            .await
            .map_err(Error::database("resolving a domain"))?;
        found.ok_or_else(|| Error::not_found("domain"))
    }

    async fn set_domain_status(&self, caller: &UserCaller, id: DomainId, status: Status) -> Result<(), Error> {
        self.domain(id).await?;
        let grown = self.forest.writing(id).await?;
        let changed = self
            .store
            .set_domain_status(id, status, self.clock.now(), caller.id)
            .await;
        self.in_step(id, changed)
            .map_err(Error::database("changing a domain's status"))?;
        grown.change(|tree| tree.put_object(id.uuid(), Entity::Domain, None, status));
        Ok(())
    }
}

/// The role that every entity is made with: all actions of its kind, held by who made it.
pub(super) fn built_in_role(entity: Entity, creator: UserId) -> NewRole {
    NewRole {
        name: RoleName::admin(),
        actions: actions::available(entity),
        members: vec![creator],
    }
}

/// A role as the tree keeps it.
pub(super) fn held_role(entity_id: uuid::Uuid, role: &NewRole) -> Role {
    Role {
        entity_id,
        actions: role.actions.iter().cloned().collect(),
        members: role.members.iter().copied().collect(),
    }
}

fn taken(error: trunkline_db::Error) -> Error {
    if error.is_conflict("domains_route_key") {
        return Error::refused(Code::AlreadyExists, reasons::ROUTE_TAKEN, "route not available");
    }
    if ["domains_pkey", "objects_pkey", "objects_id_key"]
        .iter()
        .any(|name| error.is_conflict(name))
    {
        return Error::refused(Code::AlreadyExists, reasons::ID_TAKEN, "domain already exists");
    }
    Error::database("creating a domain")(error)
}

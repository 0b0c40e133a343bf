//! Use cases of the object tree, called by the services that own the entities.

use trunkline_core::error::Code;
use trunkline_core::{DomainId, RoleId, UserId};
use trunkline_proto::guard::Entity;
use uuid::Uuid;

use super::Service;
use super::domains::{built_in_role, held_role};
use crate::error::{Error, reasons};
use crate::store::{ObjectRow, RoleRow};
use crate::tree::{GROUP_DEPTH_MAX, Status};

/// An object to enter into the tree.
#[derive(Debug, Clone, Copy)]
pub struct NewObject {
    /// Its kind.
    pub entity: Entity,
    /// Its id.
    pub id: Uuid,
    /// Its domain.
    pub domain_id: DomainId,
    /// Its group.
    pub parent: Option<Uuid>,
}

impl Service {
    /// Enters an object with its built-in role and `creator` as member. The same call again changes nothing.
    ///
    /// # Errors
    /// ID_TAKEN when the id belongs to another object or to one that is gone.
    pub async fn register(&self, creator: UserId, new: NewObject) -> Result<u64, Error> {
        let grown = self.forest.writing(new.domain_id).await?;
        if let Some(parent) = new.parent {
            let is_group = grown
                .read()
                .object(parent)
                .is_some_and(|object| object.entity == Entity::Group);
            is_group.then_some(()).ok_or_else(|| Error::not_found("group"))?;
        }
        let object = ObjectRow {
            domain_id: new.domain_id,
            id: new.id,
            entity: new.entity,
            parent: new.parent,
            status: Status::Enabled,
            is_removed: false,
            created_by: creator,
        };
        let known = self
            .store
            .object(new.id)
            .await
            .map_err(Error::database("reading an object"))?;
        match known {
            Some(known) if known == object => {
                // An earlier call may have ended between its commit and the tree.
                if grown.read().object(new.id).is_none() {
                    self.forest.forget(new.domain_id);
                }
                return Ok(self.granted(new.domain_id, &[new.id]).await);
            }
            Some(_) => {
                return Err(Error::refused(
                    Code::AlreadyExists,
                    reasons::ID_TAKEN,
                    "entity already exists",
                ));
            }
            None => {}
        }
        let (role_id, role) = (RoleId::new(), built_in_role(new.entity, creator));
        let row = RoleRow {
            domain_id: new.domain_id,
            id: role_id,
            entity_id: new.id,
            is_built_in: true,
            role: &role,
            created_by: creator,
        };
        let inserted = self.store.insert_object(&object, &row, self.clock.now()).await;
        self.in_step(new.domain_id, inserted).map_err(|error| {
            if error.is_conflict("objects_id_key") || error.is_conflict("objects_pkey") {
                return Error::refused(Code::AlreadyExists, reasons::ID_TAKEN, "entity already exists");
            }
            Error::database("registering an object")(error)
        })?;
        grown.change(|tree| {
            tree.put_object(new.id, new.entity, new.parent, Status::Enabled);
            tree.put_role(role_id, held_role(new.id, &role));
        });
        Ok(self.granted(new.domain_id, &[new.id]).await)
    }

    /// Removes an object for good; answers when no live node acts for it any more. The same call again waits again.
    ///
    /// # Errors
    /// REVOCATION_PENDING.
    pub async fn unregister(&self, entity: Entity, domain_id: DomainId, id: Uuid) -> Result<u64, Error> {
        let grown = self.forest.writing(domain_id).await?;
        if grown.read().object(id).is_some_and(|object| object.entity != entity) {
            return Err(Error::not_found("the object"));
        }
        let removed = self.store.remove_object(domain_id, id).await;
        self.in_step(domain_id, removed)
            .map_err(Error::database("removing an object"))?;
        grown.change(|tree| tree.remove_object(id));
        drop(grown);
        self.revoked(domain_id, &[id]).await
    }

    /// Enables or disables an object; disabling answers when every live node has applied it.
    ///
    /// # Errors
    /// NOT_FOUND, REVOCATION_PENDING.
    pub async fn set_status(&self, entity: Entity, domain_id: DomainId, id: Uuid, enabled: bool) -> Result<u64, Error> {
        let status = if enabled { Status::Enabled } else { Status::Disabled };
        let grown = self.forest.writing(domain_id).await?;
        let parent = known(&grown.read(), entity, id)?;
        let changed = self.store.set_object_status(domain_id, id, status).await;
        self.in_step(domain_id, changed)
            .map_err(Error::database("changing an object's status"))?;
        grown.change(|tree| tree.put_object(id, entity, parent, status));
        drop(grown);
        if enabled {
            Ok(self.granted(domain_id, &[id]).await)
        } else {
            self.revoked(domain_id, &[id]).await
        }
    }

    /// Puts an object below a group, or directly below its domain. What was inherited from the old place is revoked.
    ///
    /// # Errors
    /// NOT_FOUND, REVOCATION_PENDING, INVALID_ARGUMENT when a group would be below itself or too deep.
    pub async fn set_parent(
        &self,
        entity: Entity,
        domain_id: DomainId,
        id: Uuid,
        parent: Option<Uuid>,
    ) -> Result<u64, Error> {
        let grown = self.forest.writing(domain_id).await?;
        known(&grown.read(), entity, id)?;
        if let Some(parent) = parent {
            let tree = grown.read();
            let is_group = tree.object(parent).is_some_and(|object| object.entity == Entity::Group);
            is_group.then_some(()).ok_or_else(|| Error::not_found("group"))?;
            let above: Vec<_> = tree.groups_above(parent).collect();
            if parent == id || above.contains(&id) || above.len() + 1 >= GROUP_DEPTH_MAX {
                let rule = format!("a group cannot be below itself, nor deeper than {GROUP_DEPTH_MAX} groups");
                return Err(trunkline_core::Fault::invalid("parent_id", rule).into());
            }
        }
        let changed = self.store.set_object_parent(domain_id, id, parent).await;
        self.in_step(domain_id, changed)
            .map_err(Error::database("moving an object"))?;
        grown.change(|tree| {
            let status = tree.object(id).map_or(Status::Enabled, |object| object.status);
            tree.put_object(id, entity, parent, status);
        });
        drop(grown);
        self.revoked(domain_id, &[id]).await
    }
}

/// The group of an object that the tree has, of the kind that is asked for.
fn known(tree: &crate::tree::Tree, entity: Entity, id: Uuid) -> Result<Option<Uuid>, Error> {
    let object = tree.object(id).filter(|object| object.entity == entity);
    object
        .map(|object| object.parent)
        .ok_or_else(|| Error::not_found("the object"))
}

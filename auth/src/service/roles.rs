//! Use cases about roles.

use std::collections::HashSet;

use trunkline_core::error::Code;
use trunkline_core::{DomainId, Fault, RoleId, Timestamp, UserId};
use trunkline_proto::guard::Entity;
use trunkline_rpc::UserCaller;
use uuid::Uuid;

use super::Service;
use super::domains::held_role;
use crate::actions;
use crate::domain::NewRole;
use crate::error::{Error, reasons};
use crate::store::RoleRow;

/// A role as it is told after its creation.
#[derive(Debug, Clone)]
pub struct CreatedRole {
    /// Its id.
    pub id: RoleId,
    /// The object that it is a role of.
    pub entity_id: Uuid,
    /// Name, actions and members.
    pub role: NewRole,
    /// Who created it.
    pub created_by: UserId,
    /// When it was created.
    pub created_at: Timestamp,
}

/// The entity that a role is for.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its kind.
    pub entity: Entity,
    /// Its domain.
    pub domain_id: DomainId,
    /// Its id.
    pub id: Uuid,
}

impl Service {
    /// Creates a role of an entity.
    ///
    /// # Errors
    /// ROLE_NAME_TAKEN, MEMBER_HAS_ROLE, NOT_FOUND, INVALID_ARGUMENT for actions that the kind lacks and for members that are not
    /// users of the platform or, below the domain, not members of the domain.
    pub async fn create_role(&self, caller: &UserCaller, target: Target, role: NewRole) -> Result<CreatedRole, Error> {
        check_actions(target.entity, &role.actions)?;
        let grown = self.forest.writing(target.domain_id).await?;
        if grown
            .read()
            .object(target.id)
            .is_none_or(|object| object.entity != target.entity)
        {
            return Err(Error::not_found("the entity"));
        }
        for (index, member) in role.members.iter().enumerate() {
            self.check_member(target, *member, &grown, index).await?;
        }
        let (id, now) = (RoleId::new(), self.clock.now());
        let row = RoleRow {
            domain_id: target.domain_id,
            id,
            entity_id: target.id,
            is_built_in: false,
            role: &role,
            created_by: caller.id,
        };
        let inserted = self.store.insert_role(&row, now).await;
        self.in_step(target.domain_id, inserted).map_err(taken)?;
        grown.change(|tree| tree.put_role(id, held_role(target.id, &role)));
        self.granted(target.domain_id, &[target.id]).await;
        Ok(CreatedRole {
            id,
            entity_id: target.id,
            role,
            created_by: caller.id,
            created_at: now,
        })
    }

    /// Deletes a role of an entity; answers when no live node acts by it any more. Repeating it after REVOCATION_PENDING succeeds.
    ///
    /// # Errors
    /// NOT_FOUND, ROLE_BUILT_IN, REVOCATION_PENDING.
    pub async fn delete_role(&self, target: Target, id: RoleId) -> Result<(), Error> {
        let grown = self.forest.writing(target.domain_id).await?;
        let built_in = self.store.role_is_built_in(target.domain_id, target.id, id).await;
        match built_in.map_err(Error::database("reading a role"))? {
            None => return Err(Error::not_found("role")),
            Some(true) => {
                let message = "the built-in role of an entity stays";
                return Err(Error::refused(
                    Code::FailedPrecondition,
                    reasons::ROLE_BUILT_IN,
                    message,
                ));
            }
            Some(false) => {}
        }
        // The emptied role stays until the revocation is confirmed, so that a repeated call finds it and waits again.
        let emptied = self.store.empty_role(target.domain_id, id).await;
        self.in_step(target.domain_id, emptied)
            .map_err(Error::database("emptying a role"))?;
        grown.change(|tree| tree.remove_role(id));
        drop(grown);
        self.revoked(target.domain_id, &[target.id]).await?;
        let deleted = self.store.delete_role(target.domain_id, target.id, id).await;
        deleted.map_err(Error::database("deleting a role"))
    }

    async fn check_member(
        &self,
        target: Target,
        member: UserId,
        grown: &crate::forest::Grown,
        index: usize,
    ) -> Result<(), Error> {
        let is_fine = match target.entity {
            Entity::Domain => self
                .store
                .is_user(member)
                .await
                .map_err(Error::database("reading a user"))?,
            _ => grown.read().role_on(member, target.domain_id.uuid()).is_some(),
        };
        if is_fine {
            return Ok(());
        }
        let wanted = if target.entity == Entity::Domain {
            "a user of the platform"
        } else {
            "a member of the domain"
        };
        Err(Fault::invalid(
            format!("optional_members[{index}]"),
            format!("{member} is not {wanted}"),
        )
        .into())
    }
}

fn check_actions(entity: Entity, wanted: &[String]) -> Result<(), Error> {
    let available: HashSet<String> = actions::available(entity).into_iter().collect();
    match wanted
        .iter()
        .enumerate()
        .find(|(_, action)| !available.contains(*action))
    {
        Some((index, action)) => {
            let action: String = action.chars().take(64).collect();
            let description = format!("`{action}` is no action of this kind of entity");
            Err(Fault::invalid(format!("optional_actions[{index}]"), description).into())
        }
        None => Ok(()),
    }
}

fn taken(error: trunkline_db::Error) -> Error {
    if error.is_conflict("roles_domain_id_entity_id_name_key") {
        return Error::refused(
            Code::AlreadyExists,
            reasons::ROLE_NAME_TAKEN,
            "the entity has a role of this name",
        );
    }
    if error.is_conflict("role_members_pkey") {
        let message = "a member has another role on this entity already";
        return Error::refused(Code::AlreadyExists, reasons::MEMBER_HAS_ROLE, message);
    }
    Error::database("creating a role")(error)
}

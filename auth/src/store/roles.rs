//! Rows of roles.

use trunkline_core::{DomainId, RoleId, Timestamp, UserId};
use trunkline_db::{Error, Tx, params};
use uuid::Uuid;

use super::{ObjectRow, Store};
use crate::domain::NewRole;

const INSERT: &str = "
    INSERT INTO roles (domain_id, id, entity_id, name, is_built_in, created_by, created_at, updated_at, updated_by, revision)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $7, NULL, 1)";

const INSERT_ACTION: &str = "
    INSERT INTO role_actions (domain_id, role_id, action)
    VALUES ($1, $2, $3)
    ON CONFLICT (domain_id, role_id, action) DO NOTHING";

const INSERT_MEMBER: &str = "
    INSERT INTO role_members (domain_id, entity_id, user_id, role_id)
    VALUES ($1, $2, $3, $4)";

const IS_BUILT_IN: &str = "
    SELECT is_built_in
    FROM roles
    WHERE domain_id = $1 AND id = $2 AND entity_id = $3";

const DELETE_ACTIONS: &str = "
    DELETE FROM role_actions
    WHERE domain_id = $1 AND role_id = $2";

const DELETE_MEMBERS: &str = "
    DELETE FROM role_members
    WHERE domain_id = $1 AND role_id = $2";

const DELETE: &str = "
    DELETE FROM roles
    WHERE domain_id = $1 AND id = $2 AND entity_id = $3";

/// A role on its way into the database.
pub struct RoleRow<'a> {
    /// Its domain.
    pub domain_id: DomainId,
    /// Its id.
    pub id: RoleId,
    /// The object that it is a role of.
    pub entity_id: Uuid,
    /// Whether it is the one that every entity is made with.
    pub is_built_in: bool,
    /// Name, actions and members.
    pub role: &'a NewRole,
    /// Who creates it.
    pub created_by: UserId,
}

impl Store {
    /// Adds a role with its actions and members, all or nothing.
    ///
    /// # Errors
    /// A conflict on `roles_domain_id_entity_id_name_key` or, for a member with another role there, `role_members_pkey`.
    pub async fn insert_role(&self, row: &RoleRow<'_>, now: Timestamp) -> Result<(), Error> {
        self.db.write(|tx| Box::pin(insert_role(tx, row, now))).await
    }

    /// Adds an object with its built-in role, all or nothing.
    ///
    /// # Errors
    /// A conflict on `objects_id_key` or `objects_pkey` when the id is or was in use.
    pub async fn insert_object(&self, object: &ObjectRow, role: &RoleRow<'_>, now: Timestamp) -> Result<(), Error> {
        self.db
            .write(|tx| {
                Box::pin(async move {
                    super::objects::insert_object(tx, object, "pending", now).await?;
                    insert_role(tx, role, now).await
                })
            })
            .await
    }

    /// Whether the role is the built-in one of `entity_id`; `None` when there is no such role.
    pub async fn role_is_built_in(
        &self,
        domain_id: DomainId,
        entity_id: Uuid,
        id: RoleId,
    ) -> Result<Option<bool>, Error> {
        self.db
            .fetch_optional(IS_BUILT_IN, params![domain_id, id, entity_id], |row| {
                row.get("is_built_in")
            })
            .await
    }

    /// Takes all actions and members from a role.
    pub async fn empty_role(&self, domain_id: DomainId, id: RoleId) -> Result<(), Error> {
        self.db
            .write(|tx| {
                Box::pin(async move {
                    tx.execute(DELETE_ACTIONS, params![domain_id, id]).await?;
                    tx.execute(DELETE_MEMBERS, params![domain_id, id]).await.map(drop)
                })
            })
            .await
    }

    /// Deletes a role with its actions and members.
    pub async fn delete_role(&self, domain_id: DomainId, entity_id: Uuid, id: RoleId) -> Result<(), Error> {
        self.db
            .execute(DELETE, params![domain_id, id, entity_id])
            .await
            .map(drop)
    }
}

/// Adds a role inside a transaction.
pub(super) async fn insert_role(tx: &mut Tx<'_>, row: &RoleRow<'_>, now: Timestamp) -> Result<(), Error> {
    let name = row.role.name.as_str();
    let values = params![
        row.domain_id,
        row.id,
        row.entity_id,
        name,
        row.is_built_in,
        row.created_by,
        now
    ];
    tx.execute(INSERT, values).await?;
    for action in &row.role.actions {
        tx.execute(INSERT_ACTION, params![row.domain_id, row.id, action])
            .await?;
    }
    for member in &row.role.members {
        tx.execute(INSERT_MEMBER, params![row.domain_id, row.entity_id, *member, row.id])
            .await?;
    }
    Ok(())
}

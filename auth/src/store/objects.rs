//! Rows of the object tree: objects and their roles, as a whole domain or one by one.

use trunkline_core::{DomainId, RoleId, Timestamp, UserId};
use trunkline_db::{Error, Row, Tx, params};
use trunkline_proto::guard::Entity;
use uuid::Uuid;

use super::Store;
use crate::tree::Status;

/// One object as it is stored; a removed one is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRow {
    /// Its domain.
    pub domain_id: DomainId,
    /// Its id.
    pub id: Uuid,
    /// Its kind.
    pub entity: Entity,
    /// Its group.
    pub parent: Option<Uuid>,
    /// Whether it works.
    pub status: Status,
    /// Whether it is gone for good.
    pub is_removed: bool,
    /// Who registered it.
    pub created_by: UserId,
}

/// One role with its actions and members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRole {
    /// Its id.
    pub id: RoleId,
    /// The object that it is a role of.
    pub entity_id: Uuid,
    /// The actions.
    pub actions: Vec<String>,
    /// The members.
    pub members: Vec<UserId>,
}

const BY_ID: &str = "
    SELECT domain_id, id, kind, parent_id, status, state, created_by
    FROM objects
    WHERE id = $1";

const OF_DOMAIN: &str = "
    SELECT domain_id, id, kind, parent_id, status, state, created_by
    FROM objects
    WHERE domain_id = $1 AND state <> 'removed'";

const INSERT: &str = "
    INSERT INTO objects (domain_id, id, kind, parent_id, status, state, created_by, created_at, revision)
    VALUES ($1, $2, $3, $4, 'enabled', $5, $6, $7, 1)";

const ACTIVATE: &str = "
    UPDATE objects
    SET state = 'active'
    WHERE domain_id = $1 AND id = $2 AND state = 'pending'";

const SET_STATUS: &str = "
    UPDATE objects
    SET status = $3, revision = revision + 1
    WHERE domain_id = $1 AND id = $2 AND state <> 'removed'";

const SET_PARENT: &str = "
    UPDATE objects
    SET parent_id = $3, revision = revision + 1
    WHERE domain_id = $1 AND id = $2 AND state <> 'removed'";

const REMOVE: &str = "
    UPDATE objects
    SET state = 'removed', parent_id = NULL, revision = revision + 1
    WHERE domain_id = $1 AND id = $2";

const ORPHAN: &str = "
    UPDATE objects
    SET parent_id = NULL, revision = revision + 1
    WHERE domain_id = $1 AND parent_id = $2";

const REMOVE_ROLES: &str = "
    DELETE FROM roles
    WHERE domain_id = $1 AND entity_id = $2";

const ROLES: &str = "
    SELECT id, entity_id
    FROM roles
    WHERE domain_id = $1";

const ACTIONS: &str = "
    SELECT role_id, action
    FROM role_actions
    WHERE domain_id = $1";

const MEMBERS: &str = "
    SELECT role_id, user_id
    FROM role_members
    WHERE domain_id = $1";

impl Store {
    /// The object with this id in any domain, tombstones included.
    pub async fn object(&self, id: Uuid) -> Result<Option<ObjectRow>, Error> {
        self.db.fetch_optional(BY_ID, params![id], object_of).await
    }

    /// The objects of a domain, without tombstones, and its roles: one snapshot.
    pub async fn tree(&self, domain_id: DomainId) -> Result<(Vec<ObjectRow>, Vec<StoredRole>), Error> {
        self.db
            .read(|tx| {
                Box::pin(async move {
                    let objects = tx.fetch_all(OF_DOMAIN, params![domain_id], object_of).await?;
                    Ok((objects, stored_roles(tx, domain_id).await?))
                })
            })
            .await
    }

    /// Notes that an object's owner has its own row. Without effect when that is known.
    pub async fn activate(&self, domain_id: DomainId, id: Uuid) -> Result<(), Error> {
        self.db.execute(ACTIVATE, params![domain_id, id]).await.map(drop)
    }

    /// Sets an object's status.
    pub async fn set_object_status(&self, domain_id: DomainId, id: Uuid, status: Status) -> Result<(), Error> {
        self.db
            .execute(SET_STATUS, params![domain_id, id, status.as_str()])
            .await
            .map(drop)
    }

    /// Sets an object's group.
    pub async fn set_object_parent(&self, domain_id: DomainId, id: Uuid, parent: Option<Uuid>) -> Result<(), Error> {
        self.db
            .execute(SET_PARENT, params![domain_id, id, parent])
            .await
            .map(drop)
    }

    /// Makes an object a tombstone and drops its roles; what was in it is then directly below the domain.
    pub async fn remove_object(&self, domain_id: DomainId, id: Uuid) -> Result<(), Error> {
        self.db
            .write(|tx| {
                Box::pin(async move {
                    tx.execute(REMOVE, params![domain_id, id]).await?;
                    tx.execute(ORPHAN, params![domain_id, id]).await?;
                    tx.execute(REMOVE_ROLES, params![domain_id, id]).await.map(drop)
                })
            })
            .await
    }
}

/// Adds an object: `pending` until its owner has its own row.
pub(super) async fn insert_object(
    tx: &mut Tx<'_>,
    row: &ObjectRow,
    state: &'static str,
    now: Timestamp,
) -> Result<(), Error> {
    let kind = kind_text(row.entity);
    let values = params![row.domain_id, row.id, kind, row.parent, state, row.created_by, now];
    tx.execute(INSERT, values).await.map(drop)
}

/// Sets an object's status inside a transaction.
pub(super) async fn set_status(tx: &mut Tx<'_>, domain_id: DomainId, id: Uuid, status: Status) -> Result<(), Error> {
    tx.execute(SET_STATUS, params![domain_id, id, status.as_str()])
        .await
        .map(drop)
}

async fn stored_roles(tx: &mut Tx<'_>, domain_id: DomainId) -> Result<Vec<StoredRole>, Error> {
    let roles = tx
        .fetch_all(ROLES, params![domain_id], |row| {
            Ok((row.get("id")?, row.get("entity_id")?))
        })
        .await?;
    let actions = tx
        .fetch_all(ACTIONS, params![domain_id], |row| {
            Ok((row.get("role_id")?, row.get("action")?))
        })
        .await?;
    let members = tx
        .fetch_all(MEMBERS, params![domain_id], |row| {
            Ok((row.get("role_id")?, row.get("user_id")?))
        })
        .await?;
    let mut found: std::collections::HashMap<RoleId, StoredRole> = roles
        .into_iter()
        .map(|(id, entity_id)| {
            (
                id,
                StoredRole {
                    id,
                    entity_id,
                    actions: Vec::new(),
                    members: Vec::new(),
                },
            )
        })
        .collect();
    for (role, action) in actions {
        found.entry(role).and_modify(|role| role.actions.push(action));
    }
    for (role, member) in members {
        found.entry(role).and_modify(|role| role.members.push(member));
    }
    Ok(found.into_values().collect())
}

fn object_of(row: &Row) -> Result<ObjectRow, Error> {
    let damaged = |column: &str| Error::Corrupt(format!("objects.{column} is not what was written").into());
    Ok(ObjectRow {
        domain_id: row.get("domain_id")?,
        id: row.get("id")?,
        entity: kind_of(&row.get::<String>("kind")?).ok_or_else(|| damaged("kind"))?,
        parent: row.get("parent_id")?,
        status: Status::parse(&row.get::<String>("status")?).ok_or_else(|| damaged("status"))?,
        is_removed: row.get::<String>("state")? == "removed",
        created_by: row.get("created_by")?,
    })
}

/// The kinds that the tree has, with the text that the database keeps.
const KINDS: [(Entity, &str); 6] = [
    (Entity::Domain, "domain"),
    (Entity::Group, "group"),
    (Entity::Client, "client"),
    (Entity::Channel, "channel"),
    (Entity::Rule, "rule"),
    (Entity::Report, "report"),
];

fn kind_of(text: &str) -> Option<Entity> {
    KINDS
        .into_iter()
        .find(|(_, kind)| *kind == text)
        .map(|(entity, _)| entity)
}

/// The text of a kind; platform and users are no objects, and the CHECK of the table refuses the empty text.
fn kind_text(entity: Entity) -> &'static str {
    KINDS
        .into_iter()
        .find(|(kind, _)| *kind == entity)
        .map_or("", |(_, text)| text)
}

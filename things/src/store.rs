//! The tables of clients and their credentials: SQL and row types, no decisions.

use sea_query::{Expr, ExprTrait as _, LikeExpr, Order as SqlOrder, Query, SelectStatement};
use trunkline_core::attributes::{Metadata, Name, Tags};
use trunkline_core::{ClientId, CredentialId, DomainId, Fault, Timestamp, UserId};
use trunkline_db::{Db, Error, Migrations, Row, Total, Tx, params};

use crate::client::{Client, Identity};
use crate::list::{Direction, List, Order, Visible};

/// The migrations of this service.
pub const MIGRATIONS: Migrations = trunkline_db::migrations!("things", "0001_clients");

/// The unique constraints that a new client can violate.
pub mod constraint {
    /// The id is in use in the domain.
    pub const ID: &str = "clients_pkey";
    /// The id is in use, here or in another domain.
    pub const ID_ANYWHERE: &str = "clients_id_key";
    /// The secret is in use in the domain.
    pub const SECRET: &str = "client_credentials_domain_id_digest_key";
}

const COLUMNS: [&str; 13] = [
    "domain_id",
    "id",
    "parent_group_id",
    "name",
    "tags",
    "identity",
    "metadata",
    "private_metadata",
    "status",
    "created_at",
    "updated_at",
    "updated_by",
    "revision",
];

const INSERT: &str = "
    INSERT INTO clients (domain_id, id, parent_group_id, name, name_folded, tags, identity, metadata, private_metadata, status,
        created_at, updated_at, updated_by, revision)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

const INSERT_CREDENTIAL: &str = "
    INSERT INTO client_credentials (domain_id, id, client_id, kind, digest, key_version, not_before, not_after)
    VALUES ($1, $2, $3, 'secret', $4, $5, $6, $7)";

const FIND: &str = "
    SELECT domain_id, id, parent_group_id, name, tags, identity, metadata, private_metadata, status, created_at, updated_at,
        updated_by, revision
    FROM clients
    WHERE domain_id = $1 AND id = $2 AND deleted_at IS NULL";

const UPDATE: &str = "
    UPDATE clients
    SET parent_group_id = $3, name = $4, name_folded = $5, tags = $6, identity = $7, metadata = $8, private_metadata = $9,
        status = $10, updated_at = $11, updated_by = $12, revision = $13
    WHERE domain_id = $1 AND id = $2";

const MARK_DELETED: &str = "
    UPDATE clients
    SET deleted_at = COALESCE(deleted_at, $3), updated_by = $4
    WHERE domain_id = $1 AND id = $2";

const REMOVE: &str = "
    DELETE FROM clients
    WHERE domain_id = $1 AND id = $2 AND deleted_at IS NOT NULL
    RETURNING updated_by, revision";

const MARKED_DELETED: &str = "
    SELECT domain_id, id
    FROM clients
    WHERE deleted_at IS NOT NULL
    ORDER BY deleted_at
    LIMIT $1";

const DOMAIN_OF: &str = "
    SELECT domain_id
    FROM clients
    WHERE id = $1 AND deleted_at IS NULL";

const CREDENTIAL: &str = "
    SELECT k.id, k.client_id, k.digest, k.not_before, k.not_after, k.last_used
    FROM client_credentials k
    JOIN clients c ON c.domain_id = k.domain_id AND c.id = k.client_id
    WHERE k.domain_id = $1 AND k.digest = $2 AND c.deleted_at IS NULL";

const USED: &str = "
    UPDATE client_credentials
    SET last_used = $3
    WHERE domain_id = $1 AND id = $2";

/// A secret's digest to store.
#[derive(Debug, Clone)]
pub struct NewCredential {
    /// Its id.
    pub id: CredentialId,
    /// HMAC of domain and secret.
    pub digest: [u8; 32],
    /// Which key made the digest.
    pub key_version: u32,
    /// Valid from then on.
    pub not_before: Timestamp,
    /// Valid until then; for ever when absent.
    pub not_after: Option<Timestamp>,
}

/// A stored credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// The client that it belongs to.
    pub client_id: ClientId,
    /// HMAC of domain and secret.
    pub digest: Vec<u8>,
    /// Valid from then on.
    pub not_before: Timestamp,
    /// Valid until then; for ever when absent.
    pub not_after: Option<Timestamp>,
    /// When it was used last, to the hour.
    pub last_used: Option<Timestamp>,
}

/// What is left of a removed client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// User that removed it.
    pub removed_by: Option<UserId>,
    /// Its last revision.
    pub revision: i64,
}

/// Stores a new client with its first credential.
///
/// # Errors
/// [`Error::Conflict`] with one of the names in [`constraint`].
pub async fn insert(tx: &mut Tx<'_>, client: &Client, credential: &NewCredential) -> Result<(), Error> {
    let values = params![
        client.domain_id,
        client.id,
        client.parent_group_id,
        client.name.as_ref().map(Name::as_str),
        folded(client),
        client.tags.to_json(),
        client.identity.as_ref().map(Identity::as_str),
        client.metadata.as_ref().map(Metadata::as_str),
        client.private_metadata.as_ref().map(Metadata::as_str),
        client.status.as_str(),
        client.created_at,
        client.updated_at,
        client.updated_by,
        client.revision,
    ];
    tx.execute(INSERT, values).await?;
    let values = params![
        client.domain_id,
        credential.id,
        client.id,
        credential.digest,
        credential.key_version,
        credential.not_before,
        credential.not_after,
    ];
    tx.execute(INSERT_CREDENTIAL, values).await?;
    Ok(())
}

/// A client, if it is there.
pub async fn get(db: &Db, domain_id: DomainId, id: ClientId) -> Result<Option<Client>, Error> {
    db.fetch_optional(FIND, params![domain_id, id], client).await
}

/// A client, if it is there, to be changed in the same transaction.
pub async fn find(tx: &mut Tx<'_>, domain_id: DomainId, id: ClientId) -> Result<Option<Client>, Error> {
    tx.fetch_optional(FIND, params![domain_id, id], client).await
}

/// Stores a client that [`find`] gave and the caller changed.
pub async fn update(tx: &mut Tx<'_>, client: &Client) -> Result<(), Error> {
    let values = params![
        client.domain_id,
        client.id,
        client.parent_group_id,
        client.name.as_ref().map(Name::as_str),
        folded(client),
        client.tags.to_json(),
        client.identity.as_ref().map(Identity::as_str),
        client.metadata.as_ref().map(Metadata::as_str),
        client.private_metadata.as_ref().map(Metadata::as_str),
        client.status.as_str(),
        client.updated_at,
        client.updated_by,
        client.revision,
    ];
    tx.execute(UPDATE, values).await?;
    Ok(())
}

/// One page of clients, and how many there are in all.
pub async fn list(db: &Db, list: &List, visible: &Visible) -> Result<(Total, Vec<Client>), Error> {
    db.list(&selected(list, visible), list.page, client).await
}

/// Hides a client from every reader and keeps its row until [`remove`]. Whether there is one, hidden before or not.
pub async fn mark_deleted(
    db: &Db,
    domain_id: DomainId,
    id: ClientId,
    by: UserId,
    now: Timestamp,
) -> Result<bool, Error> {
    Ok(db.execute(MARK_DELETED, params![domain_id, id, now, by]).await? > 0)
}

/// Removes a client that was marked, with its credentials; `None` when there is none.
pub async fn remove(tx: &mut Tx<'_>, domain_id: DomainId, id: ClientId) -> Result<Option<Removed>, Error> {
    let read = |row: &Row| {
        Ok(Removed {
            removed_by: row.get("updated_by")?,
            revision: row.get("revision")?,
        })
    };
    tx.fetch_optional(REMOVE, params![domain_id, id], read).await
}

/// The clients that wait for [`remove`], longest first, at most `most`.
pub async fn marked_deleted(db: &Db, most: u32) -> Result<Vec<(DomainId, ClientId)>, Error> {
    db.fetch_all(MARKED_DELETED, params![most], |row| {
        Ok((row.get("domain_id")?, row.get("id")?))
    })
    .await
}

/// The domain of a client.
pub async fn domain_of(db: &Db, id: ClientId) -> Result<Option<DomainId>, Error> {
    db.fetch_optional(DOMAIN_OF, params![id], |row| row.get("domain_id"))
        .await
}

/// The credential with a digest.
pub async fn credential(db: &Db, domain_id: DomainId, digest: &[u8]) -> Result<Option<Credential>, Error> {
    let read = |row: &Row| {
        Ok(Credential {
            id: row.get("id")?,
            client_id: row.get("client_id")?,
            digest: row.get("digest")?,
            not_before: row.get("not_before")?,
            not_after: row.get("not_after")?,
            last_used: row.get("last_used")?,
        })
    };
    db.fetch_optional(CREDENTIAL, params![domain_id, digest], read).await
}

/// Notes when a credential was used.
pub async fn mark_used(db: &Db, domain_id: DomainId, id: CredentialId, now: Timestamp) -> Result<(), Error> {
    db.execute(USED, params![domain_id, id, now]).await?;
    Ok(())
}

/// Unnamed clients sort before all others on both databases, which do not agree about NULL.
fn folded(client: &Client) -> String {
    client.name.as_ref().map(Name::folded).unwrap_or_default()
}

fn selected(list: &List, visible: &Visible) -> SelectStatement {
    let mut query = Query::select();
    query
        .columns(COLUMNS)
        .from("clients")
        .and_where(Expr::col("domain_id").eq(list.domain_id.uuid()))
        .and_where(Expr::col("deleted_at").is_null());
    if let Some(status) = list.status {
        query.and_where(Expr::col("status").eq(status.as_str()));
    }
    if let Some(text) = &list.name_folded {
        query.and_where(Expr::col("name_folded").like(containing(text)));
    }
    if let Visible::Some { groups, clients } = visible {
        let in_group = Expr::col("parent_group_id").is_in(groups.iter().map(|id| id.uuid()));
        let is_named = Expr::col("id").is_in(clients.iter().map(|id| id.uuid()));
        query.and_where(in_group.or(is_named));
    }
    let column = match list.order {
        Order::UpdatedAt => "updated_at",
        Order::CreatedAt => "created_at",
        Order::Name => "name_folded",
    };
    let order = match list.direction {
        Direction::Ascending => SqlOrder::Asc,
        Direction::Descending => SqlOrder::Desc,
    };
    query.order_by(column, order.clone()).order_by("id", order).take()
}

/// A pattern for texts that contain `text`, whose own wildcards are data.
fn containing(text: &str) -> LikeExpr {
    let escaped = text.replace('!', "!!").replace('%', "!%").replace('_', "!_");
    LikeExpr::new(format!("%{escaped}%")).escape('!')
}

fn client(row: &Row) -> Result<Client, Error> {
    let name: Option<String> = row.get("name")?;
    let identity: Option<String> = row.get("identity")?;
    let metadata: Option<String> = row.get("metadata")?;
    let private_metadata: Option<String> = row.get("private_metadata")?;
    Ok(Client {
        id: row.get("id")?,
        domain_id: row.get("domain_id")?,
        parent_group_id: row.get("parent_group_id")?,
        name: name
            .map(|text| Name::parse("name", &text))
            .transpose()
            .map_err(corrupt)?,
        tags: Tags::from_json(&row.get::<String>("tags")?),
        identity: identity
            .map(|text| Identity::parse("identity", &text))
            .transpose()
            .map_err(corrupt)?,
        metadata: metadata.map(Metadata::trusted),
        private_metadata: private_metadata.map(Metadata::trusted),
        status: row.parse("status")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        updated_by: row.get("updated_by")?,
        revision: row.get("revision")?,
    })
}

fn corrupt(fault: Fault) -> Error {
    Error::Corrupt(fault.into())
}

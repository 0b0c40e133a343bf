//! The table of channels: SQL and row types, no decisions. Connections are beside it.

mod connections;

use sea_query::{Expr, ExprTrait as _, LikeExpr, Order as SqlOrder, Query, SelectStatement};
use trunkline_bus::Route;
use trunkline_core::attributes::{Metadata, Name, Tags};
use trunkline_core::{ChannelId, DomainId, Fault, Timestamp, UserId};
use trunkline_db::{Db, Error, Migrations, Row, Total, Tx, params};

use crate::channel::Channel;
use crate::list::{Direction, List, Order, Visible};

pub use connections::{
    Reachable, Revocation, connect, disconnect, forget_client, insert_revocation, present, reach, remove_revocation,
    revocations,
};

/// The migrations of this service.
pub const MIGRATIONS: Migrations = trunkline_db::migrations!("channels", "0001_channels");

/// The unique constraints that a new channel can violate.
pub mod constraint {
    /// The id is in use in the domain.
    pub const ID: &str = "channels_pkey";
    /// The id is in use, here or in another domain.
    pub const ID_ANYWHERE: &str = "channels_id_key";
    /// The route is in use in the domain.
    pub const ROUTE: &str = "channels_domain_id_route_key";
}

const COLUMNS: [&str; 13] = [
    "domain_id",
    "id",
    "parent_group_id",
    "route",
    "name",
    "tags",
    "metadata",
    "status",
    "created_by",
    "created_at",
    "updated_at",
    "updated_by",
    "revision",
];

const INSERT: &str = "
    INSERT INTO channels (domain_id, id, parent_group_id, route, name, name_folded, tags, metadata, status, created_by, created_at,
        updated_at, updated_by, revision)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

const FIND: &str = "
    SELECT domain_id, id, parent_group_id, route, name, tags, metadata, status, created_by, created_at, updated_at, updated_by,
        revision
    FROM channels
    WHERE domain_id = $1 AND id = $2 AND deleted_at IS NULL";

const UPDATE: &str = "
    UPDATE channels
    SET parent_group_id = $3, name = $4, name_folded = $5, tags = $6, metadata = $7, status = $8, updated_at = $9,
        updated_by = $10, revision = $11
    WHERE domain_id = $1 AND id = $2";

const MARK_DELETED: &str = "
    UPDATE channels
    SET deleted_at = COALESCE(deleted_at, $3), updated_by = $4
    WHERE domain_id = $1 AND id = $2";

const REMOVE: &str = "
    DELETE FROM channels
    WHERE domain_id = $1 AND id = $2 AND deleted_at IS NOT NULL
    RETURNING updated_by, revision";

const MARKED_DELETED: &str = "
    SELECT domain_id, id
    FROM channels
    WHERE deleted_at IS NOT NULL
    ORDER BY deleted_at
    LIMIT $1";

/// What is left of a removed channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// User that removed it.
    pub removed_by: Option<UserId>,
    /// Its last revision.
    pub revision: i64,
}

/// Stores a new channel.
///
/// # Errors
/// [`Error::Conflict`] with one of the names in [`constraint`].
pub async fn insert(tx: &mut Tx<'_>, channel: &Channel) -> Result<(), Error> {
    let values = params![
        channel.domain_id,
        channel.id,
        channel.parent_group_id,
        channel.route.as_ref().map(Route::as_str),
        channel.name.as_ref().map(Name::as_str),
        folded(channel),
        channel.tags.to_json(),
        channel.metadata.as_ref().map(Metadata::as_str),
        channel.status.as_str(),
        channel.created_by,
        channel.created_at,
        channel.updated_at,
        channel.updated_by,
        channel.revision,
    ];
    tx.execute(INSERT, values).await?;
    Ok(())
}

/// A channel, if it is there.
pub async fn get(db: &Db, domain_id: DomainId, id: ChannelId) -> Result<Option<Channel>, Error> {
    db.fetch_optional(FIND, params![domain_id, id], channel).await
}

/// A channel, if it is there, to be changed in the same transaction.
pub async fn find(tx: &mut Tx<'_>, domain_id: DomainId, id: ChannelId) -> Result<Option<Channel>, Error> {
    tx.fetch_optional(FIND, params![domain_id, id], channel).await
}

/// Stores a channel that [`find`] gave and the caller changed; its route stays as it is.
pub async fn update(tx: &mut Tx<'_>, channel: &Channel) -> Result<(), Error> {
    let values = params![
        channel.domain_id,
        channel.id,
        channel.parent_group_id,
        channel.name.as_ref().map(Name::as_str),
        folded(channel),
        channel.tags.to_json(),
        channel.metadata.as_ref().map(Metadata::as_str),
        channel.status.as_str(),
        channel.updated_at,
        channel.updated_by,
        channel.revision,
    ];
    tx.execute(UPDATE, values).await?;
    Ok(())
}

/// One page of channels, and how many there are in all.
pub async fn list(db: &Db, list: &List, visible: &Visible) -> Result<(Total, Vec<Channel>), Error> {
    db.list(&selected(list, visible), list.page, channel).await
}

/// Hides a channel from every reader and keeps its row until [`remove`]. Whether there is one, hidden before or not.
pub async fn mark_deleted(
    db: &Db,
    domain_id: DomainId,
    id: ChannelId,
    by: UserId,
    now: Timestamp,
) -> Result<bool, Error> {
    Ok(db.execute(MARK_DELETED, params![domain_id, id, now, by]).await? > 0)
}

/// Removes a channel that was marked, with its connections; `None` when there is none.
pub async fn remove(tx: &mut Tx<'_>, domain_id: DomainId, id: ChannelId) -> Result<Option<Removed>, Error> {
    let read = |row: &Row| {
        Ok(Removed {
            removed_by: row.get("updated_by")?,
            revision: row.get("revision")?,
        })
    };
    tx.fetch_optional(REMOVE, params![domain_id, id], read).await
}

/// The channels that wait for [`remove`], longest first, at most `most`.
pub async fn marked_deleted(db: &Db, most: u32) -> Result<Vec<(DomainId, ChannelId)>, Error> {
    db.fetch_all(MARKED_DELETED, params![most], |row| {
        Ok((row.get("domain_id")?, row.get("id")?))
    })
    .await
}

/// Unnamed channels sort before all others on both databases, which do not agree about NULL.
fn folded(channel: &Channel) -> String {
    channel.name.as_ref().map(Name::folded).unwrap_or_default()
}

fn selected(list: &List, visible: &Visible) -> SelectStatement {
    let mut query = Query::select();
    query
        .columns(COLUMNS)
        .from("channels")
        .and_where(Expr::col("domain_id").eq(list.domain_id.uuid()))
        .and_where(Expr::col("deleted_at").is_null());
    if let Some(status) = list.status {
        query.and_where(Expr::col("status").eq(status.as_str()));
    }
    if let Some(text) = &list.name_folded {
        query.and_where(Expr::col("name_folded").like(containing(text)));
    }
    if let Visible::Some { groups, channels } = visible {
        let in_group = Expr::col("parent_group_id").is_in(groups.iter().map(|id| id.uuid()));
        let is_named = Expr::col("id").is_in(channels.iter().map(|id| id.uuid()));
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

fn channel(row: &Row) -> Result<Channel, Error> {
    let route: Option<String> = row.get("route")?;
    let name: Option<String> = row.get("name")?;
    let metadata: Option<String> = row.get("metadata")?;
    Ok(Channel {
        id: row.get("id")?,
        domain_id: row.get("domain_id")?,
        parent_group_id: row.get("parent_group_id")?,
        route: route.map(|text| stored_route(&text)).transpose()?,
        name: name
            .map(|text| Name::parse("name", &text))
            .transpose()
            .map_err(corrupt)?,
        tags: Tags::from_json(&row.get::<String>("tags")?),
        metadata: metadata.map(Metadata::trusted),
        status: row.parse("status")?,
        created_by: row.get("created_by")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        updated_by: row.get("updated_by")?,
        revision: row.get("revision")?,
    })
}

fn stored_route(text: &str) -> Result<Route, Error> {
    crate::channel::parse_route("route", text).map_err(corrupt)
}

fn corrupt(fault: Fault) -> Error {
    Error::Corrupt(fault.into())
}

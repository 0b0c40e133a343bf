//! The table of connections.

use sea_query::{Expr, ExprTrait as _, OnConflict, Query};
use trunkline_bus::{Ref, Route};
use trunkline_core::{ChannelId, ClientId, DomainId, Timestamp};
use trunkline_db::{Db, Error, Row, Tx, params};
use uuid::Uuid;

use super::stored_route;
use crate::connection::{Connections, Kind};

const REACH_BY_ID: &str = "
    SELECT c.id, c.route
    FROM channels c
    JOIN connections x ON x.domain_id = c.domain_id AND x.channel_id = c.id
    WHERE c.domain_id = $1 AND c.id = $2 AND c.deleted_at IS NULL AND x.client_id = $3 AND x.kind = $4";

const REACH_BY_ROUTE: &str = "
    SELECT c.id, c.route
    FROM channels c
    JOIN connections x ON x.domain_id = c.domain_id AND x.channel_id = c.id
    WHERE c.domain_id = $1 AND c.route = $2 AND c.deleted_at IS NULL AND x.client_id = $3 AND x.kind = $4";

const INSERT_REVOCATION: &str = "
    INSERT INTO revocations (domain_id, id, touched, created_at)
    VALUES ($1, $2, $3, $4)";

const REVOCATIONS: &str = "
    SELECT domain_id, id, touched
    FROM revocations
    WHERE created_at < $1
    ORDER BY created_at
    LIMIT $2";

const REMOVE_REVOCATION: &str = "
    DELETE FROM revocations
    WHERE domain_id = $1 AND id = $2";

const FORGET_CLIENT: &str = "
    DELETE FROM connections
    WHERE domain_id = $1 AND client_id = $2";

/// A disconnection to announce to every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Its domain.
    pub domain_id: DomainId,
    /// Its own id.
    pub id: Uuid,
    /// Ids that appear in the decisions that it bears on.
    pub touched: Vec<Uuid>,
}

/// A channel that a client is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reachable {
    /// Its id.
    pub id: ChannelId,
    /// Its name in topics.
    pub route: Option<Route>,
}

/// The channel of a domain, by id or route, if the client is connected to it in that way.
pub async fn reach(
    db: &Db,
    domain_id: DomainId,
    channel: Ref<ChannelId>,
    client_id: ClientId,
    kind: Kind,
) -> Result<Option<Reachable>, Error> {
    let read = |row: &Row| {
        let route: Option<String> = row.get("route")?;
        Ok(Reachable {
            id: row.get("id")?,
            route: route.map(|text| stored_route(&text)).transpose()?,
        })
    };
    match channel {
        Ref::Id(id) => {
            db.fetch_optional(REACH_BY_ID, params![domain_id, id, client_id, kind.as_str()], read)
                .await
        }
        Ref::Route(route) => {
            let values = params![domain_id, route.as_str(), client_id, kind.as_str()];
            db.fetch_optional(REACH_BY_ROUTE, values, read).await
        }
    }
}

/// Those of the connections' channels that are there, with their revisions.
pub async fn present(tx: &mut Tx<'_>, connections: &Connections) -> Result<Vec<(ChannelId, i64)>, Error> {
    let query = Query::select()
        .columns(["id", "revision"])
        .from("channels")
        .and_where(Expr::col("domain_id").eq(connections.domain_id().uuid()))
        .and_where(Expr::col("deleted_at").is_null())
        .and_where(Expr::col("id").is_in(connections.channels().map(ChannelId::uuid)))
        .order_by("id", sea_query::Order::Asc)
        .take();
    tx.select(&query, |row| Ok((row.get("id")?, row.get("revision")?)))
        .await
}

/// Connects every client to one of the channels. Whether that changed anything.
pub async fn connect(
    tx: &mut Tx<'_>,
    connections: &Connections,
    channel_id: ChannelId,
    now: Timestamp,
) -> Result<bool, Error> {
    let mut insert = Query::insert();
    insert
        .into_table("connections")
        .columns(["domain_id", "channel_id", "client_id", "kind", "created_at"])
        .on_conflict(OnConflict::new().do_nothing().to_owned());
    for client_id in connections.clients() {
        for kind in connections.kinds() {
            insert.values_panic([
                connections.domain_id().uuid().into(),
                channel_id.uuid().into(),
                client_id.uuid().into(),
                kind.as_str().into(),
                now.micros().into(),
            ]);
        }
    }
    Ok(tx.execute_built(&insert).await? > 0)
}

/// Disconnects every client from one of the channels. Whether that changed anything.
pub async fn disconnect(tx: &mut Tx<'_>, connections: &Connections, channel_id: ChannelId) -> Result<bool, Error> {
    let delete = Query::delete()
        .from_table("connections")
        .and_where(Expr::col("domain_id").eq(connections.domain_id().uuid()))
        .and_where(Expr::col("channel_id").eq(channel_id.uuid()))
        .and_where(Expr::col("client_id").is_in(connections.clients().map(ClientId::uuid)))
        .and_where(Expr::col("kind").is_in(connections.kinds().map(Kind::as_str)))
        .take();
    Ok(tx.execute_built(&delete).await? > 0)
}

/// Removes every connection of a client that is gone. Without effect when it has none.
pub async fn forget_client(db: &Db, domain_id: DomainId, client_id: ClientId) -> Result<(), Error> {
    db.execute(FORGET_CLIENT, params![domain_id, client_id]).await?;
    Ok(())
}

/// Stores a revocation with the disconnection that it announces.
pub async fn insert_revocation(tx: &mut Tx<'_>, revocation: &Revocation, now: Timestamp) -> Result<(), Error> {
    let touched: Vec<u8> = revocation.touched.iter().flat_map(|id| *id.as_bytes()).collect();
    tx.execute(
        INSERT_REVOCATION,
        params![revocation.domain_id, revocation.id, touched, now],
    )
    .await?;
    Ok(())
}

/// The revocations stored before a time, oldest first, at most `most`.
pub async fn revocations(db: &Db, before: Timestamp, most: u32) -> Result<Vec<Revocation>, Error> {
    let read = |row: &Row| {
        let touched: Vec<u8> = row.get("touched")?;
        let (ids, _) = touched.as_chunks::<16>();
        Ok(Revocation {
            domain_id: row.get("domain_id")?,
            id: row.get("id")?,
            touched: ids.iter().copied().map(Uuid::from_bytes).collect(),
        })
    };
    db.fetch_all(REVOCATIONS, params![before, most], read).await
}

/// Removes a revocation that was announced. Without effect when it is gone.
pub async fn remove_revocation(db: &Db, revocation: &Revocation) -> Result<(), Error> {
    db.execute(REMOVE_REVOCATION, params![revocation.domain_id, revocation.id])
        .await?;
    Ok(())
}

//! The tables of objects: SQL, no decisions.

use sea_query::{Expr, ExprTrait as _, Order as SqlOrder, Query, SelectStatement};
use trunkline_core::{DomainId, Id as _, Timestamp, UserId};
use trunkline_db::{Db, Error, Row, Total, Tx, Value, containing, params};

use crate::base::Base;
use crate::list::{Direction, List, Order, Visible};
use crate::object::Object;

/// The columns that every such table has and that are read; a change to it is one to the statements below and to `Base`.
const SHARED: [&str; 11] = [
    "domain_id",
    "id",
    "parent_group_id",
    "name",
    "tags",
    "metadata",
    "status",
    "created_at",
    "updated_at",
    "updated_by",
    "revision",
];

/// SQL for one kind of object. `$1` is the domain and `$2` the id, where not said otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Statements {
    /// The table.
    pub table: &'static str,
    /// The columns that only this kind has.
    pub own: &'static [&'static str],
    /// Reads an object that is not marked as deleted.
    pub find: &'static str,
    /// Stores a new object: the values of its [`Base`] and then its own.
    pub insert: &'static str,
    /// Stores an object that is there, with the same values.
    pub update: &'static str,
    /// Marks as deleted, at `$3` by the user `$4`; a mark that is there stays.
    pub mark_deleted: &'static str,
    /// Removes what is marked.
    pub remove: &'static str,
    /// Lists what is marked, longest first, at most `$1`.
    pub marked_deleted: &'static str,
}

/// The [`Statements`] of a table: its name, and the columns that it has beside the shared ones, with the numbers of their values: from 13.
#[macro_export]
macro_rules! statements {
    ($table:literal, $($own:literal = $number:literal),+ $(,)?) => {
        $crate::store::Statements {
            table: $table,
            own: &[$($own),+],
            find: concat!(
                "SELECT domain_id, id, parent_group_id, name, tags, metadata, status, created_at, updated_at, updated_by, revision",
                $(", ", $own,)+
                " FROM ", $table,
                " WHERE domain_id = $1 AND id = $2 AND deleted_at IS NULL"
            ),
            insert: concat!(
                "INSERT INTO ", $table,
                " (domain_id, id, parent_group_id, name, name_folded, tags, metadata, status, created_at, updated_at, updated_by,",
                " revision",
                $(", ", $own,)+
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12",
                $(", $", $number,)+
                ")"
            ),
            update: concat!(
                "UPDATE ", $table,
                " SET parent_group_id = $3, name = $4, name_folded = $5, tags = $6, metadata = $7, status = $8, created_at = $9,",
                " updated_at = $10, updated_by = $11, revision = $12",
                $(", ", $own, " = $", $number,)+
                " WHERE domain_id = $1 AND id = $2"
            ),
            mark_deleted: concat!(
                "UPDATE ", $table,
                " SET deleted_at = COALESCE(deleted_at, $3), updated_by = $4 WHERE domain_id = $1 AND id = $2"
            ),
            remove: concat!(
                "DELETE FROM ", $table,
                " WHERE domain_id = $1 AND id = $2 AND deleted_at IS NOT NULL RETURNING updated_by, revision"
            ),
            marked_deleted: concat!(
                "SELECT domain_id, id FROM ", $table,
                " WHERE deleted_at IS NOT NULL ORDER BY deleted_at LIMIT $1"
            ),
        }
    };
}

/// What is left of a removed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// User that removed it.
    pub removed_by: Option<UserId>,
    /// Its last revision.
    pub revision: i64,
}

/// An object, if it is there.
///
/// # Errors
/// Those of the database, like all functions here.
pub async fn get<O: Object>(db: &Db, domain_id: DomainId, id: O::Id) -> Result<Option<O>, Error> {
    db.fetch_optional(O::STATEMENTS.find, params![domain_id, id], read)
        .await
}

/// An object, if it is there, to be changed in the same transaction.
pub async fn find<O: Object>(tx: &mut Tx<'_>, domain_id: DomainId, id: O::Id) -> Result<Option<O>, Error> {
    tx.fetch_optional(O::STATEMENTS.find, params![domain_id, id], read)
        .await
}

/// Stores a new object.
///
/// # Errors
/// [`Error::Conflict`] with a unique constraint of the table, and those of the database.
pub async fn insert<O: Object>(tx: &mut Tx<'_>, object: &O) -> Result<(), Error> {
    tx.execute(O::STATEMENTS.insert, values(object)).await?;
    Ok(())
}

/// Stores an object that [`find`] gave and the caller changed.
pub async fn update<O: Object>(tx: &mut Tx<'_>, object: &O) -> Result<(), Error> {
    tx.execute(O::STATEMENTS.update, values(object)).await?;
    Ok(())
}

/// One page of objects, and how many there are in all.
pub async fn list<O: Object>(db: &Db, list: &List, visible: &Visible<O::Id>) -> Result<(Total, Vec<O>), Error> {
    db.list(&selected::<O>(list, visible), list.page, read).await
}

/// Hides an object from every reader and keeps its row until [`remove`]. Whether there is one, hidden before or not.
pub async fn mark_deleted<O: Object>(
    db: &Db,
    domain_id: DomainId,
    id: O::Id,
    by: UserId,
    now: Timestamp,
) -> Result<bool, Error> {
    let marked = db.execute(O::STATEMENTS.mark_deleted, params![domain_id, id, now, by]);
    Ok(marked.await? > 0)
}

/// Removes an object that was marked, with all that belongs to it; `None` when there is none.
pub async fn remove<O: Object>(tx: &mut Tx<'_>, domain_id: DomainId, id: O::Id) -> Result<Option<Removed>, Error> {
    let read = |row: &Row| {
        Ok(Removed {
            removed_by: row.get("updated_by")?,
            revision: row.get("revision")?,
        })
    };
    tx.fetch_optional(O::STATEMENTS.remove, params![domain_id, id], read)
        .await
}

/// The objects that wait for [`remove`], longest first, at most `most`.
pub async fn marked_deleted<O: Object>(db: &Db, most: u32) -> Result<Vec<(DomainId, O::Id)>, Error> {
    let read = |row: &Row| Ok((row.get("domain_id")?, row.get("id")?));
    db.fetch_all(O::STATEMENTS.marked_deleted, params![most], read).await
}

fn read<O: Object>(row: &Row) -> Result<O, Error> {
    O::read(Base::read(row)?, row)
}

/// What [`Statements::insert`] and [`Statements::update`] bind.
fn values<O: Object>(object: &O) -> Vec<Value> {
    let mut values = object.base().values();
    values.extend(object.own_values());
    values
}

fn selected<O: Object>(list: &List, visible: &Visible<O::Id>) -> SelectStatement {
    let mut query = Query::select();
    query
        .columns(SHARED)
        .columns(O::STATEMENTS.own.iter().copied())
        .from(O::STATEMENTS.table)
        .and_where(Expr::col("domain_id").eq(list.domain_id.uuid()))
        .and_where(Expr::col("deleted_at").is_null());
    if let Some(status) = list.status {
        query.and_where(Expr::col("status").eq(status.as_str()));
    }
    if let Some(text) = &list.name_folded {
        query.and_where(Expr::col("name_folded").like(containing(text)));
    }
    if let Visible::Some { groups, objects } = visible {
        let in_group = Expr::col("parent_group_id").is_in(groups.iter().map(|id| id.uuid()));
        let is_named = Expr::col("id").is_in(objects.iter().map(|id| id.uuid()));
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

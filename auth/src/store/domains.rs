//! Rows of domains.

use sea_query::{Alias, Condition, Expr, ExprTrait as _, Func, JoinType, Order as SortOrder, Query, SelectStatement};
use trunkline_bus::topic::Route;
use trunkline_core::attributes::{Metadata, Name, Tags};
use trunkline_core::{DomainId, Timestamp, UserId};
use trunkline_db::{Error, Page, Row, Total, params};

use super::roles::RoleRow;
use super::{ObjectRow, Store};
use crate::actions::DOMAIN_OWN;
use crate::domain::{Domain, Filter, Order};
use crate::tree::Status;

const INSERT: &str = "
    INSERT INTO domains (
        id, route, name, name_folded, tags, metadata, status, created_by, created_at, updated_at, updated_by, revision
    )
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, NULL, 1)";

const BY_ID: &str = "
    SELECT id, route, name, tags, metadata, status, created_by, created_at, updated_at, updated_by
    FROM domains
    WHERE id = $1";

const ID_BY_ROUTE: &str = "
    SELECT id
    FROM domains
    WHERE route = $1";

const SET_STATUS: &str = "
    UPDATE domains
    SET status = $2, updated_at = $3, updated_by = $4, revision = revision + 1
    WHERE id = $1";

impl Store {
    /// Adds a domain with its object and built-in role, all or nothing.
    ///
    /// # Errors
    /// A conflict on `domains_route_key`, or on `domains_pkey`, `objects_pkey` or `objects_id_key` when the id is or was in use.
    pub async fn insert_domain(&self, domain: &Domain, object: &ObjectRow, role: &RoleRow<'_>) -> Result<(), Error> {
        let now = domain.created_at;
        let values = params![
            domain.id,
            domain.route.as_str(),
            domain.name.as_str(),
            domain.name.folded(),
            domain.tags.to_json(),
            domain.metadata.as_ref().map(Metadata::as_str),
            domain.status.as_str(),
            domain.created_by,
            now,
        ];
        self.db
            .write(|tx| {
                let values = values.clone();
                Box::pin(async move {
                    tx.execute(INSERT, values).await?;
                    super::objects::insert_object(tx, object, "active", now).await?;
                    super::roles::insert_role(tx, role, now).await
                })
            })
            .await
    }

    /// The domain with this id.
    pub async fn domain(&self, id: DomainId) -> Result<Option<Domain>, Error> {
        self.db.fetch_optional(BY_ID, params![id], domain_of).await
    }

    /// The id of the domain with this route.
    pub async fn domain_by_route(&self, route: &Route) -> Result<Option<DomainId>, Error> {
        self.db
            .fetch_optional(ID_BY_ROUTE, params![route.as_str()], |row| row.get("id"))
            .await
    }

    /// One page of domains.
    pub async fn domains(&self, filter: &Filter, page: Page) -> Result<(Total, Vec<Domain>), Error> {
        self.db.list(&select(filter), page, domain_of).await
    }

    /// Sets a domain's status, and that of its object in the tree.
    pub async fn set_domain_status(
        &self,
        id: DomainId,
        status: Status,
        now: Timestamp,
        by: UserId,
    ) -> Result<(), Error> {
        self.db
            .write(|tx| {
                Box::pin(async move {
                    tx.execute(SET_STATUS, params![id, status.as_str(), now, by]).await?;
                    super::objects::set_status(tx, id, id.uuid(), status).await
                })
            })
            .await
    }
}

fn select(filter: &Filter) -> SelectStatement {
    let column = Alias::new;
    let mut query = Query::select();
    query
        .columns(
            [
                "id",
                "route",
                "name",
                "tags",
                "metadata",
                "status",
                "created_by",
                "created_at",
                "updated_at",
                "updated_by",
            ]
            .map(column),
        )
        .from(Alias::new("domains"));
    if let Some(status) = filter.status {
        query.and_where(Expr::col(column("status")).eq(status.as_str()));
    }
    if let Some(text) = &filter.name {
        query.and_where(Expr::col(column("name_folded")).like(trunkline_db::containing(text)));
    }
    if let Some(member) = filter.member {
        query.cond_where(visible_to(member));
    }
    let direction = if filter.is_ascending {
        SortOrder::Asc
    } else {
        SortOrder::Desc
    };
    let key = match filter.order {
        Order::UpdatedAt => "updated_at",
        Order::CreatedAt => "created_at",
        Order::Name => "name_folded",
    };
    // The id makes the order total, so that pages neither repeat nor skip.
    query
        .order_by(column(key), direction.clone())
        .order_by(column("id"), direction);
    query
}

/// The domains that a user may see, by the evaluator's rules: enabled ones in which he holds any action, disabled ones that he
/// administers, frozen ones never.
fn visible_to(member: UserId) -> Condition {
    let column = |table: &'static str, name: &'static str| Expr::col((Alias::new(table), Alias::new(name)));
    let held = Query::select()
        .column((Alias::new("m"), Alias::new("domain_id")))
        .from_as(Alias::new("role_members"), Alias::new("m"))
        .join_as(
            JoinType::InnerJoin,
            Alias::new("role_actions"),
            Alias::new("a"),
            column("a", "domain_id")
                .equals((Alias::new("m"), Alias::new("domain_id")))
                .and(column("a", "role_id").equals((Alias::new("m"), Alias::new("role_id")))),
        )
        .and_where(column("m", "user_id").eq(member.uuid()))
        .take();
    let administered = held
        .clone()
        .and_where(column("m", "entity_id").equals((Alias::new("m"), Alias::new("domain_id"))))
        .and_where(column("a", "action").is_in(DOMAIN_OWN.iter().copied()))
        .group_by_col((Alias::new("m"), Alias::new("domain_id")))
        .and_having(Func::count(column("a", "action")).eq(i64::try_from(DOMAIN_OWN.len()).unwrap_or(i64::MAX)))
        .take();
    let (status, id) = (|| Expr::col(Alias::new("status")), || Expr::col(Alias::new("id")));
    Condition::any()
        .add(status().eq(Status::Enabled.as_str()).and(id().in_subquery(held)))
        .add(
            status()
                .eq(Status::Disabled.as_str())
                .and(id().in_subquery(administered)),
        )
}

fn domain_of(row: &Row) -> Result<Domain, Error> {
    let damaged = |column: &str| Error::Corrupt(format!("domains.{column} is not what was written").into());
    Ok(Domain {
        id: row.get("id")?,
        route: Route::parse(&row.get::<String>("route")?).ok_or_else(|| damaged("route"))?,
        name: Name::parse("name", &row.get::<String>("name")?).map_err(|_| damaged("name"))?,
        tags: Tags::from_json(&row.get::<String>("tags")?),
        metadata: row.get::<Option<String>>("metadata")?.map(Metadata::trusted),
        status: Status::parse(&row.get::<String>("status")?).ok_or_else(|| damaged("status"))?,
        created_by: row.get("created_by")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        updated_by: row.get("updated_by")?,
    })
}

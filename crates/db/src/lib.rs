//! One SQL text for two databases: SQLite when the platform is whole, Postgres when it is split.
//!
//! A service writes each statement once, in the shared subset: `$n` binds, RETURNING, `ON CONFLICT … DO UPDATE`, CTEs, row-value
//! keyset paging, closed sets as TEXT with CHECK, time as BIGINT microseconds. A query whose shape depends on the request
//! is built with sea-query and run by the same executor.
//!
//! ```no_run
//! use trunkline_core::ClientId;
//! use trunkline_db::{Db, Error, params};
//!
//! const FIND: &str = "
//!     SELECT name
//!     FROM clients
//!     WHERE id = $1";
//!
//! async fn find(db: &Db, id: ClientId) -> Result<Option<String>, Error> {
//!     db.fetch_optional(FIND, params![id], |row| row.get("name")).await
//! }
//! ```
//!
//! On Postgres a schema belongs to an owner, who makes and changes it ([`Db::migrate`]) and grants its rows to the service's user
//! ([`Db::grant`]); a process opens what fits it exactly, and belongs to its platform ([`Migrations::of`]). Every wait for a server has a named limit ([`mod@postgres`]), after which the
//! connection is given up and the next one made. A service that answers from memory serves alone ([`tenure`]).
//!
//! **Invariants:** no service is known here; `sqlx::Any` and a cargo feature per database are deliberately absent; the drivers'
//! error codes are read in [`Error`] alone; what is committed is durable; a service's user cannot change a table.

mod connection;
mod containing;
mod database;
mod error;
mod migrations;
pub mod outbox;
pub mod page;
pub mod postgres;
mod row;
pub mod schema;
mod sqlite;
pub mod tenure;
mod tx;
mod value;

pub use containing::containing;
pub use database::{Db, WRITE_TRIES_MAX};
pub use error::{CONCURRENT_CHANGE, Error, Source};
pub use futures_util::future::BoxFuture;
pub use migrations::{Migrations, Step};
pub use page::{Page, Total};
pub use row::{Column, Row};
pub use tx::Tx;
pub use value::{Bind, Value};

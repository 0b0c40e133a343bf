//! The database of `auth`: statements and rows, no decisions.

mod domains;
mod objects;
mod roles;
mod users;

use trunkline_db::{Db, Migrations, migrations};

pub use objects::{ObjectRow, StoredRole};
pub use roles::RoleRow;

/// The migrations of this service.
pub const MIGRATIONS: Migrations = migrations!("auth", "0001_identity");

/// The database of this service, cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: Db,
}

impl Store {
    /// Takes an open database.
    pub const fn new(db: Db) -> Self {
        Self { db }
    }
}

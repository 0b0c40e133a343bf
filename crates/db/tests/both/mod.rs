//! One example service on both databases, each empty.

use trunkline_db::{Db, Migrations, Step};
use trunkline_testkit::{Database, Postgres, TempDir, free_dir};

/// An open database, and what has to live as long as it does.
pub(crate) struct Opened {
    pub(crate) db: Db,
    #[allow(dead_code, reason = "only some of the test files open a database again")]
    pub(crate) url: String,
    _folder: Option<TempDir>,
    _database: Option<Database>,
}

/// The example service, with every kind of column and constraint.
pub(crate) const EXAMPLE: Migrations = Migrations::new("example", &[SITES]);

pub(crate) const SITES: Step = Step {
    name: "0001_sites",
    sqlite: SITES_SQLITE,
    postgres: SITES_POSTGRES,
};

const SITES_SQLITE: &str = "
    CREATE TABLE sites (
        id BLOB PRIMARY KEY NOT NULL,
        name TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled')),
        route TEXT,
        is_open INTEGER CHECK (is_open IN (0, 1)),
        picture BLOB,
        revision INTEGER NOT NULL,
        created_at INTEGER
    ) STRICT;
    CREATE UNIQUE INDEX sites_route_key ON sites (route) WHERE route IS NOT NULL;
    CREATE UNIQUE INDEX sites_name_folded ON sites (lower(name));
    CREATE TABLE doors (
        site_id BLOB NOT NULL REFERENCES sites (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        code TEXT,
        PRIMARY KEY (site_id, number),
        UNIQUE (site_id, code)
    ) STRICT;";

const SITES_POSTGRES: &str = "
    CREATE TABLE sites (
        id UUID PRIMARY KEY,
        name TEXT COLLATE \"C\" NOT NULL,
        status TEXT COLLATE \"C\" NOT NULL CHECK (status IN ('enabled', 'disabled')),
        route TEXT COLLATE \"C\",
        is_open BOOLEAN,
        picture BYTEA,
        revision BIGINT NOT NULL,
        created_at BIGINT
    );
    CREATE UNIQUE INDEX sites_route_key ON sites (route) WHERE route IS NOT NULL;
    CREATE UNIQUE INDEX sites_name_folded ON sites (lower(name));
    CREATE TABLE doors (
        site_id UUID NOT NULL REFERENCES sites (id) ON DELETE CASCADE,
        number BIGINT NOT NULL,
        code TEXT COLLATE \"C\",
        PRIMARY KEY (site_id, number),
        UNIQUE (site_id, code)
    );";

/// The example service on SQLite, then on Postgres.
pub(crate) async fn both() -> [Opened; 2] {
    both_with(&EXAMPLE, &EXAMPLE).await
}

/// The same with other migrations for each.
pub(crate) async fn both_with(sqlite: &Migrations, postgres: &Migrations) -> [Opened; 2] {
    let folder = free_dir();
    let url = format!("sqlite:{}", folder.path().join("example.db").display());
    let db = Db::open(&url, sqlite).await.unwrap();
    let left = Opened {
        db,
        url,
        _folder: Some(folder),
        _database: None,
    };

    let database = Postgres::database().await;
    let url = database.url().to_owned();
    let db = Db::migrate_and_open(&url, postgres).await.unwrap();
    [
        left,
        Opened {
            db,
            url,
            _folder: None,
            _database: Some(database),
        },
    ]
}

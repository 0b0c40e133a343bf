//! Migrations: what they refuse, and that two folders are compared to the last column.
#![allow(clippy::unwrap_used, missing_docs)]

mod both;

use both::{EXAMPLE, SITES, both, both_with};
use trunkline_db::{Db, Error, Migrations, Step, params, schema};

const LATER: Migrations = Migrations::new(
    "example",
    &[
        SITES,
        Step {
            name: "0002_later",
            sqlite: "DROP TABLE doors;",
            postgres: "DROP TABLE doors;",
        },
    ],
);

const REWRITTEN: Migrations = Migrations::new(
    "example",
    &[Step {
        name: "0001_sites",
        sqlite: "SELECT 1;",
        postgres: "SELECT 1;",
    }],
);

const BROKEN: Migrations = Migrations::new(
    "example",
    &[
        SITES,
        Step {
            name: "0002_broken",
            sqlite: "DROP TABLE doors; DROP TABLE nowhere;",
            postgres: "DROP TABLE doors; DROP TABLE nowhere;",
        },
    ],
);

const DOOR_COUNT: &str = "
    SELECT COUNT(*) AS n
    FROM doors";

#[tokio::test]
async fn opening_again_applies_only_what_is_new() {
    for opened in both().await {
        opened.db.close().await;
        let same = Db::open(&opened.url, &EXAMPLE).await.unwrap();
        assert_eq!(
            same.fetch_one(DOOR_COUNT, params![], |row| row.get::<i64>("n"))
                .await
                .unwrap(),
            0
        );
        same.close().await;
        let later = Db::migrate_and_open(&opened.url, &LATER).await.unwrap();
        assert!(
            later
                .fetch_one(DOOR_COUNT, params![], |row| row.get::<i64>("n"))
                .await
                .is_err()
        );
        later.close().await;
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_in_one_sentence() {
    for opened in both_with(&LATER, &LATER).await {
        opened.db.close().await;
        let Err(error) = Db::open(&opened.url, &EXAMPLE).await else {
            panic!("a newer database was opened")
        };
        assert!(
            matches!(
                error,
                Error::Newer {
                    service: "example",
                    number: 2
                }
            ),
            "{error:?}"
        );
        assert!(
            error
                .to_string()
                .starts_with("the database of example was written by a newer version"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_migration_that_was_rewritten_is_refused() {
    for opened in both().await {
        opened.db.close().await;
        let Err(error) = Db::open(&opened.url, &REWRITTEN).await else {
            panic!("a rewritten migration passed")
        };
        assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_migration_that_fails_halfway_leaves_nothing() {
    for opened in both().await {
        opened.db.close().await;
        assert!(Db::migrate(&opened.url, &BROKEN).await.is_err());
        let before = Db::open(&opened.url, &EXAMPLE).await.unwrap();
        assert_eq!(
            before
                .fetch_one(DOOR_COUNT, params![], |row| row.get::<i64>("n"))
                .await
                .unwrap(),
            0
        );
        before.close().await;
    }
}

#[tokio::test]
async fn two_services_share_a_postgres_without_meeting() {
    const OTHER: Migrations = Migrations::new("other", &[SITES]);
    let [_, postgres] = both().await;
    let other = Db::migrate_and_open(&postgres.url, &OTHER).await.unwrap();
    other.execute("DROP TABLE doors", params![]).await.unwrap();
    assert_eq!(
        postgres
            .db
            .fetch_one(DOOR_COUNT, params![], |row| row.get::<i64>("n"))
            .await
            .unwrap(),
        0
    );
    other.close().await;
}

#[tokio::test]
async fn an_address_of_another_kind_is_refused() {
    assert!(matches!(
        Db::open("mysql://root@127.0.0.1/t", &EXAMPLE).await,
        Err(Error::Defect(_))
    ));
}

#[tokio::test]
async fn the_two_folders_of_the_example_are_the_same_schema() {
    let [sqlite, postgres] = both().await;
    assert_eq!(
        schema::compare(&sqlite.db, &postgres.db).await.unwrap(),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn every_kind_of_difference_between_the_folders_is_told() {
    const LEFT: Migrations = Migrations::new(
        "example",
        &[Step {
            name: "0001_shapes",
            sqlite: "
            CREATE TABLE shapes (
                id BLOB PRIMARY KEY NOT NULL,
                name TEXT NOT NULL,
                size INTEGER,
                colour TEXT CHECK (colour IN ('red')),
                parent BLOB REFERENCES shapes (id),
                extra TEXT
            ) STRICT;
            CREATE INDEX shapes_size ON shapes (size);
            CREATE UNIQUE INDEX shapes_named ON shapes (name);
            CREATE TABLE loose (id BLOB PRIMARY KEY NOT NULL);
            CREATE TABLE alone (id BLOB PRIMARY KEY NOT NULL) STRICT;",
            postgres: "",
        }],
    );
    const RIGHT: Migrations = Migrations::new(
        "example",
        &[Step {
            name: "0001_shapes",
            sqlite: "",
            postgres: "
            CREATE TABLE shapes (
                id UUID,
                name TEXT,
                size INTEGER,
                colour TEXT CHECK (colour IN ('blue')),
                parent UUID,
                PRIMARY KEY (id, size)
            );
            CREATE UNIQUE INDEX shapes_named ON shapes (name);
            CREATE TABLE loose (id UUID PRIMARY KEY);",
        }],
    );
    let [sqlite, postgres] = both_with(&LEFT, &RIGHT).await;
    let mut differences = schema::compare(&sqlite.db, &postgres.db).await.unwrap();
    differences.sort();
    let expected = [
        "column shapes.extra is missing on Postgres",
        "column shapes.name is NOT NULL on one database only",
        "column shapes.name is in an index and lacks COLLATE \"C\" on Postgres",
        "column shapes.size has different places in the primary keys",
        "column shapes.size is INTEGER on SQLite and integer on Postgres",
        "column shapes.size is NOT NULL on one database only",
        "table alone is missing on Postgres",
        "table loose is not STRICT on SQLite",
        "table shapes has different CHECKs",
        "table shapes has on one database only: foreign key parent to shapes.id, NO ACTION",
        "table shapes has on one database only: index of size",
        "unique index shapes_named on Postgres is to be named shapes_name_key",
    ];
    assert_eq!(differences, expected);
}

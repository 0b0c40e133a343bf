//! A Postgres server: who may do what there, and what happens when it goes away and comes back.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code, reason = "this file opens its databases by itself")]
mod both;

use std::time::{Duration, Instant};

use both::{EXAMPLE, SITES};
use tokio::task::JoinSet;
use trunkline_db::postgres::{ANSWER_WAIT, PROBE_WAIT};
use trunkline_db::tenure::{LOOK_INTERVAL, Standing, Tenure};
use trunkline_db::{Db, Error, Migrations, Step, params};
use trunkline_testkit::{Database, Postgres, Proxy, throughout, until};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

const LATER: Migrations = Migrations::new(
    "example",
    &[
        SITES,
        Step {
            name: "0002_later",
            sqlite: "",
            postgres: "CREATE TABLE windows (id UUID PRIMARY KEY);",
        },
    ],
);

const ADD: &str = "
    INSERT INTO sites (id, name, status, revision)
    VALUES (gen_random_uuid(), $1, 'enabled', 1)";

const COUNT: &str = "
    SELECT COUNT(*) AS n
    FROM sites";

async fn count(db: &Db) -> Result<i64, Error> {
    db.fetch_one(COUNT, params![], |row| row.get("n")).await
}

async fn refusal(database: &Database, url: &str, migrations: &Migrations) -> String {
    let Err(error) = Db::open(url, migrations).await else {
        panic!("{} was opened", database.url())
    };
    error.to_string()
}

/// A network before the server of `database`, and where to connect through it.
async fn proxied(database: &Database) -> (Proxy, String) {
    let (user, address) = database.url().split_once('@').unwrap();
    let (server, name) = address.split_once('/').unwrap();
    let proxy = Proxy::before(server).await;
    let url = format!("{user}@{}/{name}", proxy.address());
    (proxy, url)
}

#[tokio::test]
async fn a_schema_that_is_missing_or_older_is_refused_and_says_what_to_do() {
    let database = Postgres::database().await;
    let missing = refusal(&database, database.url(), &EXAMPLE).await;
    assert_eq!(
        missing,
        "the database has no schema for example; run `trunkline migrate` with the owner's credentials"
    );
    Db::migrate(database.url(), &EXAMPLE).await.unwrap();
    let older = refusal(&database, database.url(), &LATER).await;
    assert!(
        older.starts_with("the schema of example is of an older version (it lacks migration 2)"),
        "{older}"
    );
    Db::migrate(database.url(), &LATER).await.unwrap();
    let newer = refusal(&database, database.url(), &EXAMPLE).await;
    assert!(
        newer.starts_with("the database of example was written by a newer version"),
        "{newer}"
    );
    Db::open(database.url(), &LATER).await.unwrap();
}

#[tokio::test]
async fn migrations_at_the_same_time_do_it_once() {
    let database = Postgres::database().await;
    let migrations: Vec<_> = (0..8)
        .map(|_| {
            let url = database.url().to_owned();
            tokio::spawn(async move { Db::migrate(&url, &LATER).await })
        })
        .collect();
    for migration in migrations {
        migration.await.unwrap().unwrap();
    }
    let db = Db::open(database.url(), &LATER).await.unwrap();
    let applied = "SELECT COUNT(*) AS n FROM service_migrations";
    let applied = db.fetch_one(applied, params![], |row| row.get::<i64>("n"));
    assert_eq!(applied.await.unwrap(), 2);
}

#[tokio::test]
async fn the_schema_of_another_platform_is_left_alone() {
    let database = Postgres::database().await;
    let (owner, other) = (Uuid::now_v7(), Uuid::now_v7());
    let (user, url) = database.user().await;
    Db::migrate(database.url(), &EXAMPLE.of(owner)).await.unwrap();
    Db::grant(database.url(), &EXAMPLE, &user).await.unwrap();
    let told = format!(
        "the schema of example belongs to platform {owner}, and this is platform {other}; choose another database"
    );
    assert_eq!(refusal(&database, &url, &EXAMPLE.of(other)).await, told);
    let error = Db::migrate(database.url(), &LATER.of(other)).await.unwrap_err();
    assert_eq!(error.to_string(), told);
    Db::open(&url, &EXAMPLE.of(owner)).await.unwrap();
    Db::migrate(database.url(), &LATER.of(owner)).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_is_nobodys_becomes_that_of_whoever_migrates_first() {
    let database = Postgres::database().await;
    Db::migrate(database.url(), &EXAMPLE).await.unwrap();
    let platforms: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
    let unclaimed = refusal(&database, database.url(), &EXAMPLE.of(platforms[0])).await;
    assert!(
        unclaimed
            .starts_with("the schema of example says of no platform that it belongs to it; run `trunkline migrate`"),
        "{unclaimed}"
    );
    let claims = platforms.iter().map(|platform| {
        let (url, migrations) = (database.url().to_owned(), EXAMPLE.of(*platform));
        tokio::spawn(async move { Db::migrate(&url, &migrations).await })
    });
    let mut owners = Vec::new();
    for (claim, platform) in claims.collect::<Vec<_>>().into_iter().zip(&platforms) {
        match claim.await.unwrap() {
            Ok(()) => owners.push(platform),
            Err(error) => assert!(matches!(error, Error::OtherPlatform { .. }), "{error}"),
        }
    }
    let [owner] = owners.as_slice() else {
        panic!("one of them gets it, not {owners:?}");
    };
    Db::open(database.url(), &EXAMPLE.of(**owner)).await.unwrap();
}

#[tokio::test]
async fn the_user_of_a_service_has_its_rows_and_no_tables() {
    const OTHER: Migrations = Migrations::new("other", &[SITES]);
    let database = Postgres::database().await;
    let (user, url) = database.user().await;
    Db::migrate(database.url(), &EXAMPLE).await.unwrap();
    Db::migrate(database.url(), &OTHER).await.unwrap();
    let ungranted = refusal(&database, &url, &EXAMPLE).await;
    assert!(
        ungranted.starts_with("the database user has no rights in the schema of example"),
        "{ungranted}"
    );

    Db::grant(database.url(), &EXAMPLE, &user).await.unwrap();
    let db = Db::open(&url, &EXAMPLE).await.unwrap();
    assert_eq!(db.execute(ADD, params!["a"]).await.unwrap(), 1);
    assert_eq!(db.execute("DELETE FROM sites", params![]).await.unwrap(), 1);
    for forbidden in [
        "CREATE TABLE extra (id UUID)",
        "CREATE TABLE public.extra (id UUID)",
        "ALTER TABLE sites ADD COLUMN extra TEXT",
        "DROP TABLE doors",
        "TRUNCATE doors",
        "CREATE SCHEMA extra",
        "DELETE FROM service_migrations",
        "UPDATE ground_migrations SET version = 9",
        "SELECT id FROM other.sites",
    ] {
        assert!(db.execute(forbidden, params![]).await.is_err(), "{forbidden}");
    }
}

#[tokio::test]
async fn grants_at_the_same_time_do_not_disturb_each_other() {
    const EACH: usize = 10;
    let database = Postgres::database().await;
    let (user, url) = database.user().await;
    Db::migrate(database.url(), &EXAMPLE).await.unwrap();
    let mut processes = JoinSet::new();
    for _ in 0..4 {
        let (owner, user) = (database.url().to_owned(), user.clone());
        processes.spawn(async move {
            for _ in 0..EACH {
                Db::grant(&owner, &EXAMPLE, &user).await.unwrap();
            }
        });
    }
    processes.join_all().await;
    let db = Db::open(&url, &EXAMPLE).await.unwrap();
    assert_eq!(db.execute(ADD, params!["a"]).await.unwrap(), 1);
}

#[tokio::test]
async fn a_user_who_may_not_migrate_changes_nothing() {
    let database = Postgres::database().await;
    let (_, url) = database.user().await;
    assert!(Db::migrate(&url, &EXAMPLE).await.is_err());
    assert!(refusal(&database, database.url(), &EXAMPLE).await.contains("no schema"));
}

#[tokio::test]
async fn a_server_that_went_away_is_used_again_once_it_is_back() {
    let database = Postgres::database().await;
    let db = Db::migrate_and_open(database.url(), &EXAMPLE).await.unwrap();
    db.execute(ADD, params!["a"]).await.unwrap();
    database.go_away().await;
    let error = db.execute(ADD, params!["b"]).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(matches!(db.probe().await, Err(Error::Unavailable(_))));
    assert!(matches!(count(&db).await, Err(Error::Unavailable(_))));
    database.come_back().await;
    db.probe().await.unwrap();
    db.execute(ADD, params!["b"]).await.unwrap();
    assert_eq!(count(&db).await.unwrap(), 2);
}

#[tokio::test]
async fn a_network_that_hangs_is_told_in_time_and_used_again_when_it_heals() {
    let database = Postgres::database().await;
    let (proxy, url) = proxied(&database).await;
    let db = Db::migrate_and_open(&url, &EXAMPLE).await.unwrap();
    count(&db).await.unwrap();
    proxy.hold();
    let held = Instant::now();
    assert!(matches!(db.probe().await, Err(Error::Unavailable(_))));
    assert!(held.elapsed() < PROBE_WAIT * 2, "{:?}", held.elapsed());
    let error = db.execute(ADD, params!["a"]).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(held.elapsed() < PROBE_WAIT * 2 + ANSWER_WAIT, "{:?}", held.elapsed());
    proxy.heal();
    let healed = Instant::now();
    db.execute(ADD, params!["a"]).await.unwrap();
    assert!(healed.elapsed() < ANSWER_WAIT, "{:?}", healed.elapsed());
}

#[tokio::test]
async fn sessions_that_were_ended_are_replaced_without_an_error() {
    let database = Postgres::database().await;
    let db = Db::migrate_and_open(database.url(), &EXAMPLE).await.unwrap();
    for _ in 0..3 {
        assert_eq!(count(&db).await.unwrap(), 0);
        database.end_connections().await;
    }
}

#[tokio::test]
async fn only_one_process_serves_and_another_follows_it() {
    let database = Postgres::database().await;
    let (url, first) = (
        database.url(),
        Db::migrate_and_open(database.url(), &EXAMPLE).await.unwrap(),
    );
    let second = Db::open(url, &EXAMPLE).await.unwrap();
    let tenure = Tenure::take(url, &first, &EXAMPLE).await.unwrap();
    first.execute(ADD, params!["a"]).await.unwrap();
    let held = Tenure::take(url, &second, &EXAMPLE).await.unwrap_err();
    assert!(
        held.to_string()
            .starts_with("another process serves example on this database"),
        "{held}"
    );

    drop(tenure);
    let following = tokio::time::timeout(PATIENCE, Tenure::await_turn(url, &second, &EXAMPLE));
    let _tenure = following.await.unwrap().unwrap();
    second.execute(ADD, params!["b"]).await.unwrap();
    let deposed = first.execute(ADD, params!["c"]).await.unwrap_err();
    assert!(matches!(deposed, Error::Deposed), "{deposed:?}");
    assert_eq!(count(&first).await.unwrap(), 2);
}

#[tokio::test]
async fn a_tenure_outlives_a_server_that_goes_away_unless_another_has_served() {
    let database = Postgres::database().await;
    let (url, first) = (
        database.url(),
        Db::migrate_and_open(database.url(), &EXAMPLE).await.unwrap(),
    );
    let second = Db::open(url, &EXAMPLE).await.unwrap();
    let tenure = Tenure::take(url, &first, &EXAMPLE).await.unwrap();
    database.go_away().await;
    let mut standing = tenure.standing();
    let unsure = standing.wait_for(|standing| *standing == Standing::Unsure);
    tokio::time::timeout(PATIENCE, unsure).await.unwrap().unwrap();
    database.come_back().await;
    let held = standing.wait_for(|standing| *standing == Standing::Held);
    tokio::time::timeout(PATIENCE, held).await.unwrap().unwrap();
    first.execute(ADD, params!["a"]).await.unwrap();

    // Whoever is quicker has it; it is enough to have had it for a moment.
    let was_taken = || async {
        database.end_connections().await;
        Tenure::take(url, &second, &EXAMPLE).await.is_ok()
    };
    until(PATIENCE, was_taken).await;
    tokio::time::timeout(PATIENCE, tenure.lost()).await.unwrap();
    assert!(matches!(first.execute(ADD, params!["b"]).await, Err(Error::Deposed)));
}

/// The stalls begin at different moments between two looks at the lock, and end before, within and after an attempt to take it again.
#[tokio::test]
async fn a_stall_in_which_nobody_else_has_served_does_not_end_a_tenure() {
    let mut stalls = JoinSet::new();
    for (begins_ms, lasts_ms) in [(0, 3_000), (300, 3_500), (600, 4_500), (900, 6_000)] {
        stalls.spawn(tenure_outlives(begins_ms, lasts_ms));
    }
    stalls.join_all().await;
}

async fn tenure_outlives(begins_ms: u64, lasts_ms: u64) {
    let database = Postgres::database().await;
    let db = Db::migrate_and_open(database.url(), &EXAMPLE).await.unwrap();
    let (proxy, url) = proxied(&database).await;
    let tenure = Tenure::take(&url, &db, &EXAMPLE).await.unwrap();
    let mut standing = tenure.standing();
    let goes_on = || async { *tenure.standing().borrow() != Standing::Lost };
    throughout(Duration::from_millis(begins_ms), goes_on).await;
    proxy.hold();
    throughout(Duration::from_millis(lasts_ms), goes_on).await;
    proxy.heal();
    // What was asked in the stall, and what is asked next.
    throughout(PROBE_WAIT + LOOK_INTERVAL * 2, goes_on).await;
    let held = standing.wait_for(|standing| *standing == Standing::Held);
    tokio::time::timeout(PATIENCE, held).await.unwrap().unwrap();
    db.execute(ADD, params!["a"]).await.unwrap();
}

#[tokio::test]
async fn a_file_needs_no_lock_to_be_served_alone() {
    let folder = trunkline_testkit::free_dir();
    let url = format!("sqlite:{}", folder.path().join("example.db").display());
    let db = Db::open(&url, &EXAMPLE).await.unwrap();
    let tenure = Tenure::take(&url, &db, &EXAMPLE).await.unwrap();
    assert_eq!(*tenure.standing().borrow(), Standing::Held);
    assert_eq!(count(&db).await.unwrap(), 0);
}

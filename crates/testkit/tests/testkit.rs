//! The testkit keeps its own promises.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::process::Command;
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use trunkline_testkit::{Postgres, free_dir, tool, until, until_some};

#[tokio::test]
async fn until_returns_once_the_condition_holds() {
    let looks = Cell::new(0);
    until(Duration::from_secs(10), || async {
        looks.set(looks.get() + 1);
        looks.get() == 3
    })
    .await;
    assert_eq!(looks.get(), 3);
    assert_eq!(until_some(Duration::ZERO, || async { Some("found") }).await, "found");
}

#[tokio::test]
#[should_panic(expected = "testkit.rs")]
async fn until_names_the_line_that_waited_in_vain() {
    until(Duration::ZERO, || async { false }).await;
}

#[tokio::test]
#[should_panic(expected = "did not come within")]
async fn until_does_not_wait_for_a_condition_that_hangs() {
    until(Duration::from_millis(1), std::future::pending).await;
}

#[tokio::test]
async fn a_database_is_empty_of_its_own_and_gone_when_dropped() {
    let (one, other) = (Postgres::database().await, Postgres::database().await);
    let mut connection = PgConnection::connect(one.url()).await.unwrap();
    sqlx::raw_sql("CREATE TABLE mine (id INT)")
        .execute(&mut connection)
        .await
        .unwrap();
    let mut beside = PgConnection::connect(other.url()).await.unwrap();
    assert!(sqlx::raw_sql("SELECT id FROM mine").execute(&mut beside).await.is_err());

    // Dropped while a connection is open.
    let url = one.url().to_owned();
    drop(one);
    assert!(PgConnection::connect(&url).await.is_err());
}

#[test]
fn a_free_dir_is_empty_and_gone_when_dropped() {
    let folder = free_dir();
    let path = folder.path().to_owned();
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    drop(folder);
    assert!(!path.exists());
}

#[test]
fn the_tools_run() {
    for name in ["mosquitto_pub", "mosquitto_sub"] {
        let help = Command::new(tool(name)).arg("--help").output().unwrap();
        assert!(
            String::from_utf8_lossy(&help.stdout).contains("version 2.0"),
            "{name} is {help:?}"
        );
    }
    let version = Command::new(tool("openapi_validator"))
        .arg("--version")
        .status()
        .unwrap();
    assert!(version.success());
}

#[test]
#[should_panic(expected = "run `cargo xtask test`")]
fn a_missing_tool_names_the_command_that_brings_it() {
    let _ = tool("nothing");
}

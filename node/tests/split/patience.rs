//! What goes away while a process starts is waited for, at whichever step of the start that is.

use trunkline_testkit::until;

use crate::PATIENCE;
use crate::site::{Process, Site, address, get};

#[tokio::test]
async fn a_writer_waits_for_a_bus_that_goes_while_it_waits_for_its_database() {
    let mut site = Site::migrated().await;
    site.database.go_away().await;
    let mut writer = Process::spawn(&mut site.serve("writer"));
    let ops = address(&writer.logs("ops="), "ops").unwrap();
    let misses = |name: &str| get(ops, "/health").1.contains(&format!(r#""missing":["{name}"]"#));
    until(PATIENCE, async || misses("database:writer")).await;
    site.nats.kill();
    site.database.come_back().await;
    until(PATIENCE, async || misses("nats")).await;
    site.nats.restart();
    writer.ready();
}

#[tokio::test]
async fn auth_waits_for_a_database_that_does_not_say_whether_there_is_an_administrator() {
    let site = Site::migrated().await;
    let users = site.database.lock("auth.users").await;
    let mut auth = Process::spawn(&mut site.serve("auth"));
    let ops = address(&auth.logs("ops="), "ops").unwrap();
    until(PATIENCE, async || get(ops, "/health").1.contains("counting users")).await;
    assert_eq!(get(ops, "/ready").0, 503);
    drop(users);
    auth.ready();
    assert_eq!(get(ops, "/ready").0, 200);
}

//! A platform as separate processes: how it is made, how they start and refuse to, and what their health says.

#![allow(clippy::unwrap_used)]

mod doctor;
mod patience;
mod site;
mod start;
#[path = "../steps/mod.rs"]
mod steps;
mod tls;
mod traces;

use std::time::Duration;

use axum::http::Method;
use serde_json::json;
use site::{Process, Site, address, get};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use trunkline_mqtt_wire::{ReasonCode, Version};
use trunkline_testkit::{http, mqtt, until};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asserts that a process ends with code 2 and one sentence that has each of `parts`.
fn refused(command: &mut std::process::Command, parts: &[&str]) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let sentences: Vec<&str> = stderr.lines().filter(|line| line.starts_with("trunkline: ")).collect();
    assert_eq!(sentences.len(), 1, "one sentence: {stderr}");
    for part in parts {
        assert!(sentences[0].contains(part), "`{part}` is missing in: {stderr}");
    }
}

#[tokio::test]
async fn four_processes_take_a_first_message_to_the_reader() {
    let mut site = Site::migrated().await;
    let _core = site.start("auth,things,channels");
    let _store = site.start("writer,reader");
    let mut adapters = Process::spawn(&mut site.serve("mqtt,http"));
    let mqtt = address(&adapters.ready(), "mqtt").unwrap();
    let mut gateway = Process::spawn(&mut site.serve("gateway"));
    let line = gateway.ready();
    assert_eq!(address(&line, "mqtt"), None, "{line}");
    let (succeeded, told) = site.ask("demo", address(&line, "http").unwrap(), mqtt, &[]);
    assert!(succeeded && told.contains("read them back"), "{told}");
}

#[tokio::test]
async fn every_role_can_be_a_process_of_its_own() {
    let mut site = Site::migrated().await;
    let _services: Vec<Process> = ["auth", "things", "channels", "reader", "writer"]
        .into_iter()
        .map(|role| site.start(role))
        .collect();
    let mut mqtt = Process::spawn(&mut site.serve("mqtt"));
    let mut gateway = Process::spawn(&mut site.serve("gateway"));
    let http = address(&gateway.ready(), "http").unwrap();
    let (succeeded, told) = site.ask("demo", http, address(&mqtt.ready(), "mqtt").unwrap(), &[]);
    assert!(succeeded && told.contains("read them back"), "{told}");
}

#[tokio::test]
async fn health_names_the_dependency_that_is_away_until_it_is_back() {
    let mut site = Site::migrated().await;
    let mut core = site.start("auth,things,channels");
    let mut adapters = Process::spawn(&mut site.serve("mqtt,http"));
    let ops = address(&adapters.ready(), "ops").unwrap();
    until(PATIENCE, async || get(ops, "/health").1.contains(r#""status":"pass""#)).await;

    site.nats.kill();
    until(PATIENCE, async || get(ops, "/ready").0 == 503).await;
    let (code, health) = get(ops, "/health");
    assert_eq!(code, 503);
    assert!(health.contains(r#""missing":["nats"]"#), "{health}");
    site.nats.restart();
    until(PATIENCE, async || get(ops, "/ready").0 == 200).await;
    until(PATIENCE, async || get(ops, "/health").0 == 200).await;

    core.end();
    // Each dependency is looked at on its own, so that the first to be missed may be any of the three.
    let missed = r#""missing":["service:auth","service:channels","service:things"]"#;
    until(PATIENCE, async || get(ops, "/health").1.contains(missed)).await;
    assert!(get(ops, "/health").1.contains(r#""status":"warn""#));
    assert_eq!(get(ops, "/ready").0, 200, "whoever is admitted is still served");
}

#[tokio::test]
async fn a_process_waits_for_what_it_cannot_reach_and_says_so() {
    let mut site = Site::migrated().await;
    site.nats.kill();
    let mut core = Process::spawn(&mut site.serve("auth,things,channels"));
    let ops = address(&core.logs("ops="), "ops").unwrap();
    until(PATIENCE, async || get(ops, "/health").1.contains("cannot be reached")).await;
    assert_eq!(get(ops, "/ready").0, 503);
    site.nats.restart();
    core.ready();
    assert_eq!(get(ops, "/ready").0, 200);

    site.database.go_away().await;
    until(PATIENCE, async || get(ops, "/health").1.contains("database:things")).await;
    site.database.come_back().await;
    until(PATIENCE, async || get(ops, "/ready").0 == 200).await;
}

#[tokio::test]
async fn a_second_auth_waits_until_the_first_has_ended() {
    let mut site = Site::migrated().await;
    let mut first = site.start("auth");
    let mut second = Process::spawn(&mut site.serve("auth"));
    second.logs("another process serves auth");
    first.end();
    second.ready();
}

#[tokio::test]
async fn a_slice_is_refused_by_the_key_that_it_lacks() {
    let mut site = Site::migrated().await;
    refused(
        &mut site.serve("gateway"),
        &["role `gateway` calls `auth`", "[services]"],
    );
    let mut without_roles = site.command("serve", &site.config());
    refused(&mut without_roles, &["no roles", "--roles auth,things"]);
    let without = |words: &str| site.config().replace(words, "");
    let keys = "[keys]\nfolder = \"keys\"\n";
    refused(
        site.command("serve", &without(keys)).args(["--roles", "auth"]),
        &["[keys]"],
    );
    let database = format!("database_url = {:?}\n", site.database.url());
    refused(
        site.command("serve", &without(&database))
            .args(["--roles", "auth,writer"]),
        &["role `auth` has no database", "[auth]"],
    );
    refused(
        site.serve("auth").args(["--internal", "0.0.0.0:0"]),
        &["`internal`", "TLS"],
    );
    site.services = "auth = \"http://auth.example.com:7072\"\n".to_owned();
    refused(
        &mut site.serve("things"),
        &["auth.example.com", "without TLS", "https://"],
    );
}

#[tokio::test]
async fn what_was_not_migrated_is_refused() {
    let site = Site::new().await;
    refused(&mut site.serve("auth"), &["keys/platform"]);
    let migrated = Site::migrated().await;
    let with_keys = site
        .config()
        .replace("\"keys\"", &format!("{:?}", migrated.folder.path().join("keys")));
    refused(
        site.command("serve", &with_keys)
            .args(["--roles", "mqtt,auth,things,channels"]),
        &["missing on NATS", "trunkline migrate"],
    );
    let nothing = "[services]\n";
    let elsewhere =
        "[services]\nauth = \"http://[::1]:1\"\nthings = \"http://[::1]:1\"\nchannels = \"http://[::1]:1\"\n";
    let with_services = with_keys.replace(nothing, elsewhere);
    refused(
        site.command("serve", &with_services).args(["--roles", "reader"]),
        &["no schema for messages", "trunkline migrate"],
    );
}

#[tokio::test]
async fn the_streams_of_another_platform_are_refused() {
    let (site, other) = (Site::migrated().await, Site::new().await);
    let config = other.config().replace(&other.nats.url(), &site.nats.url());
    refused(&mut other.command("migrate", &config), &["belongs to platform"]);
}

#[tokio::test]
async fn the_schemas_of_another_platform_are_refused() {
    let (site, other) = (Site::migrated().await, Site::migrated().await);
    let config = other.config().replace(other.database.url(), site.database.url());
    let told = [
        "of auth belongs to platform ",
        "and this is platform ",
        "choose another database",
    ];
    refused(&mut other.command("migrate", &config), &told);
    for (role, schema) in [("auth", "auth"), ("writer", "messages")] {
        let told = [&*format!("of {schema} belongs to platform"), "choose another database"];
        refused(other.command("serve", &config).args(["--roles", role]), &told);
    }
    let output = site.command("migrate", &site.config()).output().unwrap();
    assert!(output.status.success(), "its own platform goes on");
}

#[tokio::test]
async fn two_migrations_at_once_make_one_platform() {
    let site = Site::new().await;
    let migrations = [(); 3].map(|()| Process::spawn(&mut site.command("migrate", &site.config())));
    let platforms = migrations.map(|mut migration| match migration.line() {
        line if line.starts_with("platform ") => line,
        line => panic!("{line}{}", migration.end()),
    });
    assert!(
        platforms.iter().all(|platform| *platform == platforms[0]),
        "{platforms:?}"
    );
    Process::spawn(&mut site.serve("auth")).ready();
}

#[tokio::test]
async fn the_internal_listener_answers_the_platforms_processes_alone() {
    let mut site = Site::migrated().await;
    let mut core = Process::spawn(&mut site.serve("auth"));
    let internal = address(&core.ready(), "internal").unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{internal}")).unwrap();
    let mut stranger = HealthClient::new(endpoint.connect().await.unwrap());
    let refusal = stranger.check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::Unauthenticated);

    // A process of another platform has another key.
    site.services = format!("auth = \"http://{internal}\"\n");
    std::fs::write(site.folder.path().join("keys/service"), [7; 32]).unwrap();
    let mut things = Process::spawn(&mut site.serve("things"));
    let ops = address(&things.ready(), "ops").unwrap();
    until(PATIENCE, async || get(ops, "/health").1.contains("service token")).await;
}

#[tokio::test]
async fn a_process_with_another_service_key_tells_nobody_that_his_password_is_wrong() {
    let mut site = Site::migrated().await;
    let _core = site.start("auth,things,channels,reader");
    std::fs::write(site.folder.path().join("keys/service"), [7; 32]).unwrap();
    let mut edges = Process::spawn(&mut site.serve("mqtt,http,gateway"));
    let line = edges.ready();
    let (mqtt, http) = (address(&line, "mqtt").unwrap(), address(&line, "http").unwrap());

    for version in [Version::V5, Version::V3] {
        let connect = mqtt::connect_packet("device", "device", "secret");
        let (_, answer) = mqtt::Client::connect(mqtt, version, connect).await;
        assert_eq!(answer.reason, ReasonCode::ServerUnavailable);
    }
    let http = http::Client::new(http);
    let device = http.with_authorization("Client secret");
    let publish = device.send(Method::POST, "/m/home/c/room", None, "21.5");
    assert_eq!(publish.await.status, 503);
    let login = json!({ "username": "admin@example.com", "password": "correct horse battery" });
    assert_eq!(http.post("/users/tokens/issue", &login).await.status, 503);
    edges.logs("their service keys differ");
}

#[test]
fn the_configurations_to_start_from_are_right() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/split");
    for name in ["migrate", "core", "store", "adapters", "gateway"] {
        let file = format!("{folder}/{name}.toml");
        let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_trunkline"));
        let output = check.args(["config", "--check", "--config", &file]).output().unwrap();
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

//! `trunkline doctor` against a platform of processes: it comes in by every adapter and names the first step that fails.

use trunkline_testkit::{Proxy, until};

use crate::site::{Process, Site, address, get};
use crate::{PATIENCE, steps};

/// Asserts that a doctor named this step as the first that fails.
#[track_caller]
fn is_named((is_well, told): (bool, String), step: &str) {
    assert!(!is_well && told.contains(&format!("✗ {step}")), "{step} in {told}");
    assert!(
        told.contains(&format!("the first step that fails is `{step}`")),
        "{told}"
    );
}

// Asking blocks a thread, and the proxy needs one meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_names_the_first_step_that_fails() {
    let mut site = Site::migrated().await;
    let _core = site.start("auth,things,channels");
    let _reader = site.start("reader");
    let mut writer = Process::spawn(&mut site.serve("writer"));
    let mut adapter = Process::spawn(&mut site.serve("mqtt"));
    let mut gateway = Process::spawn(&mut site.serve("gateway"));
    let to_nats = Proxy::before(site.nats.url().trim_start_matches("nats://")).await;
    let by_proxy = site
        .config()
        .replace(&site.nats.url(), &format!("nats://{}", to_nats.address()));
    let mut messages = Process::spawn(site.command("serve", &by_proxy).args(["--roles", "http"]));
    let (line, writer_line, messages_line) = (adapter.ready(), writer.ready(), messages.ready());
    let http = address(&gateway.ready(), "http").unwrap();
    let mqtt = address(&line, "mqtt").unwrap();
    let ops = address(&line, "ops").unwrap().to_string();
    let both = format!("{ops},{}", address(&writer_line, "ops").unwrap());
    let by_http = format!("http://{}", address(&messages_line, "http").unwrap());
    let ask = |site: &Site, more: &[&str]| site.ask("doctor", http, mqtt, more);

    let (is_well, told) = ask(&site, &["--ops", &both, "--messages", &by_http]);
    assert!(is_well, "{told}");
    steps::each_is_taken(&told);
    let (is_well, told) = ask(&site, &["--ops", &both]);
    assert!(
        is_well && told.contains("- publish HTTP"),
        "nobody said that there is HTTP: {told}"
    );
    let elsewhere = format!("http://{http}");
    is_named(ask(&site, &["--ops", &both, "--messages", &elsewhere]), "publish HTTP");

    to_nats.hold();
    let messages_ops = address(&messages_line, "ops").unwrap();
    until(PATIENCE, async || get(messages_ops, "/ready").0 == 503).await;
    is_named(ask(&site, &["--ops", &both, "--messages", &by_http]), "log HTTP");
    messages.end();
    is_named(ask(&site, &["--ops", &both, "--messages", &by_http]), "ports");
    writer.freeze();
    is_named(ask(&site, &["--ops", &ops]), "writer");
    writer.thaw();
    site.nats.kill();
    is_named(ask(&site, &["--ops", &both]), "log MQTT");
}

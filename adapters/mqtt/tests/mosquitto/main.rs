//! Mosquitto's own scripts against the test broker: those that need no configuration file. `scripts.rs` says of each whether it
//! passes today; one that stops passing is red, and so is one that begins to and is not listed yet. So the number only grows.

#![allow(
    clippy::unwrap_used,
    reason = "a test says that something does not hold by panicking"
)]

mod scripts;

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use scripts::{PASSING, WAITING};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Scripts that run at once: most of their time is spent waiting.
const AT_ONCE: usize = 6;
/// Time after which a script has failed.
const SCRIPT_TIME_MAX: Duration = Duration::from_secs(90);
/// Where Debian has the scripts look for Mosquitto.
const MOSQUITTO: &str = "/usr/sbin/mosquitto";
/// By these a script shows that it configures Mosquitto.
const CONFIGURES: [&str; 4] = ["use_conf", "conf_file", ".conf", ".pwfile"];

/// The folder of Mosquitto's tests.
fn tests_of_mosquitto() -> PathBuf {
    trunkline_testkit::tool("mosquitto_tests")
}

/// Every broker script that starts a broker and gives it no configuration.
fn eligible() -> BTreeSet<String> {
    let broker = tests_of_mosquitto().join("broker");
    let is_eligible = |name: &str| {
        let text = fs::read_to_string(broker.join(name)).unwrap();
        let has_file = broker.join(name).with_extension("conf").exists();
        text.contains("start_broker(") && !has_file && !CONFIGURES.iter().any(|word| text.contains(word))
    };
    let names = fs::read_dir(&broker).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(|first: char| first.is_ascii_digit()) && name.ends_with(".py"))
        .filter(|name| is_eligible(name))
        .collect()
}

/// A copy of Mosquitto's tests in which the test broker stands where the scripts look for Mosquitto.
fn stage() -> TempDir {
    let (stage, tests) = (trunkline_testkit::free_dir(), tests_of_mosquitto());
    for folder in ["test/broker", "src"] {
        fs::create_dir_all(stage.path().join(folder)).unwrap();
    }
    let shim = stage.path().join("src/mosquitto");
    copy_scripts(&tests, &stage.path().join("test"), &shim);
    copy_scripts(&tests.join("broker"), &stage.path().join("test/broker"), &shim);
    let deps = std::env::current_exe().unwrap();
    let broker = deps.ancestors().nth(2).unwrap().join("examples/broker");
    assert!(broker.is_file(), "{} is built with the tests", broker.display());
    // Scripts say `mosquitto -v -p PORT`.
    let run = format!("#!/bin/sh\nexec \"{}\" --port \"$3\"\n", broker.display());
    fs::write(&shim, run).unwrap();
    fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).unwrap();
    stage
}

/// Copies scripts, with `shim` where Debian has them look for Mosquitto.
fn copy_scripts(from: &Path, to: &Path, shim: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "py") {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.replace(MOSQUITTO, shim.to_str().unwrap());
            let target = to.join(path.file_name().unwrap());
            // Some run others, so they keep their permissions.
            fs::copy(&path, &target).unwrap();
            fs::write(&target, text).unwrap();
        }
    }
}

/// Runs a script; `Err` with what it said when it fails.
async fn run(stage: &Path, name: &str) -> Result<(), String> {
    // Bound and not listening: nobody else is given this port, and the broker may still take it.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.set_reuseaddr(true).unwrap();
    reserved.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = reserved.local_addr().unwrap().port();
    let mut script = Command::new("python3");
    script
        .arg(name)
        .arg(port.to_string())
        .current_dir(stage.join("test/broker"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = script.spawn().expect("python3 can be started");
    let group = child.id().unwrap();
    let mut words = String::new();
    let mut said = child.stdout.take().unwrap();
    let ends = async {
        let _ = said.read_to_string(&mut words).await;
        child.wait().await
    };
    let ended = tokio::time::timeout(SCRIPT_TIME_MAX, ends).await;
    // A script that failed may have left its broker behind.
    let mut kill = Command::new("kill");
    let kill = kill.args(["-KILL", "--", &format!("-{group}")]).stderr(Stdio::null());
    kill.status().await.unwrap();
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(_) => Err(words),
        Err(_) => Err(format!("it did not end within {SCRIPT_TIME_MAX:?}\n{words}")),
    }
}

#[test]
fn every_script_that_needs_no_configuration_is_listed_once() {
    let waiting = WAITING.map(|(name, _)| name);
    let listed: Vec<_> = PASSING.into_iter().chain(waiting).map(str::to_owned).collect();
    let distinct: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(distinct.len(), listed.len(), "a script is listed twice");
    assert_eq!(distinct, eligible());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripts_that_pass_are_those_that_are_listed() {
    let (stage, places) = (stage(), Arc::new(Semaphore::new(AT_ONCE)));
    let mut scripts = JoinSet::new();
    for name in eligible() {
        let (stage, places) = (stage.path().to_owned(), Arc::clone(&places));
        scripts.spawn(async move {
            let _place = places.acquire().await.unwrap();
            let outcome = run(&stage, &name).await;
            (name, outcome)
        });
    }
    let mut surprises = Vec::new();
    for (name, outcome) in scripts.join_all().await {
        match (PASSING.contains(&name.as_str()), outcome) {
            (true, Err(words)) => surprises.push(format!("{name} passes no more:\n{words}")),
            (false, Ok(())) => surprises.push(format!("{name} passes now: list it")),
            (true, Ok(())) | (false, Err(_)) => {}
        }
    }
    surprises.sort();
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

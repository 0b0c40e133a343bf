//! One door per big dependency: a crate that would spread through the platform is used in the few places named here, so
//! that replacing it, or reading all that touches it, stays possible. Manifests and paths in the code are both checked.

use crate::lexer::has_word;
use crate::manifests::{self, Member};
use crate::repository::{self, File};
use crate::{Finding, assert_none, lines};

/// A dependency and where it may be used.
struct Door {
    crates: &'static [&'static str],
    /// The packages whose manifests may name it; empty if the code alone decides.
    folders: &'static [&'static str],
    /// The files, in those packages, whose code may name it.
    is_open: fn(&File) -> bool,
    advice: &'static str,
}

const DOORS: [Door; 7] = [
    Door {
        crates: &["sqlx", "rusqlite"],
        folders: &[],
        is_open: |file| {
            let is_embedded_log =
                file.is_in("crates/bus") && (file.is_under("embedded") || file.name() == "embedded.rs");
            let is_store = file.name() == "store.rs" || file.is_under("store");
            is_store || is_embedded_log || file.is_in("crates/db") || file.is_in("crates/testkit")
        },
        advice: "SQL is spoken in crates/db, in files called store.rs or under store/, and in the bus's embedded log",
    },
    Door {
        crates: &["async-nats"],
        folders: &["crates/bus", "bench"],
        // The bare publisher that the bus is measured beside.
        is_open: |file| file.is_in("crates/bus") || file.path == "bench/src/split/bare.rs",
        advice: "NATS is known to crates/bus alone, and to the peer it is measured beside; use its Log, Live and State",
    },
    Door {
        crates: &["lettre"],
        folders: &[],
        is_open: |file| file.name() == "mail.rs" || file.is_under("mail"),
        advice: "mail is sent by the module called mail",
    },
    Door {
        crates: &[
            "opentelemetry",
            "opentelemetry_sdk",
            "opentelemetry-otlp",
            "tracing-opentelemetry",
        ],
        folders: &["crates/telemetry"],
        is_open: |_| true,
        advice: "OpenTelemetry is known to crates/telemetry alone; elsewhere use tracing",
    },
    Door {
        crates: &["opentelemetry-proto"],
        // The collector of the tests is the other end of it.
        folders: &["crates/telemetry", "crates/testkit"],
        is_open: |_| true,
        advice: "OTLP is spoken by crates/telemetry alone; elsewhere use its Tracer",
    },
    Door {
        crates: &["axum"],
        folders: &["gateway", "adapters/http", "adapters/ws", "crates/rpc", "node"],
        is_open: |_| true,
        advice: "axum is for the HTTP edge, and in crates/rpc and node for merging routers",
    },
    Door {
        crates: &["prost-reflect"],
        folders: &["gateway", "proto", "xtask", "tests"],
        is_open: |_| true,
        advice: "descriptors are read by the gateway, proto's build script, xtask and the contract tests",
    },
];

/// Other brokers' code is a peer to test and measure against, never a part.
const PEERS: Door = Door {
    crates: &["rumqttd", "rumqttc"],
    folders: &["tests", "bench"],
    is_open: |_| true,
    advice: "other brokers and clients are peers in tests and benchmarks, never a part of the platform",
};

fn doors() -> impl Iterator<Item = &'static Door> {
    DOORS.iter().chain([&PEERS])
}

/// Manifests that name a dependency outside its door.
fn in_manifests(members: &[Member], files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        for door in doors() {
            let own_files = || files.iter().filter(|file| file.is_in(&member.folder));
            let is_allowed = match door.folders {
                [] => own_files().any(door.is_open),
                folders => folders.contains(&member.folder.as_str()),
            };
            let named = member
                .dependencies
                .iter()
                .filter(|entry| door.crates.contains(&entry.name.as_str()));
            let breaches = named.filter(|_| !is_allowed);
            findings.extend(breaches.map(|entry| Finding::new(&member.manifest_path(), entry.line, door.advice)));
        }
    }
    findings
}

/// Code that names a dependency outside its door.
fn in_code(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        for door in doors() {
            let is_in_folder = door.folders.is_empty() || door.folders.iter().any(|folder| file.is_in(folder));
            if is_in_folder && (door.is_open)(file) {
                continue;
            }
            let breaches = file
                .lines()
                .into_iter()
                .enumerate()
                .filter(|(_, line)| uses(&line.code, door.crates));
            findings.extend(breaches.map(|(index, _)| Finding::new(&file.path, index + 1, door.advice)));
        }
    }
    findings
}

fn uses(code: &str, crates: &[&str]) -> bool {
    crates.iter().map(|name| name.replace('-', "_")).any(|name| {
        let is_imported = [";", " as "]
            .iter()
            .any(|after| has_word(code, &format!("use {name}"), after));
        is_imported || has_word(code, &name, "::")
    })
}

#[test]
fn every_big_dependency_is_used_behind_its_door() {
    let files = repository::files(&[".rs"]);
    let mut findings = in_manifests(&manifests::members(), &files);
    findings.extend(in_code(&files));
    assert_none(&findings);
}

#[test]
fn code_outside_a_door_is_found() {
    let found = |path: &str, text: &str| lines(&in_code(&[File::new(path, text)]));
    assert_eq!(found("things/src/service.rs", "// sqlx::query\nuse sqlx::query;"), [2]);
    assert_eq!(found("things/src/store.rs", "use sqlx::query;"), []);
    assert_eq!(found("auth/src/store/role.rs", "use sqlx::query;"), []);
    assert_eq!(
        found("crates/bus/src/topic.rs", "fn open(pool: sqlx::SqlitePool) {}"),
        [1]
    );
    assert_eq!(found("crates/rpc/src/lib.rs", "use async_nats as nats;"), [1]);
    assert_eq!(found("bench/src/split.rs", "use async_nats::Client;"), [1]);
    assert_eq!(found("bench/src/split/bare.rs", "use async_nats::Client;"), []);
    assert_eq!(found("auth/src/lib.rs", "use lettre::Message;"), [1]);
    assert_eq!(found("auth/src/mail.rs", "use lettre::Message;"), []);
    assert_eq!(found("node/src/main.rs", "use opentelemetry_sdk::trace;"), [1]);
    assert_eq!(found("node/src/node.rs", "use opentelemetry_proto::tonic;"), [1]);
    assert_eq!(found("things/src/rpc.rs", "fn mount() -> axum::Router {"), [1]);
    assert_eq!(
        found("crates/rpc/src/lib.rs", "use prost_reflect::DescriptorPool;"),
        [1]
    );
    assert_eq!(found("adapters/mqtt/src/lib.rs", "rumqttd::Broker::new()"), [1]);
    assert_eq!(found("crates/telemetry/src/lib.rs", "\"sqlx::query=warn\""), []);
}

#[test]
fn a_manifest_outside_a_door_is_found() {
    let found = |folder: &str, dependency: &str, file: &str| {
        let text = format!("[package]\nname = \"a\"\n[dependencies]\n{dependency} = \"1\"");
        lines(&in_manifests(&[Member::parse(folder, &text)], &[File::new(file, "")]))
    };
    assert_eq!(found("things", "axum", "things/src/lib.rs"), [4]);
    assert_eq!(found("gateway", "axum", "gateway/src/lib.rs"), []);
    assert_eq!(found("things", "sqlx", "things/src/lib.rs"), [4]);
    assert_eq!(found("things", "sqlx", "things/src/store.rs"), []);
}

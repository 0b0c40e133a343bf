//! Who may import whom: services meet only in the contracts, the ground never stands on a service, and nothing but the
//! node knows them all. The map is section 2 of the design.

use crate::manifests::{self, Dependency, Member};
use crate::{Finding, assert_none, lines};

/// Where a package stands, from the bottom up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layer {
    Core,
    Proto,
    Ground,
    Service,
    Node,
    /// Never part of the product.
    Tests,
}

impl Layer {
    /// A folder that is named nowhere is a service, the layer that may do least to others.
    fn of(folder: &str) -> Layer {
        match folder {
            "crates/core" => Layer::Core,
            "proto" => Layer::Proto,
            "crates/testkit" | "tests" | "bench" | "xtask" => Layer::Tests,
            "node" => Layer::Node,
            "adapters/gate" => Layer::Ground,
            _ if folder.starts_with("crates/") => Layer::Ground,
            _ => Layer::Service,
        }
    }

    fn may_import(self, other: Layer) -> bool {
        match self {
            Layer::Core => false,
            Layer::Proto => other == Layer::Core,
            Layer::Ground => matches!(other, Layer::Core | Layer::Proto | Layer::Ground),
            Layer::Service => matches!(other, Layer::Core | Layer::Proto | Layer::Ground),
            Layer::Node => matches!(other, Layer::Core | Layer::Proto | Layer::Ground | Layer::Service),
            Layer::Tests => true,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Layer::Core => "crates/core stands on nothing of ours",
            Layer::Proto => "proto stands on crates/core alone",
            Layer::Ground => "the ground never imports what stands on it; hand it a trait or a value instead",
            Layer::Service => "services meet only in proto; hold the other one's client, and let node wire the two",
            Layer::Node => "test code is no part of the product; make it a dev-dependency",
            Layer::Tests => "tests may import anything",
        }
    }
}

/// The dependencies that break the rule.
fn breaches(members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in members {
        let layer = Layer::of(&member.folder);
        for dependency in &member.dependencies {
            let Some(imported) = members.iter().find(|other| other.name == dependency.name) else {
                continue;
            };
            if !may_import(layer, dependency, imported) {
                let advice = format!(
                    "{} may not import {}: {}",
                    member.folder,
                    imported.folder,
                    layer.advice()
                );
                findings.push(Finding::new(&member.manifest_path(), dependency.line, advice));
            }
        }
    }
    findings
}

/// A test may use the testkit wherever it stands; beyond that, the rule for tests is the rule for code.
fn may_import(layer: Layer, dependency: &Dependency, imported: &Member) -> bool {
    (dependency.is_dev && imported.folder == "crates/testkit") || layer.may_import(Layer::of(&imported.folder))
}

#[test]
fn every_package_imports_only_what_stands_below_it() {
    assert_none(&breaches(&manifests::members()));
}

#[test]
fn an_import_sideways_or_upward_is_found() {
    let member = |folder: &str, dependencies: &str| {
        let name = folder.replace('/', "-");
        Member::parse(folder, &format!("[package]\nname = \"{name}\"\n{dependencies}"))
    };
    let workspace = |changed: Member| {
        let folders = [
            "crates/core",
            "proto",
            "crates/db",
            "adapters/gate",
            "auth",
            "things",
            "node",
            "crates/testkit",
        ];
        let others = folders
            .into_iter()
            .filter(|folder| *folder != changed.folder)
            .map(|folder| member(folder, ""));
        let mut members: Vec<Member> = others.collect();
        members.push(changed);
        lines(&breaches(&members))
    };
    assert_eq!(
        workspace(member("things", "[dependencies]\nauth = \"1\"\nproto = \"1\"")),
        [4],
        "service to service"
    );
    assert_eq!(
        workspace(member(
            "things",
            "[dev-dependencies]\nauth = \"1\"\ncrates-testkit = \"1\""
        )),
        [4],
        "in tests"
    );
    assert_eq!(
        workspace(member(
            "crates/db",
            "[build-dependencies]\nauth = \"1\"\ncrates-core = \"1\""
        )),
        [4],
        "ground"
    );
    assert_eq!(
        workspace(member(
            "adapters/gate",
            "[dependencies]\nthings = \"1\"\ncrates-db = \"1\""
        )),
        [4],
        "gate"
    );
    assert_eq!(
        workspace(member("crates/core", "[dependencies]\nproto = \"1\"")),
        [4],
        "core"
    );
    assert_eq!(
        workspace(member(
            "proto",
            "[dependencies]\ncrates-db = \"1\"\ncrates-core = \"1\""
        )),
        [4],
        "proto"
    );
    assert_eq!(
        workspace(member("node", "[dependencies]\ncrates-testkit = \"1\"\nauth = \"1\"")),
        [4],
        "node"
    );
}

//! The manifests of the workspace, and the rules that every one of them keeps.

use toml::{Table, Value};

use crate::repository::{self, File};
use crate::{Finding, assert_none};

/// A package of the workspace.
pub(crate) struct Member {
    /// Folder from the root of the repository.
    pub folder: String,
    pub name: String,
    pub dependencies: Vec<Dependency>,
    manifest: Table,
}

/// One entry of a manifest's dependency tables.
pub(crate) struct Dependency {
    pub name: String,
    pub is_dev: bool,
    /// From 1, in the manifest.
    pub line: usize,
}

impl Member {
    /// Reads the manifest of `folder`.
    pub(crate) fn parse(folder: &str, text: &str) -> Member {
        let manifest: Table = text
            .parse()
            .unwrap_or_else(|error| panic!("{folder}/Cargo.toml: {error}"));
        let name = manifest["package"]["name"]
            .as_str()
            .expect("a package has a name")
            .to_owned();
        let mut dependencies = Vec::new();
        collect(&manifest, text, &mut dependencies);
        for target in tables(manifest.get("target")) {
            collect(target, text, &mut dependencies);
        }
        Member {
            folder: folder.to_owned(),
            name,
            dependencies,
            manifest,
        }
    }

    pub(crate) fn manifest_path(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }
}

/// All packages that the root manifest lists.
pub(crate) fn members() -> Vec<Member> {
    let root: Table = repository::file("Cargo.toml")
        .text
        .parse()
        .expect("cargo has read the root manifest");
    let folders = root["workspace"]["members"]
        .as_array()
        .expect("the workspace lists its members")
        .clone();
    let folders = folders
        .iter()
        .map(|folder| folder.as_str().expect("a member is a path"));
    folders
        .map(|folder| Member::parse(folder, &repository::file(&format!("{folder}/Cargo.toml")).text))
        .collect()
}

fn collect(table: &Table, text: &str, dependencies: &mut Vec<Dependency>) {
    for (section, is_dev) in [
        ("dependencies", false),
        ("build-dependencies", false),
        ("dev-dependencies", true),
    ] {
        let Some(entries) = table.get(section).and_then(Value::as_table) else {
            continue;
        };
        for (key, value) in entries {
            let name = value.get("package").and_then(Value::as_str).unwrap_or(key).to_owned();
            dependencies.push(Dependency {
                name,
                is_dev,
                line: line_of(text, section, key),
            });
        }
    }
}

fn tables(value: Option<&Value>) -> impl Iterator<Item = &Table> {
    value
        .and_then(Value::as_table)
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table)
}

/// The line, from 1, of `key` in the section that is called so; 1 if it is written in a way that we do not look for.
fn line_of(text: &str, section: &str, key: &str) -> usize {
    let mut is_in_section = false;
    for (index, line) in text.lines().enumerate() {
        if let Some(header) = line.trim().strip_prefix('[') {
            let header = header.trim_end_matches(']');
            is_in_section = header == section || header.ends_with(&format!(".{section}"));
        }
        let is_key = line
            .strip_prefix(key)
            .is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
        if is_in_section && is_key {
            return index + 1;
        }
    }
    1
}

fn without_our_license(member: &Member) -> Option<Finding> {
    let license = member.manifest["package"].get("license");
    let is_ours = license.is_some_and(|license| license.get("workspace") == Some(&Value::Boolean(true)));
    let advice = "write `license.workspace = true`: all of Trunkline is Apache-2.0";
    (!is_ours).then(|| Finding::new(&member.manifest_path(), 1, advice))
}

#[test]
fn every_package_is_apache_2() {
    let root: Table = repository::file("Cargo.toml")
        .text
        .parse()
        .expect("cargo has read the root manifest");
    assert_eq!(root["workspace"]["package"]["license"].as_str(), Some("Apache-2.0"));
    assert!(
        repository::file("LICENSE").text.contains("Apache License"),
        "LICENSE is the text of Apache-2.0"
    );
    let findings: Vec<Finding> = members().iter().filter_map(without_our_license).collect();
    assert_none(&findings);
}

#[test]
fn a_package_of_another_license_is_found() {
    let closed = Member::parse("things", "[package]\nname = \"a\"\nlicense = \"MIT\"");
    let silent = Member::parse("things", "[package]\nname = \"a\"");
    assert!(without_our_license(&closed).is_some() && without_our_license(&silent).is_some());
    assert!(without_our_license(&Member::parse("a", "[package]\nname = \"a\"\nlicense.workspace = true")).is_none());
}

#[test]
fn every_manifest_belongs_to_a_member() {
    let known: Vec<String> = members().iter().map(Member::manifest_path).collect();
    assert_none(&strays(&repository::files(&["Cargo.toml"]), &known));
}

/// A fuzz target is a workspace of its own, since cargo-fuzz builds it with another compiler.
fn strays(manifests: &[File], known: &[String]) -> Vec<Finding> {
    let strays = manifests
        .iter()
        .filter(|file| file.path != "Cargo.toml" && !file.is_under("fuzz") && !known.contains(&file.path));
    strays
        .map(|file| Finding::new(&file.path, 1, "list its folder under `members` in the root manifest"))
        .collect()
}

#[test]
fn a_stray_manifest_is_found() {
    let files = [
        File::new("Cargo.toml", ""),
        File::new("auth/Cargo.toml", ""),
        File::new("new/Cargo.toml", ""),
    ];
    assert_eq!(strays(&files, &["auth/Cargo.toml".to_owned()]).len(), 1);
}

#[test]
fn dependencies_are_read_from_every_table() {
    let text = "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\n[dev-dependencies]\nc = \"1\"\n\
                [build-dependencies]\nd = { package = \"e\", version = \"1\" }\n[target.'cfg(unix)'.dependencies]\nf = \"1\"";
    let member = Member::parse("a", text);
    let read: Vec<(&str, usize, bool)> = member
        .dependencies
        .iter()
        .map(|entry| (entry.name.as_str(), entry.line, entry.is_dev))
        .collect();
    assert_eq!(
        read,
        [("b", 4, false), ("e", 8, false), ("c", 6, true), ("f", 10, false)]
    );
}

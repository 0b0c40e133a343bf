//! The OpenAPI document: current, whole, and valid in the eyes of another maker's validator.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use trunkline_gateway::openapi;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

fn document() -> Value {
    serde_json::from_str(openapi::CHECKED_IN).unwrap()
}

/// Every operation with its path and method.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &'_ Value)| -> Vec<String> {
        item.as_object()
            .unwrap()
            .keys()
            .map(|verb| format!("{verb} {path}"))
            .collect()
    };
    let names: Vec<String> = paths.iter().flat_map(of_path).collect();
    names
        .into_iter()
        .map(|name| {
            let (verb, path) = name.split_once(' ').unwrap();
            let operation = &document["paths"][path][verb];
            (name.clone(), operation)
        })
        .collect()
}

#[test]
fn openapi_json_is_current() {
    let generated = openapi::generate().unwrap();
    if std::env::var_os("TRUNKLINE_BLESS").is_some() {
        std::fs::write(PATH, generated).unwrap();
        return;
    }
    let checked_in = std::fs::read_to_string(PATH).unwrap();
    assert!(
        checked_in == generated,
        "the contracts have changed; run `cargo xtask openapi` and review gateway/openapi.json"
    );
}

#[test]
fn another_makers_validator_accepts_the_document() {
    let validator = trunkline_testkit::tool("openapi_validator");
    let output = Command::new(&validator).arg(Path::new(PATH)).output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{}: {said}", validator.display());
}

#[test]
fn every_operation_is_named_once_and_described() {
    let document = document();
    let mut ids = HashSet::new();
    for (name, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "{name}: {id} comes twice");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{name}");
        assert!(operation["tags"][0].is_string(), "{name}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(
                !parameter["description"].as_str().unwrap().is_empty(),
                "{name} {}",
                parameter["name"]
            );
        }
    }
    assert!(ids.len() > 25, "{}", ids.len());
}

#[test]
fn every_operation_has_schemas_for_what_it_takes_and_gives() {
    let document = document();
    let refers = |schema: &Value| {
        let name = schema["$ref"]
            .as_str()
            .unwrap()
            .trim_start_matches("#/components/schemas/");
        document["components"]["schemas"][name].is_object()
    };
    for (name, operation) in operations(&document)
        .into_iter()
        .filter(|(name, _)| !name.contains("/m/{domain}"))
    {
        let (code, success) = operation["responses"]
            .as_object()
            .unwrap()
            .iter()
            .find(|(code, _)| code.starts_with('2'))
            .unwrap();
        if let Some(content) = success.get("content") {
            assert!(refers(&content["application/json"]["schema"]), "{name} {code}");
        }
        if let Some(body) = operation.get("requestBody") {
            assert!(refers(&body["content"]["application/json"]["schema"]), "{name}");
        }
        assert_eq!(
            operation["responses"]["401"]["$ref"], "#/components/responses/Unauthenticated",
            "{name}"
        );
    }
}

#[test]
fn passwords_are_write_only_and_times_are_read_only() {
    let schemas = &document()["components"]["schemas"];
    assert_eq!(schemas["UsersCredentials"]["properties"]["secret"]["writeOnly"], true);
    assert_eq!(schemas["Client"]["properties"]["created_at"]["readOnly"], true);
    assert_eq!(schemas["UpdateClientBody"]["properties"].as_object().unwrap().len(), 3);
}

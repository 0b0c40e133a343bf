//! What the build refuses: methods without a rule, and rules that cannot be meant.

use std::path::PathBuf;

use prost_reflect::DescriptorPool;
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

use crate::guards::generate;
use crate::options::{methods, pool};

const NAME: &str = "trunkline/made_up/v1/made_up.proto";

/// A contract that exists in memory alone.
struct Source(String);

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == NAME {
            File::from_source(name, &self.0)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

/// Generates the guards of a contract with one method, whose options are `options`.
fn guards_of(options: &str) -> Result<String, String> {
    let source = format!(
        r#"
        syntax = "proto3";
        package trunkline.made_up.v1;
        import "google/api/http.proto";
        import "trunkline/authz/v1/rule.proto";
        service KettlesService {{
          rpc Boil(BoilRequest) returns (BoilResponse) {{ {options} }}
        }}
        message BoilRequest {{
          string domain_id = 1;
          string id = 2;
          Water water = 3;
          repeated string cup_ids = 4;
          uint64 degrees = 5;
        }}
        message Water {{ string source_id = 1; }}
        message BoilResponse {{}}
        "#
    );
    let protos = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../proto"));
    let mut resolver = ChainFileResolver::new();
    resolver.add(Source(source));
    resolver.add(IncludeFileResolver::new(protos));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file(NAME).unwrap();
    generate(&DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap())
}

fn rule(rule: &str) -> String {
    format!("option (trunkline.authz.v1.rule) = {{ {rule} }};")
}

#[track_caller]
fn refused(options: &str, because: &str) {
    let error = guards_of(options).unwrap_err();
    assert!(error.contains("trunkline.made_up.v1.KettlesService.Boil"), "{error}");
    assert!(error.contains(because), "{error}");
}

#[test]
fn a_method_without_a_rule_is_refused_by_its_name() {
    refused("", "has no (trunkline.authz.v1.rule)");
    refused(
        r#"option (google.api.http) = { post: "/kettles" };"#,
        "has no (trunkline.authz.v1.rule)",
    );
}

#[test]
fn a_rule_of_two_kinds_or_of_none_is_refused() {
    let one_kind = "exactly one of check, authenticated, internal and public";
    refused(&rule(""), one_kind);
    refused(&rule("unverified: true"), one_kind);
    refused(&rule("authenticated: true public: {}"), one_kind);
    refused(
        &rule(r#"authenticated: true check: { entity: PLATFORM action: "admin" }"#),
        one_kind,
    );
    refused(&rule(r#"public: {} internal: { peers: ["gate"] }"#), one_kind);
}

#[test]
fn a_rule_that_names_a_field_which_the_request_lacks_is_refused() {
    let check = |object: &str, domain: &str| {
        let check = format!(r#"check: {{ entity: CLIENT action: "update" object: "{object}" domain: "{domain}" }}"#);
        rule(&check)
    };
    refused(&check("kettle_id", "domain_id"), "`kettle_id`");
    refused(&check("id", "tenant_id"), "`tenant_id`");
    refused(&check("water.kettle_id", "domain_id"), "`water.kettle_id`");
    refused(&check("degrees", "domain_id"), "is no text field");
    refused(&check("water", "domain_id"), "is no text field");
    refused(&check("cup_ids.id", "domain_id"), "is no text field");
    assert!(guards_of(&check("id", "domain_id")).is_ok());
    assert!(guards_of(&check("cup_ids", "domain_id")).is_ok());
    assert!(guards_of(&check("water.source_id", "domain_id")).is_ok());
}

#[test]
fn a_check_that_leaves_out_what_it_needs_is_refused() {
    refused(
        &rule(r#"check: { action: "update" object: "id" domain: "domain_id" }"#),
        "its entity",
    );
    refused(
        &rule(r#"check: { entity: CLIENT action: "update" domain: "domain_id" }"#),
        "its object",
    );
    refused(
        &rule(r#"check: { entity: CLIENT action: "update" object: "id" }"#),
        "its domain",
    );
    refused(
        &rule(r#"check: { entity: CLIENT object: "id" domain: "domain_id" }"#),
        "its action",
    );
    refused(&rule(r#"check: { entity: USER action: "update" }"#), "its object");
    refused(&rule("check: { entity: PLATFORM }"), "its action");
}

#[test]
fn an_internal_method_names_its_peers_and_has_no_route() {
    refused(&rule("internal: {}"), "names its peers");
    let internal = rule(r#"internal: { peers: ["gate"] }"#);
    assert!(guards_of(&internal).is_ok());
    let with_route = format!(r#"option (google.api.http) = {{ get: "/kettles" }}; {internal}"#);
    refused(&with_route, "no HTTP route");
}

#[test]
fn the_gateway_is_no_peer_of_any_internal_method() {
    for method in methods() {
        let rule = crate::options::option(&method, "trunkline.authz.v1.rule").unwrap();
        assert!(!rule.to_string().contains("gateway"), "{}", method.full_name());
    }
}

#[test]
fn the_real_contracts_build() {
    let guards = generate(pool()).unwrap();
    for method in methods() {
        let path = format!("path: \"/{}/{}\"", method.parent_service().full_name(), method.name());
        assert!(guards.contains(&path), "{path} has no guard");
    }
}

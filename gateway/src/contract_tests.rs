//! What a contract must not say, and what the real ones do say.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::fixture;
use crate::route::Match;

const MESSAGES: &str = r#"
    message Thing {
      string id = 1 [(trunkline.http.v1.output_only) = true];
      string name = 2;
      Thing parent = 3;
    }
    message Request {
      string id = 1;
      Thing thing = 2;
      google.protobuf.FieldMask update_mask = 3;
      uint64 limit = 4;
      string password = 5 [(trunkline.http.v1.input_only) = true];
    }
"#;

/// The contract of one service with `methods` over the messages above.
fn read(methods: &str) -> Result<Contract, Error> {
    Contract::read(&fixture::pool(&format!(
        "service ThingsService {{ {methods} }} {MESSAGES}"
    )))
}

fn rpc(name: &str, options: &str) -> String {
    format!(
        "rpc {name}(Request) returns (Thing) {{ option (trunkline.authz.v1.rule) = {{ authenticated: true }}; {options} }}"
    )
}

#[test]
fn a_contract_that_cannot_be_served_does_not_open() {
    let get = r#"get: "/things/{id}""#;
    let patch = r#"patch: "/things/{id}" body: "thing""#;
    let cases = [
        (r#"get: "/things/{nope}""#, "", "the request has no field `nope`"),
        (r#"get: "/things/{limit}""#, "", "`limit` in the path is not one text"),
        (
            r#"get: "/things/""#,
            "",
            "`` is neither a word nor a variable in braces",
        ),
        (r#"post: "/things" body: "nope""#, "", "the request has no field `nope`"),
        (
            get,
            r#"(trunkline.http.v1.success) = { location: "/x/{nope}" }"#,
            "the response has no text `nope`",
        ),
        (
            get,
            "(trunkline.http.v1.success) = { code: 404 }",
            "404 is no status code of a success",
        ),
        (
            get,
            "(trunkline.http.v1.success) = { code: 204 }",
            "an answer with status 204 is empty",
        ),
        (
            get,
            r#"(trunkline.http.v1.update) = { mask: "update_mask" }"#,
            "an update's body is one field of the request",
        ),
        (patch, &update("update_mask", "id"), "`id` is no field that callers set"),
        (
            patch,
            &update("limit", "name"),
            "`limit` is no field mask of the request",
        ),
    ];
    for (route, option, problem) in cases {
        let option = if option.is_empty() {
            String::new()
        } else {
            format!("option {option};")
        };
        let method = rpc("A", &format!("option (google.api.http) = {{ {route} }}; {option}"));
        assert_refused(&method, problem);
    }
}

#[test]
fn two_equal_routes_do_not_open() {
    let get = r#"option (google.api.http) = { get: "/things/{id}" };"#;
    assert_refused(
        &format!("{}{}", rpc("A", get), rpc("B", get)),
        "GET /things/{id} is declared twice",
    );
}

#[test]
fn streams_and_internal_methods_have_no_routes() {
    let route = r#"option (google.api.http) = { get: "/things" };"#;
    let open = "option (trunkline.authz.v1.rule) = { authenticated: true };";
    let internal = r#"option (trunkline.authz.v1.rule) = { internal: { peers: "gate" } };"#;
    assert_refused(
        &format!("rpc A(Request) returns (stream Thing) {{ {open} {route} }}"),
        "streams are not served over HTTP",
    );
    assert_refused(
        &format!("rpc A(Request) returns (Thing) {{ {internal} {route} }}"),
        "an internal method has no route",
    );
}

fn update(mask: &str, field: &str) -> String {
    format!(r#"(trunkline.http.v1.update) = {{ mask: "{mask}" fields: ["{field}"] }}"#)
}

fn assert_refused(methods: &str, problem: &str) {
    let refused = read(methods).unwrap_err().to_string();
    assert!(refused.ends_with(problem), "{refused}\nis not: {problem}");
    assert!(refused.starts_with("trunkline.fixture.v1.ThingsService."), "{refused}");
}

#[test]
fn an_enum_value_without_a_text_does_not_open() {
    let source = r#"
        service S { rpc A(R) returns (R) {
          option (trunkline.authz.v1.rule) = { authenticated: true };
          option (google.api.http) = { get: "/r" };
        } }
        message R { E e = 1; }
        enum E { E_UNSPECIFIED = 0; }
    "#;
    let refused = Contract::read(&fixture::pool(source)).unwrap_err().to_string();
    assert!(
        refused.contains("lacks the option (trunkline.http.v1.name)"),
        "{refused}"
    );
}

#[test]
fn a_query_fills_what_neither_path_nor_body_nor_mask_fills_and_no_secret() {
    let contract = read(&rpc(
        "A",
        r#"option (google.api.http) = { patch: "/things/{id}" body: "thing" };
        option (trunkline.http.v1.update) = { mask: "update_mask" fields: ["name"] };"#,
    ));
    let contract = contract.unwrap();
    let operation = &contract.operations[0];
    let names: Vec<&str> = operation
        .query_fields
        .iter()
        .map(|position| contract.schema.message(operation.input).fields[*position].name.as_str())
        .collect();
    assert_eq!(names, ["limit"]);
}

#[test]
fn additional_bindings_are_routes_of_their_own() {
    let methods = rpc(
        "A",
        r#"option (google.api.http) = { get: "/things/{id}" additional_bindings: { get: "/things/by-id/{id}" } };"#,
    );
    let contract = read(&methods).unwrap();
    assert_eq!(
        contract
            .operations
            .iter()
            .map(|operation| operation.template.to_string())
            .collect::<Vec<_>>(),
        ["/things/{id}", "/things/by-id/{id}"]
    );
    assert!(matches!(
        contract.table.find(&Method::GET, "/things/by-id/7"),
        Match::Route(1, _)
    ));
}

#[test]
fn the_contracts_of_this_build_open_and_hide_internal_methods() {
    let contract = Contract::open().unwrap();
    assert!(contract.operations.len() >= 25, "{}", contract.operations.len());
    assert!(
        contract
            .operations
            .iter()
            .all(|operation| operation.audience != Audience::Internal)
    );
    assert!(
        !contract
            .operations
            .iter()
            .any(|operation| operation.grpc_path.path().contains("AuthService"))
    );
}

#[test]
fn every_route_of_the_contracts_is_found_by_a_path_made_from_its_template() {
    let contract = Contract::open().unwrap();
    for (index, operation) in contract.operations.iter().enumerate() {
        let mut path = operation.template.to_string();
        for name in operation.template.variables() {
            path = path.replace(&format!("{{{name}}}"), "0193a0f0-0000-7000-8000-000000000001");
        }
        let Match::Route(found, captures) = contract.table.find(&operation.verb, &path) else {
            panic!("{} {path}", operation.verb)
        };
        assert_eq!(found, index, "{} {path}", operation.verb);
        assert_eq!(captures.len(), operation.path_fields.len());
    }
}

//! Forms of request that no contract has yet: lists as bodies, lists in queries.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::contract::Contract;
use crate::fixture;

const BULK: &str = r#"
    service ThingsService {
      rpc CreateThings(Request) returns (Request) {
        option (google.api.http) = { post: "/things/{id}/bulk" body: "things" };
        option (trunkline.authz.v1.rule) = { authenticated: true };
      }
    }
    message Thing { string name = 1; }
    message Request {
      string id = 1;
      repeated Thing things = 2;
      repeated string tags = 3;
      google.protobuf.Timestamp created_from = 4;
      trunkline.http.v1.Json metadata = 5;
    }
"#;

fn build_bulk(query: &str, body: &str) -> Result<String, Fault> {
    let contract = Contract::read(&fixture::pool(BULK)).unwrap();
    let parts = Parts {
        captures: vec!["7".into()],
        query,
        body: body.as_bytes(),
    };
    let message = build(&contract.schema, &contract.operations[0], parts)?;
    let mut json = Vec::new();
    crate::codec::encode::message(&contract.schema, contract.operations[0].input, &message, &mut json);
    Ok(String::from_utf8(json).unwrap())
}

#[test]
fn a_list_is_a_body_of_its_own() {
    let built = build_bulk("", r#"[{"name":"a"},{}]"#).unwrap();
    assert_eq!(built, r#"{"id":"7","things":[{"name":"a"},{"name":""}],"tags":[]}"#);
    assert_eq!(
        build_bulk("", r#"[{},{"name":1}]"#).unwrap_err().fields[0].field,
        "[1].name"
    );
    assert_eq!(build_bulk("", "{}").unwrap_err().message, "the body must be a list");
}

#[test]
fn a_query_holds_lists_times_and_free_json() {
    let built = build_bulk(
        "tags=a,b%2Cc&created_from=2026-11-22T10:00:00Z&metadata=%7B%22a%22:1%7D",
        "[]",
    )
    .unwrap();
    assert_eq!(
        built,
        r#"{"id":"7","things":[],"tags":["a","b","c"],"created_from":"2026-11-22T10:00:00Z","metadata":{"a":1}}"#
    );
    let unset = build_bulk(
        "tags=&created_from=0001-01-01T00%3A00%3A00Z&metadata=&id=8&things=x",
        "[]",
    )
    .unwrap();
    assert_eq!(unset, r#"{"id":"7","things":[],"tags":[]}"#);
    assert_eq!(
        build_bulk("metadata=[1]", "[]").unwrap_err().fields[0].field,
        "metadata"
    );
}

#[test]
fn violations_inside_a_list_keep_their_index() {
    let contract = Contract::read(&fixture::pool(BULK)).unwrap();
    let mut fault = Fault::invalid("things[2].name", "is too long");
    rename_violations(&contract.schema, &contract.operations[0], &mut fault);
    assert_eq!(
        (fault.fields[0].field.as_str(), fault.message.as_str()),
        ("[2].name", "[2].name: is too long")
    );
    let mut other = Fault::invalid("things_by_name", "is wrong");
    rename_violations(&contract.schema, &contract.operations[0], &mut other);
    assert_eq!(other.fields[0].field, "things_by_name");
}

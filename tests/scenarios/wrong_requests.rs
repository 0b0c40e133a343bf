//! Wrong requests: over gRPC and over HTTP they are refused with the same code and the same reason, and each names the field as its
//! caller wrote it.

#![allow(
    clippy::needless_pass_by_value,
    reason = "tables read better with values written in place"
)]

mod channels;
mod clients;
mod domains;
mod users;

use serde_json::Value;
use trunkline_tests::World;

use crate::grpc::{Grpc, Told};
use crate::subject::{Subject, http};

/// Longest name, one byte more.
const NAME_TOO_LONG: usize = 1_025;
/// Largest metadata, and some more.
const METADATA_TOO_LARGE: usize = 65 * 1_024;

/// One request in both forms.
struct Asked {
    /// Method and path.
    http: String,
    /// Body over HTTP; none when null.
    body: Value,
    rpc: &'static str,
    message: Value,
}

/// A wrong request, and what is told about it.
struct Wrong {
    asked: Asked,
    code: &'static str,
    reason: &'static str,
    over_http: Vec<String>,
    over_grpc: Vec<String>,
}

/// A request without a body over HTTP.
fn bare(http: impl Into<String>, rpc: &'static str, message: Value) -> Asked {
    Asked {
        http: http.into(),
        body: Value::Null,
        rpc,
        message,
    }
}

/// `base` with the members of `more`, which win.
fn with(mut base: Value, more: &Value) -> Value {
    let more = more.as_object().unwrap().clone();
    base.as_object_mut().unwrap().extend(more);
    base
}

/// A request whose field is wrong: by its name over HTTP, and by its path in the message.
fn field(asked: Asked, over_http: &str, over_grpc: &str) -> Wrong {
    Wrong {
        over_http: vec![over_http.to_owned()],
        over_grpc: vec![over_grpc.to_owned()],
        ..told(asked, "INVALID_ARGUMENT", "INVALID_FIELD")
    }
}

/// A request that is refused for another reason.
fn told(asked: Asked, code: &'static str, reason: &'static str) -> Wrong {
    Wrong {
        asked,
        code,
        reason,
        over_http: Vec::new(),
        over_grpc: Vec::new(),
    }
}

/// Asks every wrong request in both forms.
async fn all_are_refused(world: &World, subject: &Subject, wrong: Vec<Wrong>) {
    let grpc = Grpc::connect(world).await;
    let mut surprises = Vec::new();
    for wrong in wrong {
        let asked = wrong.asked;
        let (method, path) = asked.http.split_once(' ').unwrap();
        let (content_type, body) = match &asked.body {
            Value::Null => (None, String::new()),
            body => (Some("application/json"), body.to_string()),
        };
        let method: http::Method = method.parse().unwrap();
        let by_http = http(world, subject).send(method, path, content_type, body).await;
        let by_grpc = grpc
            .call(asked.rpc, subject.authorization.as_deref(), &asked.message)
            .await;
        for (told, fields) in [
            (Told::by_http(&by_http), wrong.over_http),
            (Told::by_grpc(&by_grpc), wrong.over_grpc),
        ] {
            let expected = Told {
                fields,
                ..Told::failure(wrong.code, wrong.reason)
            };
            if told != expected {
                let message: String = asked.message.to_string().chars().take(200).collect();
                surprises.push(format!("{} {message}: {told:?}, not {expected:?}", asked.http));
            }
        }
    }
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

//! Who asks: a user, a client or nobody, with what he shows of himself over HTTP and over gRPC.

use serde_json::{Value, json};
use trunkline_testkit::http::Client;
use trunkline_tests::{PASSWORD, World};

/// Somebody with an account, or nobody.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject {
    /// Id of the user.
    pub(crate) id: Option<String>,
    /// What it sends as `authorization`.
    pub(crate) authorization: Option<String>,
}

/// HTTP as a subject.
pub(crate) fn http(world: &World, subject: &Subject) -> Client {
    let anonymous = world.anonymous();
    match &subject.authorization {
        Some(value) => anonymous.with_authorization(value),
        None => anonymous,
    }
}

/// Creates a user of a role and logs in.
pub(crate) async fn account(world: &World, name: &str, role: &str) -> Subject {
    let email = format!("{name}@example.com");
    let credentials = json!({ "username": name, "secret": PASSWORD });
    let body = json!({ "email": email, "role": role, "credentials": credentials });
    let id = create(&world.admin, "/users", &body).await;
    let login = json!({ "username": name, "password": PASSWORD });
    let issued = world.anonymous().post("/users/tokens/issue", &login).await.expect(201);
    Subject {
        id: Some(id),
        authorization: Some(format!("Bearer {}", issued.text_at("/access_token"))),
    }
}

/// Creates something and returns its id.
pub(crate) async fn create(as_whom: &Client, path: &str, body: &Value) -> String {
    as_whom.post(path, body).await.expect(201).text_at("/id")
}

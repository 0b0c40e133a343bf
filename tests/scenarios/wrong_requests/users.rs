//! Wrong users and wrong logins.

use serde_json::{Value, json};
use trunkline_tests::{PASSWORD, World, scenarios};
use uuid::Uuid;

use super::{Asked, METADATA_TOO_LARGE, NAME_TOO_LONG, all_are_refused, bare, field, told, with};
use crate::subject::{Subject, account};

scenarios!(
    wrong_users_are_refused_alike_over_grpc_and_http,
    wrong_logins_are_refused_alike_over_grpc_and_http,
);

fn new(more: Value) -> Asked {
    let fine = json!({ "email": "new@example.com", "credentials": { "username": "new", "secret": PASSWORD } });
    let user = with(fine, &more);
    Asked {
        http: "POST /users".into(),
        message: json!({ "user": user }),
        body: user,
        rpc: "trunkline.users.v1.UsersService/CreateUser",
    }
}

fn credentials(username: &str, secret: &str) -> Asked {
    new(json!({ "credentials": { "username": username, "secret": secret } }))
}

fn enable(id: &str) -> Asked {
    let rpc = "trunkline.users.v1.UsersService/EnableUser";
    bare(format!("POST /users/{id}/enable"), rpc, json!({ "id": id }))
}

fn login(username: &str, password: &str) -> Asked {
    let body = json!({ "username": username, "password": password });
    Asked {
        http: "POST /users/tokens/issue".into(),
        message: body.clone(),
        body,
        rpc: "trunkline.users.v1.UsersService/IssueToken",
    }
}

async fn wrong_users_are_refused_alike_over_grpc_and_http(world: World) {
    let admin = account(&world, "second-admin", "admin").await;
    account(&world, "ann", "user").await;
    let unknown_role = Asked {
        body: new(json!({ "role": "king" })).body,
        ..new(json!({ "role": 9 }))
    };
    let without_password = new(json!({ "credentials": { "username": "new" } }));
    let too_long = "x".repeat(NAME_TOO_LONG);
    let too_large = json!({ "a": "x".repeat(METADATA_TOO_LARGE) });
    let password = "user.credentials.secret";
    let wrong = vec![
        field(new(json!({ "email": "" })), "email", "user.email"),
        field(new(json!({ "email": "new" })), "email", "user.email"),
        field(without_password, "credentials.secret", password),
        field(credentials("new", "short"), "credentials.secret", password),
        field(
            credentials("a b", PASSWORD),
            "credentials.username",
            "user.credentials.username",
        ),
        field(new(json!({ "first_name": too_long })), "first_name", "user.first_name"),
        field(new(json!({ "tags": vec!["x"; 65] })), "tags", "user.tags"),
        field(new(json!({ "tags": ["fine", ""] })), "tags[1]", "user.tags[1]"),
        field(new(json!({ "metadata": too_large })), "metadata", "user.metadata"),
        field(unknown_role, "role", "user.role"),
        told(
            new(json!({ "email": "Ann@example.com" })),
            "ALREADY_EXISTS",
            "EMAIL_TAKEN",
        ),
        told(credentials("ANN", PASSWORD), "ALREADY_EXISTS", "USERNAME_TAKEN"),
        field(enable("ann"), "id", "id"),
        told(enable(&Uuid::now_v7().to_string()), "NOT_FOUND", "NOT_FOUND"),
    ];
    all_are_refused(&world, &admin, wrong).await;
    world.stop().await;
}

async fn wrong_logins_are_refused_alike_over_grpc_and_http(world: World) {
    account(&world, "ann", "user").await;
    let ben = account(&world, "ben", "user").await.id.unwrap();
    let disable = format!("/users/{ben}/disable");
    world.admin.post(&disable, &Value::Null).await.expect(200);
    let invalid = |asked: Asked| told(asked, "UNAUTHENTICATED", "CREDENTIALS_INVALID");
    let wrong = vec![
        invalid(login("ann", "another password")),
        invalid(login("nobody-of-this-name", PASSWORD)),
        invalid(login("ben", "another password")),
        invalid(login("", "")),
        told(login("ben", PASSWORD), "UNAUTHENTICATED", "USER_DISABLED"),
    ];
    all_are_refused(&world, &Subject::default(), wrong).await;
    world.stop().await;
}

//! Wrong clients.

use serde_json::{Value, json};
use trunkline_tests::{World, scenarios};
use uuid::Uuid;

use super::{Asked, METADATA_TOO_LARGE, NAME_TOO_LONG, all_are_refused, bare, field, told, with};
use crate::subject::{account, create, http};

scenarios!(
    wrong_clients_are_refused_alike_over_grpc_and_http,
    wrong_questions_for_clients_are_refused_alike_over_grpc_and_http,
);

fn new(domain: &str, client: Value) -> Asked {
    Asked {
        http: format!("POST /{domain}/clients"),
        message: json!({ "domain_id": domain, "client": client }),
        body: client,
        rpc: "trunkline.clients.v1.ClientsService/CreateClient",
    }
}

fn update(domain: &str, id: &str, client: Value, mask: &str) -> Asked {
    Asked {
        http: format!("PATCH /{domain}/clients/{id}"),
        message: json!({ "domain_id": domain, "id": id, "client": client, "update_mask": { "paths": [mask] } }),
        body: client,
        rpc: "trunkline.clients.v1.ClientsService/UpdateClient",
    }
}

fn get(domain: &str, id: &str) -> Asked {
    let rpc = "trunkline.clients.v1.ClientsService/GetClient";
    let message = json!({ "domain_id": domain, "id": id });
    bare(format!("GET /{domain}/clients/{id}"), rpc, message)
}

fn list(domain: &str, query: &str, message: Value) -> Asked {
    let rpc = "trunkline.clients.v1.ClientsService/ListClients";
    let message = with(message, &json!({ "domain_id": domain }));
    bare(format!("GET /{domain}/clients?{query}"), rpc, message)
}

async fn wrong_clients_are_refused_alike_over_grpc_and_http(world: World) {
    let owner = account(&world, "owner", "user").await;
    let as_owner = http(&world, &owner);
    let domain = create(&as_owner, "/domains", &json!({ "name": "d", "route": "plant" })).await;
    let kettle = json!({ "name": "kettle", "credentials": { "secret": "secret of the kettle" } });
    let kettle = create(&as_owner, &format!("/{domain}/clients"), &kettle).await;

    let new = |client: Value| new(&domain, client);
    let secret = |text: &str| new(json!({ "credentials": { "secret": text } }));
    let identity = |text: &str| new(json!({ "credentials": { "identity": text } }));
    let update = |client: Value, mask: &str| update(&domain, &kettle, client, mask);
    let unheard_of = Asked {
        body: json!({ "nmae": "x" }),
        ..update(json!({}), "nmae")
    };
    let too_long = "x".repeat(NAME_TOO_LONG);
    let too_large = json!({ "a": "x".repeat(METADATA_TOO_LARGE) });
    let (in_body, in_message) = ("credentials.secret", "client.credentials.secret");
    let wrong = vec![
        field(new(json!({ "name": too_long })), "name", "client.name"),
        field(new(json!({ "name": "a\u{7}b" })), "name", "client.name"),
        field(
            identity(&too_long),
            "credentials.identity",
            "client.credentials.identity",
        ),
        field(secret("1234567"), in_body, in_message),
        field(secret(" 12345678"), in_body, in_message),
        field(new(json!({ "id": "kettle" })), "id", "client.id"),
        field(new(json!({ "id": Uuid::nil() })), "id", "client.id"),
        field(new(json!({ "metadata": too_large })), "metadata", "client.metadata"),
        field(
            new(json!({ "private_metadata": too_large })),
            "private_metadata",
            "client.private_metadata",
        ),
        field(new(json!({ "metadata": "text" })), "metadata", "client.metadata"),
        told(secret("secret of the kettle"), "ALREADY_EXISTS", "SECRET_TAKEN"),
        told(new(json!({ "id": kettle })), "ALREADY_EXISTS", "ID_TAKEN"),
        told(new(json!({ "id": domain })), "ALREADY_EXISTS", "ID_TAKEN"),
        field(update(json!({ "name": too_long }), "name"), "name", "client.name"),
        field(
            update(json!({ "metadata": too_large }), "metadata"),
            "metadata",
            "client.metadata",
        ),
        field(unheard_of, "nmae", "update_mask"),
    ];
    all_are_refused(&world, &owner, wrong).await;
    world.stop().await;
}

async fn wrong_questions_for_clients_are_refused_alike_over_grpc_and_http(world: World) {
    let owner = account(&world, "owner", "user").await;
    let plant = json!({ "name": "d", "route": "plant" });
    let domain = create(&http(&world, &owner), "/domains", &plant).await;
    let too_long = "x".repeat(NAME_TOO_LONG);
    let list = |query: &str, message: Value| list(&domain, query, message);
    let wrong = vec![
        field(list("limit=101", json!({ "limit": 101 })), "limit", "limit"),
        field(list("status=gone", json!({ "status": 9 })), "status", "status"),
        field(list("order=size", json!({ "order": 9 })), "order", "order"),
        field(list("dir=up", json!({ "dir": 9 })), "dir", "dir"),
        field(
            list(&format!("name={too_long}"), json!({ "name": too_long })),
            "name",
            "name",
        ),
        field(get(&domain, "kettle"), "id", "id"),
        told(get(&domain, &Uuid::now_v7().to_string()), "NOT_FOUND", "NOT_FOUND"),
    ];
    all_are_refused(&world, &owner, wrong).await;
    world.stop().await;
}

//! Wrong domains and wrong roles.

use serde_json::{Value, json};
use trunkline_tests::{World, scenarios};
use uuid::Uuid;

use super::{Asked, NAME_TOO_LONG, all_are_refused, bare, field, told, with};
use crate::subject::{account, create, http};

scenarios!(
    wrong_domains_are_refused_alike_over_grpc_and_http,
    wrong_roles_are_refused_alike_over_grpc_and_http,
);

fn new(more: Value) -> Asked {
    let domain = with(json!({ "name": "d", "route": "new" }), &more);
    Asked {
        http: "POST /domains".into(),
        message: json!({ "domain": domain }),
        body: domain,
        rpc: "trunkline.domains.v1.DomainsService/CreateDomain",
    }
}

fn list(query: &str, message: Value) -> Asked {
    let rpc = "trunkline.domains.v1.DomainsService/ListDomains";
    bare(format!("GET /domains?{query}"), rpc, message)
}

fn role(domain: &str, more: Value) -> Asked {
    let fine = json!({ "role_name": "new", "optional_actions": [], "optional_members": [] });
    let body = with(fine, &more);
    Asked {
        http: format!("POST /domains/{domain}/roles"),
        message: with(body.clone(), &json!({ "domain_id": domain })),
        body,
        rpc: "trunkline.auth.v1.RolesService/CreateDomainRole",
    }
}

fn delete_role(domain: &str, id: &str) -> Asked {
    let rpc = "trunkline.auth.v1.RolesService/DeleteDomainRole";
    let message = json!({ "domain_id": domain, "role_id": id });
    bare(format!("DELETE /domains/{domain}/roles/{id}"), rpc, message)
}

async fn wrong_domains_are_refused_alike_over_grpc_and_http(world: World) {
    let owner = account(&world, "owner", "user").await;
    let plant = json!({ "name": "d", "route": "plant" });
    let domain = create(&http(&world, &owner), "/domains", &plant).await;
    let wrong = vec![
        field(new(json!({ "name": "" })), "name", "domain.name"),
        field(new(json!({ "name": "x".repeat(NAME_TOO_LONG) })), "name", "domain.name"),
        field(new(json!({ "route": "" })), "route", "domain.route"),
        field(new(json!({ "route": "a/b" })), "route", "domain.route"),
        field(new(json!({ "route": Uuid::now_v7() })), "route", "domain.route"),
        field(new(json!({ "id": "d" })), "id", "domain.id"),
        field(new(json!({ "metadata": [] })), "metadata", "domain.metadata"),
        told(new(json!({ "route": "plant" })), "ALREADY_EXISTS", "ROUTE_TAKEN"),
        told(new(json!({ "id": domain })), "ALREADY_EXISTS", "ID_TAKEN"),
        field(list("limit=101", json!({ "limit": 101 })), "limit", "limit"),
        field(list("status=gone", json!({ "status": 9 })), "status", "status"),
        field(list("order=size", json!({ "order": 9 })), "order", "order"),
        field(list("dir=up", json!({ "dir": 9 })), "dir", "dir"),
    ];
    all_are_refused(&world, &owner, wrong).await;
    world.stop().await;
}

async fn wrong_roles_are_refused_alike_over_grpc_and_http(world: World) {
    let owner = account(&world, "owner", "user").await;
    let as_owner = http(&world, &owner);
    let domain = create(&as_owner, "/domains", &json!({ "name": "d", "route": "plant" })).await;
    let first = json!({ "role_name": "first", "optional_actions": [], "optional_members": [] });
    create(&as_owner, &format!("/domains/{domain}/roles"), &first).await;
    let role = |more: Value| role(&domain, more);
    let named = |asked: Asked, name: &str| field(asked, name, name);
    let absent = Uuid::now_v7().to_string();
    let wrong = vec![
        named(role(json!({ "role_name": "" })), "role_name"),
        named(role(json!({ "role_name": "x".repeat(201) })), "role_name"),
        named(
            role(json!({ "optional_actions": ["read", "fly"] })),
            "optional_actions[1]",
        ),
        named(role(json!({ "optional_members": ["ann"] })), "optional_members[0]"),
        named(role(json!({ "optional_members": [absent] })), "optional_members[0]"),
        named(
            role(json!({ "optional_members": vec![&owner.id; 101] })),
            "optional_members",
        ),
        told(
            role(json!({ "role_name": "first" })),
            "ALREADY_EXISTS",
            "ROLE_NAME_TAKEN",
        ),
        told(
            role(json!({ "optional_members": [owner.id] })),
            "ALREADY_EXISTS",
            "MEMBER_HAS_ROLE",
        ),
        named(delete_role(&domain, "first"), "role_id"),
        told(delete_role(&domain, &absent), "NOT_FOUND", "NOT_FOUND"),
    ];
    all_are_refused(&world, &owner, wrong).await;
    world.stop().await;
}

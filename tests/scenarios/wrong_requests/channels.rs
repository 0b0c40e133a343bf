//! Wrong channels, wrong connections and wrong questions for messages.

use serde_json::{Value, json};
use trunkline_tests::{World, scenarios};
use uuid::Uuid;

use super::{Asked, NAME_TOO_LONG, all_are_refused, bare, field, told, with};
use crate::subject::{account, create, http};

scenarios!(
    wrong_channels_are_refused_alike_over_grpc_and_http,
    wrong_connections_are_refused_alike_over_grpc_and_http,
    wrong_questions_for_messages_are_refused_alike_over_grpc_and_http,
);

fn new(domain: &str, channel: Value) -> Asked {
    Asked {
        http: format!("POST /{domain}/channels"),
        message: json!({ "domain_id": domain, "channel": channel }),
        body: channel,
        rpc: "trunkline.channels.v1.ChannelsService/CreateChannel",
    }
}

fn update(domain: &str, id: &str, channel: Value, mask: &str) -> Asked {
    Asked {
        http: format!("PATCH /{domain}/channels/{id}"),
        message: json!({ "domain_id": domain, "id": id, "channel": channel, "update_mask": { "paths": [mask] } }),
        body: channel,
        rpc: "trunkline.channels.v1.ChannelsService/UpdateChannel",
    }
}

/// Connects; HTTP has words for what is allowed, gRPC has numbers.
fn connect(domain: &str, ends: &Value, words: Value, numbers: Value) -> Asked {
    Asked {
        http: format!("POST /{domain}/channels/connect"),
        body: with(json!({ "types": words }), ends),
        rpc: "trunkline.channels.v1.ChannelsService/Connect",
        message: with(json!({ "domain_id": domain, "types": numbers }), ends),
    }
}

fn disconnect(domain: &str, channel: &str, clients: Value) -> Asked {
    Asked {
        http: format!("POST /{domain}/channels/{channel}/disconnect"),
        body: json!({ "client_ids": clients, "types": ["publish"] }),
        rpc: "trunkline.channels.v1.ChannelsService/DisconnectClients",
        message: json!({ "domain_id": domain, "id": channel, "client_ids": clients, "types": [1] }),
    }
}

fn read(domain: &str, channel: &str, query: &str, message: Value) -> Asked {
    let rpc = "trunkline.messages.v1.MessagesService/ReadMessages";
    let message = with(message, &json!({ "domain_id": domain, "channel_id": channel }));
    bare(
        format!("GET /{domain}/channels/{channel}/messages?{query}"),
        rpc,
        message,
    )
}

async fn wrong_channels_are_refused_alike_over_grpc_and_http(world: World) {
    let owner = account(&world, "owner", "user").await;
    let as_owner = http(&world, &owner);
    let domain = create(&as_owner, "/domains", &json!({ "name": "d", "route": "plant" })).await;
    let boiler = create(&as_owner, &format!("/{domain}/channels"), &json!({ "route": "boiler" })).await;
    let new = |channel: Value| new(&domain, channel);
    let too_long = "x".repeat(NAME_TOO_LONG);
    let of_number = update(&domain, &boiler, json!({ "metadata": 1 }), "metadata");
    let wrong = vec![
        field(new(json!({ "route": "9lives" })), "route", "channel.route"),
        field(new(json!({ "route": Uuid::now_v7() })), "route", "channel.route"),
        field(new(json!({ "id": "boiler" })), "id", "channel.id"),
        field(new(json!({ "name": too_long })), "name", "channel.name"),
        told(new(json!({ "route": "boiler" })), "ALREADY_EXISTS", "ROUTE_TAKEN"),
        told(new(json!({ "id": boiler })), "ALREADY_EXISTS", "ID_TAKEN"),
        field(of_number, "metadata", "channel.metadata"),
    ];
    all_are_refused(&world, &owner, wrong).await;
    world.stop().await;
}

async fn wrong_connections_are_refused_alike_over_grpc_and_http(world: World) {
    let owner = account(&world, "owner", "user").await;
    let as_owner = http(&world, &owner);
    let domain = create(&as_owner, "/domains", &json!({ "name": "d", "route": "plant" })).await;
    let boiler = create(&as_owner, &format!("/{domain}/channels"), &json!({ "route": "boiler" })).await;
    let clients = format!("/{domain}/clients");
    let kettle = create(&as_owner, &clients, &json!({ "name": "kettle" })).await;
    let off = create(&as_owner, &clients, &json!({ "name": "off" })).await;
    as_owner
        .post(&format!("{clients}/{off}/disable"), &Value::Null)
        .await
        .expect(200);

    let ends = |channels: Value, clients: Value| json!({ "channel_ids": channels, "client_ids": clients });
    let fine = ends(json!([boiler]), json!([kettle]));
    let publish = |channels, clients| connect(&domain, &ends(channels, clients), json!(["publish"]), json!([1]));
    let fly = connect(&domain, &fine, json!(["publish", "fly"]), json!([1, 9]));
    let disconnect = |clients| disconnect(&domain, &boiler, clients);
    let named = |asked: Asked, name: &str| field(asked, name, name);
    let unknown = |asked: Asked| told(asked, "NOT_FOUND", "NOT_FOUND");
    let absent = Uuid::now_v7().to_string();
    let disabled = publish(json!([boiler]), json!([kettle, off]));
    let wrong = vec![
        named(connect(&domain, &fine, json!([]), json!([])), "types"),
        named(fly, "types[1]"),
        named(publish(json!([]), json!([kettle])), "channel_ids"),
        named(publish(json!([boiler]), json!([])), "client_ids"),
        named(publish(json!([boiler]), json!(vec![&kettle; 101])), "client_ids"),
        named(publish(json!([boiler]), json!([kettle, "kettle"])), "client_ids[1]"),
        named(publish(json!(["boiler"]), json!([kettle])), "channel_ids[0]"),
        unknown(publish(json!([boiler]), json!([kettle, absent]))),
        unknown(publish(json!([boiler]), json!([boiler]))),
        told(disabled, "FAILED_PRECONDITION", "CLIENT_DISABLED"),
        named(disconnect(json!([])), "client_ids"),
        named(disconnect(json!([""])), "client_ids[0]"),
        unknown(disconnect(json!([absent]))),
    ];
    all_are_refused(&world, &owner, wrong).await;
    world.stop().await;
}

async fn wrong_questions_for_messages_are_refused_alike_over_grpc_and_http(world: World) {
    let owner = account(&world, "owner", "user").await;
    let as_owner = http(&world, &owner);
    let domain = create(&as_owner, "/domains", &json!({ "name": "d", "route": "plant" })).await;
    let boiler = create(&as_owner, &format!("/{domain}/channels"), &json!({ "route": "boiler" })).await;
    let of = |query: &str, message: Value| read(&domain, &boiler, query, message);
    let absent = Uuid::now_v7().to_string();
    let wrong = vec![
        field(of("limit=1001", json!({ "limit": 1_001 })), "limit", "limit"),
        field(
            of("publisher=kettle", json!({ "publisher": "kettle" })),
            "publisher",
            "publisher",
        ),
        field(
            of("protocol=pigeon", json!({ "protocol": "pigeon" })),
            "protocol",
            "protocol",
        ),
        field(read(&domain, "boiler", "", json!({})), "channel_id", "channel_id"),
        told(read(&domain, &absent, "", json!({})), "NOT_FOUND", "NOT_FOUND"),
    ];
    all_are_refused(&world, &owner, wrong).await;
    let disable = format!("/{domain}/channels/{boiler}/disable");
    as_owner.post(&disable, &Value::Null).await.expect(200);
    let of_a_disabled_channel = told(of("", json!({})), "PERMISSION_DENIED", "CHANNEL_DISABLED");
    all_are_refused(&world, &owner, vec![of_a_disabled_channel]).await;
    world.stop().await;
}

//! How each line of the table asks: over HTTP, and the same over gRPC.

use serde_json::{Value, json};
use trunkline_tests::PASSWORD;

/// One request in both forms, with placeholders such as `{domain}`.
pub(super) struct Request {
    /// Its line in the table.
    pub(super) line: &'static str,
    /// Method and path of HTTP.
    pub(super) http: &'static str,
    /// Body of HTTP; none when null.
    pub(super) body: Value,
    /// Message of gRPC; none when null.
    pub(super) message: Value,
}

/// A request without a body.
fn bare(line: &'static str, http: &'static str, message: Value) -> Request {
    with_body(line, http, Value::Null, message)
}

fn with_body(line: &'static str, http: &'static str, body: Value, message: Value) -> Request {
    Request {
        line,
        http,
        body,
        message,
    }
}

/// A request whose body over HTTP is `body`, and whose message over gRPC is the same beside the fields of the path.
fn whole(line: &'static str, http: &'static str, path: Value, body: Value) -> Request {
    let mut message = path;
    if let (Value::Object(fields), Value::Object(more)) = (&mut message, body.clone()) {
        fields.extend(more);
    }
    with_body(line, http, body, message)
}

/// Every request.
pub(super) fn all() -> Vec<Request> {
    let parts = [
        users(),
        domains(),
        roles(),
        clients(),
        channels(),
        connections(),
        messages(),
        beside_the_contracts(),
    ];
    parts.into_iter().flatten().collect()
}

fn users() -> Vec<Request> {
    let user =
        json!({ "email": "u{fresh}@example.com", "credentials": { "username": "u{fresh}", "secret": PASSWORD } });
    let login = json!({ "username": "stranger", "password": PASSWORD });
    let wrong = json!({ "username": "stranger", "password": "another password" });
    let issue = "POST /users/tokens/issue";
    vec![
        with_body("users.CreateUser", "POST /users", user.clone(), json!({ "user": user })),
        bare("users.GetProfile", "GET /users/profile", json!({})),
        bare(
            "users.EnableUser",
            "POST /users/{user}/enable",
            json!({ "id": "{user}" }),
        ),
        bare(
            "users.EnableUser/himself",
            "POST /users/{self}/enable",
            json!({ "id": "{self}" }),
        ),
        bare(
            "users.EnableUser/absent",
            "POST /users/{absent}/enable",
            json!({ "id": "{absent}" }),
        ),
        bare(
            "users.DisableUser",
            "POST /users/{user}/disable",
            json!({ "id": "{user}" }),
        ),
        bare(
            "users.DisableUser/absent",
            "POST /users/{absent}/disable",
            json!({ "id": "{absent}" }),
        ),
        whole("users.IssueToken", issue, json!({}), login),
        whole("users.IssueToken/wrong", issue, json!({}), wrong),
    ]
}

fn domains() -> Vec<Request> {
    let new = json!({ "name": "New", "route": "r{fresh}" });
    let domain = |id: &str| json!({ "domain_id": id });
    vec![
        with_body(
            "domains.CreateDomain",
            "POST /domains",
            new.clone(),
            json!({ "domain": new }),
        ),
        bare("domains.GetDomain", "GET /domains/{domain}", domain("{domain}")),
        bare("domains.GetDomain/absent", "GET /domains/{absent}", domain("{absent}")),
        bare("domains.ListDomains", "GET /domains", json!({})),
        bare(
            "domains.EnableDomain",
            "POST /domains/{domain}/enable",
            domain("{domain}"),
        ),
        bare(
            "domains.DisableDomain",
            "POST /domains/{domain}/disable",
            domain("{domain}"),
        ),
    ]
}

fn roles() -> Vec<Request> {
    let role = json!({ "role_name": "r{fresh}", "optional_actions": ["read"], "optional_members": [] });
    let client = json!({ "domain_id": "{domain}", "client_id": "{client}" });
    let channel = json!({ "domain_id": "{domain}", "channel_id": "{channel}" });
    let of_client = "POST /{domain}/clients/{client}/roles";
    let of_channel = "POST /{domain}/channels/{channel}/roles";
    vec![
        whole(
            "auth.CreateDomainRole",
            "POST /domains/{domain}/roles",
            json!({ "domain_id": "{domain}" }),
            role.clone(),
        ),
        whole("auth.CreateClientRole", of_client, client.clone(), role.clone()),
        whole("auth.CreateClientRole/domain", of_client, client, role.clone()),
        whole("auth.CreateChannelRole", of_channel, channel.clone(), role.clone()),
        whole("auth.CreateChannelRole/domain", of_channel, channel, role),
        bare(
            "auth.DeleteDomainRole",
            "DELETE /domains/{domain}/roles/{domain_role}",
            json!({ "domain_id": "{domain}", "role_id": "{domain_role}" }),
        ),
        bare(
            "auth.DeleteClientRole",
            "DELETE /{domain}/clients/{client}/roles/{client_role}",
            json!({ "domain_id": "{domain}", "client_id": "{client}", "role_id": "{client_role}" }),
        ),
        bare(
            "auth.DeleteClientRole/foreign",
            "DELETE /{domain}/clients/{client}/roles/{channel_role}",
            json!({ "domain_id": "{domain}", "client_id": "{client}", "role_id": "{channel_role}" }),
        ),
        bare(
            "auth.DeleteChannelRole",
            "DELETE /{domain}/channels/{channel}/roles/{channel_role}",
            json!({ "domain_id": "{domain}", "channel_id": "{channel}", "role_id": "{channel_role}" }),
        ),
    ]
}

fn clients() -> Vec<Request> {
    let create = "POST /{domain}/clients";
    let (get, patch) = ("GET /{domain}/clients/{client}", "PATCH /{domain}/clients/{client}");
    let id = |id: &str| json!({ "domain_id": "{domain}", "id": id });
    let client = json!({ "name": "c" });
    let new = |domain: &str| json!({ "domain_id": domain, "client": client });
    let update = json!({
        "domain_id": "{domain}", "id": "{client}", "client": client, "update_mask": { "paths": ["name"] },
    });
    vec![
        with_body("clients.CreateClient", create, client.clone(), new("{domain}")),
        with_body(
            "clients.CreateClient/absent",
            "POST /{absent}/clients",
            client.clone(),
            new("{absent}"),
        ),
        bare("clients.GetClient", get, id("{client}")),
        bare("clients.GetClient/domain", get, id("{client}")),
        bare(
            "clients.GetClient/absent",
            "GET /{domain}/clients/{absent}",
            id("{absent}"),
        ),
        bare(
            "clients.GetClient/foreign",
            "GET /{domain}/clients/{other_client}",
            id("{other_client}"),
        ),
        bare(
            "clients.GetClient/channel",
            "GET /{domain}/clients/{channel}",
            id("{channel}"),
        ),
        bare(
            "clients.ListClients",
            "GET /{domain}/clients",
            json!({ "domain_id": "{domain}" }),
        ),
        bare(
            "clients.ListClients/absent",
            "GET /{absent}/clients",
            json!({ "domain_id": "{absent}" }),
        ),
        with_body("clients.UpdateClient", patch, client.clone(), update.clone()),
        with_body("clients.UpdateClient/domain", patch, client.clone(), update),
        bare(
            "clients.EnableClient",
            "POST /{domain}/clients/{client}/enable",
            id("{client}"),
        ),
        bare(
            "clients.DisableClient",
            "POST /{domain}/clients/{client}/disable",
            id("{client}"),
        ),
        bare(
            "clients.DeleteClient",
            "DELETE /{domain}/clients/{client}",
            id("{client}"),
        ),
        bare(
            "clients.DeleteClient/foreign",
            "DELETE /{domain}/clients/{other_client}",
            id("{other_client}"),
        ),
    ]
}

fn channels() -> Vec<Request> {
    let (get, patch) = ("GET /{domain}/channels/{channel}", "PATCH /{domain}/channels/{channel}");
    let id = |id: &str| json!({ "domain_id": "{domain}", "id": id });
    let channel = json!({ "name": "c" });
    let new = json!({ "domain_id": "{domain}", "channel": channel });
    let update = json!({
        "domain_id": "{domain}", "id": "{channel}", "channel": channel, "update_mask": { "paths": ["name"] },
    });
    vec![
        with_body(
            "channels.CreateChannel",
            "POST /{domain}/channels",
            channel.clone(),
            new,
        ),
        bare("channels.GetChannel", get, id("{channel}")),
        bare("channels.GetChannel/domain", get, id("{channel}")),
        bare(
            "channels.GetChannel/absent",
            "GET /{domain}/channels/{absent}",
            id("{absent}"),
        ),
        bare(
            "channels.GetChannel/foreign",
            "GET /{domain}/channels/{other_channel}",
            id("{other_channel}"),
        ),
        bare(
            "channels.ListChannels",
            "GET /{domain}/channels",
            json!({ "domain_id": "{domain}" }),
        ),
        with_body("channels.UpdateChannel", patch, channel.clone(), update.clone()),
        with_body("channels.UpdateChannel/domain", patch, channel, update),
        bare(
            "channels.EnableChannel",
            "POST /{domain}/channels/{channel}/enable",
            id("{channel}"),
        ),
        bare(
            "channels.DisableChannel",
            "POST /{domain}/channels/{channel}/disable",
            id("{channel}"),
        ),
        bare(
            "channels.DeleteChannel",
            "DELETE /{domain}/channels/{channel}",
            id("{channel}"),
        ),
    ]
}

fn connections() -> Vec<Request> {
    /// A client may publish and receive, in the words of HTTP and the numbers of gRPC.
    fn both(line: &'static str, http: &'static str, fields: &Value) -> Request {
        let with = |types: Value| {
            let mut fields = fields.clone();
            fields["types"] = types;
            fields
        };
        let mut body = with(json!(["publish", "subscribe"]));
        let in_path = if http.contains("{channel}") {
            &["domain_id", "id"][..]
        } else {
            &["domain_id"]
        };
        body.as_object_mut()
            .unwrap()
            .retain(|name, _| !in_path.contains(&name.as_str()));
        with_body(line, http, body, with(json!([1, 2])))
    }
    let bulk = |client: &str| json!({ "domain_id": "{domain}", "channel_ids": ["{channel}"], "client_ids": [client] });
    let one = json!({ "domain_id": "{domain}", "id": "{channel}", "client_ids": ["{client}"] });
    let (connect, disconnect) = ("POST /{domain}/channels/connect", "POST /{domain}/channels/disconnect");
    let to_one = "POST /{domain}/channels/{channel}/connect";
    let from_one = "POST /{domain}/channels/{channel}/disconnect";
    vec![
        both("channels.Connect", connect, &bulk("{client}")),
        both("channels.Connect/one-end", connect, &bulk("{client}")),
        both("channels.Connect/other-end", connect, &bulk("{client}")),
        both("channels.Connect/foreign", connect, &bulk("{other_client}")),
        both("channels.Disconnect", disconnect, &bulk("{client}")),
        both("channels.Disconnect/one-end", disconnect, &bulk("{client}")),
        both("channels.ConnectClients", to_one, &one),
        both("channels.ConnectClients/one-end", to_one, &one),
        both("channels.ConnectClients/other-end", to_one, &one),
        both("channels.DisconnectClients", from_one, &one),
        both("channels.DisconnectClients/other-end", from_one, &one),
    ]
}

fn messages() -> Vec<Request> {
    let path = "GET /{domain}/channels/{channel}/messages";
    let of = |domain: &str, channel: &str| json!({ "domain_id": domain, "channel_id": channel });
    vec![
        bare("messages.ReadMessages", path, of("{domain}", "{channel}")),
        bare("messages.ReadMessages/domain", path, of("{domain}", "{channel}")),
        bare(
            "messages.ReadMessages/absent",
            "GET /{domain}/channels/{absent}/messages",
            of("{domain}", "{absent}"),
        ),
        bare(
            "messages.ReadMessages/foreign",
            "GET /{domain}/channels/{other_channel}/messages",
            of("{domain}", "{other_channel}"),
        ),
        bare(
            "messages.ReadMessages/elsewhere",
            "GET /{other_domain}/channels/{other_channel}/messages",
            of("{other_domain}", "{other_channel}"),
        ),
    ]
}

/// Routes that no method stands behind.
fn beside_the_contracts() -> Vec<Request> {
    let publish = |line, http| with_body(line, http, json!({ "a": 1 }), Value::Null);
    vec![
        publish("http.Publish", "POST /m/{domain}/c/{channel}"),
        publish("http.Publish/subtopic", "POST /m/{domain}/c/{channel}/{fresh}"),
        publish("http.Publish/absent", "POST /m/{domain}/c/{absent}"),
        publish("http.Publish/foreign", "POST /m/{domain}/c/{other_channel}"),
        publish("http.Publish/elsewhere", "POST /m/{other_domain}/c/{other_channel}"),
        bare("http.GetHealth", "GET /health", Value::Null),
        bare("http.GetDocument", "GET /openapi.json", Value::Null),
    ]
}

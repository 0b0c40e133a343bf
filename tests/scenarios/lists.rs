//! What lists show: exactly the objects that the caller may read, whoever asks, over gRPC and HTTP alike.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use trunkline_testkit::http::Client;
use trunkline_tests::{World, scenarios};

use crate::grpc::{Grpc, ids_of};
use crate::subject::{Subject, account, create, http};

scenarios!(
    a_list_of_clients_shows_what_the_caller_may_read,
    a_list_of_channels_shows_what_the_caller_may_read,
    a_list_of_domains_shows_those_that_the_caller_may_reach,
    filters_and_pages_cut_what_may_be_read_and_nothing_else,
);

/// Objects of one kind by the names that the tables of this file use.
struct Objects(Vec<(&'static str, String)>);

impl Objects {
    fn id(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| *known == name);
        &found.unwrap_or_else(|| panic!("nothing is called {name}")).1
    }

    /// The names of `ids`, sorted; ids that nobody made stay ids.
    fn names(&self, ids: &[String]) -> Vec<String> {
        let name = |id: &String| {
            self.0
                .iter()
                .find(|(_, known)| known == id)
                .map(|(name, _)| (*name).to_owned())
        };
        let mut names: Vec<String> = ids.iter().map(|id| name(id).unwrap_or_else(|| id.clone())).collect();
        names.sort();
        names
    }
}

/// A list over HTTP, and the same over gRPC.
struct List {
    rpc: &'static str,
    /// Path with its query.
    path: String,
    /// Member of the answer that holds the items.
    items: &'static str,
    message: Value,
}

/// The names of what `subject` gets. Both ways give the same in the same order, and as many as `total` says.
async fn listed(world: &World, grpc: &Grpc, subject: &Subject, list: &List, objects: &Objects) -> Vec<String> {
    let page = http(world, subject).get(&list.path).await.expect(200).json();
    let items = page[list.items].as_array().unwrap();
    let ids: Vec<String> = items
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect();
    let answer = grpc
        .call(list.rpc, subject.authorization.as_deref(), &list.message)
        .await
        .unwrap();
    assert_eq!(ids_of(&answer), ids);
    let total = answer.get_field_by_name("total").unwrap().as_u64().unwrap();
    assert_eq!(page["total"], json!(total));
    let distinct: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "something is listed twice: {ids:?}");
    objects.names(&ids)
}

/// Domains with objects of one kind in them.
struct Site {
    domain: String,
    others: String,
    closed: String,
    objects: Objects,
}

/// Two objects in one domain and one that was deleted there, one in another domain and one in a disabled one.
async fn site(owner: &Client, other: &Client, kind: &str) -> Site {
    let domain = create(owner, "/domains", &json!({ "name": "d", "route": "plant" })).await;
    let others = create(other, "/domains", &json!({ "name": "d", "route": "elsewhere" })).await;
    let closed = create(owner, "/domains", &json!({ "name": "d", "route": "closed" })).await;
    let mut made = Vec::new();
    for (name, creator, domain) in [
        ("kettle", owner, &domain),
        ("toaster", owner, &domain),
        ("gone", owner, &domain),
        ("foreign", other, &others),
        ("sealed", owner, &closed),
    ] {
        let path = format!("/{domain}/{kind}");
        made.push((name, create(creator, &path, &json!({ "name": "a" })).await));
    }
    let objects = Objects(made);
    let gone = format!("/{domain}/{kind}/{}", objects.id("gone"));
    owner.delete(&gone).await.expect(204);
    disable(owner, &closed).await;
    Site {
        domain,
        others,
        closed,
        objects,
    }
}

async fn disable(owner: &Client, domain: &str) {
    let path = format!("/domains/{domain}/disable");
    owner.post(&path, &Value::Null).await.expect(200);
}

/// Creates a role with one action.
async fn grant(owner: &Client, path: &str, action: &str, members: &[&Subject]) {
    let members: Vec<_> = members.iter().map(|member| member.id.clone()).collect();
    let body = json!({ "role_name": action, "optional_actions": [action], "optional_members": members });
    create(owner, path, &body).await;
}

/// Everybody sees what he may read of a kind, which is named as in paths and as in actions.
async fn shows_what_may_be_read(world: World, rpc: &'static str, kind: &'static str, action: &str) {
    let grpc = Grpc::connect(&world).await;
    let user = async |name: &str| account(&world, name, "user").await;
    let (owner, other) = (user("owner").await, user("other").await);
    let (member, reader, updater) = (user("member").await, user("reader").await, user("updater").await);
    let (reader_of_all, updater_of_all) = (user("reader-of-all").await, user("updater-of-all").await);
    let admin = account(&world, "second-admin", "admin").await;

    let as_owner = http(&world, &owner);
    let site = site(&as_owner, &http(&world, &other), kind).await;
    let of_domain = format!("/domains/{}/roles", site.domain);
    grant(&as_owner, &of_domain, "view_role_users", &[&member, &reader, &updater]).await;
    grant(&as_owner, &of_domain, &format!("{action}_read"), &[&reader_of_all]).await;
    grant(&as_owner, &of_domain, &format!("{action}_update"), &[&updater_of_all]).await;
    let of_kettle = format!("/{}/{kind}/{}/roles", site.domain, site.objects.id("kettle"));
    grant(&as_owner, &of_kettle, "read", &[&reader]).await;
    grant(&as_owner, &of_kettle, "update", &[&updater]).await;

    let (all, one, none): (&[&str], &[&str], &[&str]) = (&["kettle", "toaster"], &["kettle"], &[]);
    for (who, subject, domain, expected) in [
        ("owner", &owner, &site.domain, all),
        ("admin", &admin, &site.domain, all),
        ("reader of all", &reader_of_all, &site.domain, all),
        ("reader", &reader, &site.domain, one),
        ("updater", &updater, &site.domain, none),
        ("updater of all", &updater_of_all, &site.domain, none),
        ("member", &member, &site.domain, none),
        ("other", &other, &site.others, &["foreign"]),
        ("admin elsewhere", &admin, &site.others, &["foreign"]),
        ("owner of a disabled domain", &owner, &site.closed, &["sealed"]),
        ("admin in a disabled domain", &admin, &site.closed, &["sealed"]),
    ] {
        let list = List {
            rpc,
            path: format!("/{domain}/{kind}"),
            items: kind,
            message: json!({ "domain_id": domain }),
        };
        let listed = listed(&world, &grpc, subject, &list, &site.objects).await;
        assert_eq!(listed, expected, "{who}");
    }
    world.stop().await;
}

async fn a_list_of_clients_shows_what_the_caller_may_read(world: World) {
    let rpc = "trunkline.clients.v1.ClientsService/ListClients";
    shows_what_may_be_read(world, rpc, "clients", "client").await;
}

async fn a_list_of_channels_shows_what_the_caller_may_read(world: World) {
    let rpc = "trunkline.channels.v1.ChannelsService/ListChannels";
    shows_what_may_be_read(world, rpc, "channels", "channel").await;
}

async fn a_list_of_domains_shows_those_that_the_caller_may_reach(world: World) {
    let grpc = Grpc::connect(&world).await;
    let user = async |name: &str| account(&world, name, "user").await;
    let (owner, other) = (user("owner").await, user("other").await);
    let (member, stranger) = (user("member").await, user("stranger").await);
    let admin = account(&world, "second-admin", "admin").await;
    let (as_owner, as_other) = (http(&world, &owner), http(&world, &other));
    let mut made = Vec::new();
    for (route, creator) in [
        ("plant", &as_owner),
        ("closed", &as_owner),
        ("lab", &as_owner),
        ("elsewhere", &as_other),
    ] {
        let domain = json!({ "name": route, "route": route });
        made.push((route, create(creator, "/domains", &domain).await));
    }
    let domains = Objects(made);
    for domain in ["plant", "closed"] {
        let path = format!("/domains/{}/roles", domains.id(domain));
        grant(&as_owner, &path, "view_role_users", &[&member]).await;
    }
    disable(&as_owner, domains.id("closed")).await;

    let none: &[&str] = &[];
    for (who, subject, enabled, disabled) in [
        ("owner", &owner, &["lab", "plant"][..], &["closed"][..]),
        ("other", &other, &["elsewhere"], none),
        ("member", &member, &["plant"], none),
        ("stranger", &stranger, none, none),
        ("admin", &admin, &["elsewhere", "lab", "plant"], &["closed"]),
    ] {
        let all = [disabled, enabled].concat();
        for (status, number, expected) in [
            ("", 0, enabled),
            ("enabled", 1, enabled),
            ("disabled", 2, disabled),
            ("all", 4, &all),
        ] {
            let list = List {
                rpc: "trunkline.domains.v1.DomainsService/ListDomains",
                path: format!("/domains?status={status}"),
                items: "domains",
                message: json!({ "status": number }),
            };
            let listed = listed(&world, &grpc, subject, &list, &domains).await;
            assert_eq!(listed, expected, "{who} asks for {status:?}");
        }
    }
    world.stop().await;
}

async fn filters_and_pages_cut_what_may_be_read_and_nothing_else(world: World) {
    let grpc = Grpc::connect(&world).await;
    let owner = account(&world, "owner", "user").await;
    let as_owner = http(&world, &owner);
    let domain = create(&as_owner, "/domains", &json!({ "name": "d", "route": "plant" })).await;
    let path = format!("/{domain}/clients");
    let mut made = Vec::new();
    for name in ["Kettle", "kettle 2", "toaster"] {
        made.push((name, create(&as_owner, &path, &json!({ "name": name })).await));
    }
    let objects = Objects(made);
    let off = objects.id("toaster");
    as_owner
        .post(&format!("{path}/{off}/disable"), &Value::Null)
        .await
        .expect(200);

    for (query, message, expected) in [
        ("", json!({}), &["Kettle", "kettle 2"][..]),
        ("status=all", json!({ "status": 3 }), &["Kettle", "kettle 2", "toaster"]),
        ("status=disabled", json!({ "status": 2 }), &["toaster"]),
        ("name=KETTLE", json!({ "name": "KETTLE" }), &["Kettle", "kettle 2"]),
        ("name=%25", json!({ "name": "%" }), &[]),
        ("name=toaster", json!({ "name": "toaster" }), &[]),
        ("offset=5", json!({ "offset": 5 }), &[]),
        ("with_metadata=true&unheard_of=1", json!({}), &["Kettle", "kettle 2"]),
    ] {
        let mut message = message;
        message["domain_id"] = json!(domain);
        let list = List {
            rpc: "trunkline.clients.v1.ClientsService/ListClients",
            path: format!("{path}?{query}"),
            items: "clients",
            message,
        };
        assert_eq!(
            listed(&world, &grpc, &owner, &list, &objects).await,
            expected,
            "{query}"
        );
    }
    let mut paged = Vec::new();
    for offset in 0..3 {
        let page = as_owner
            .get(&format!("{path}?status=all&order=name&dir=asc&limit=1&offset={offset}"))
            .await;
        let page = page.expect(200).json();
        assert_eq!(
            (&page["total"], &page["offset"], &page["limit"]),
            (&json!(3), &json!(offset), &json!(1))
        );
        paged.push(page["clients"][0]["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(paged, ["Kettle", "kettle 2", "toaster"]);
    world.stop().await;
}

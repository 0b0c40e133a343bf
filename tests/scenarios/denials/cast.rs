//! Who asks in the matrix, and what he asks about: users that stay the same, and a stage that is built anew where it was changed.

use serde_json::{Value, json};
use trunkline_tests::World;
use uuid::Uuid;

use crate::subject::{Subject, account, create, http};

/// What a role of a domain may hold that bears on the methods of the table.
const DOMAIN: &[&str] = &[
    "update",
    "enable",
    "disable",
    "read",
    "delete",
    "manage_role",
    "add_role_users",
    "remove_role_users",
    "view_role_users",
    "client_create",
    "channel_create",
    "group_create",
    "client_update",
    "client_read",
    "client_delete",
    "client_set_parent_group",
    "client_connect_to_channel",
    "client_manage_role",
    "channel_update",
    "channel_read",
    "channel_delete",
    "channel_set_parent_group",
    "channel_connect_to_client",
    "channel_publish",
    "channel_subscribe",
    "channel_manage_role",
];
/// What a role of a client may hold.
const CLIENT: &[&str] = &[
    "update",
    "read",
    "delete",
    "set_parent_group",
    "connect_to_channel",
    "manage_role",
    "add_role_users",
    "remove_role_users",
    "view_role_users",
];
/// What a role of a channel may hold.
const CHANNEL: &[&str] = &[
    "update",
    "read",
    "delete",
    "set_parent_group",
    "connect_to_client",
    "publish",
    "subscribe",
    "manage_role",
    "add_role_users",
    "remove_role_users",
    "view_role_users",
];

/// The users of the matrix.
pub(crate) struct Cast {
    stranger: Subject,
    other: Subject,
    member: Subject,
    almost: Subject,
    exact: Subject,
    owner: Subject,
    disabled: Subject,
    admin: Subject,
    victim: Subject,
    other_domain: String,
    other_client: String,
    other_channel: String,
}

/// A domain with all that the requests of one row name.
pub(crate) struct Stage {
    domain: String,
    client: String,
    channel: String,
    device: Subject,
    domain_role: String,
    client_role: String,
    channel_role: String,
}

impl Cast {
    /// Makes the users, and the domain of the other administrator.
    pub(crate) async fn assemble(world: &World) -> Self {
        let user = async |name: &str| account(world, name, "user").await;
        let disabled = user("disabled").await;
        let id = disabled.id.clone().unwrap_or_default();
        world
            .admin
            .post(&format!("/users/{id}/disable"), &Value::Null)
            .await
            .expect(200);
        let other = user("other").await;
        let http = http(world, &other);
        let other_domain = create(&http, "/domains", &json!({ "name": "Other", "route": "other" })).await;
        Self {
            stranger: user("stranger").await,
            member: user("member").await,
            almost: user("almost").await,
            exact: user("exact").await,
            owner: user("owner").await,
            admin: account(world, "second-admin", "admin").await,
            victim: user("victim").await,
            other_client: create(&http, &format!("/{other_domain}/clients"), &json!({ "name": "c" })).await,
            other_channel: create(&http, &format!("/{other_domain}/channels"), &json!({ "name": "c" })).await,
            other_domain,
            other,
            disabled,
        }
    }

    /// The subject of a column of the table.
    pub(crate) fn subject(&self, column: &str, stage: &Stage) -> Subject {
        match column.trim_start_matches("closed-") {
            "nobody" => Subject::default(),
            "garbage" => Subject {
                authorization: Some("Bearer garbage".into()),
                ..Subject::default()
            },
            "stranger" => self.stranger.clone(),
            "other" => self.other.clone(),
            "member" => self.member.clone(),
            "almost" => self.almost.clone(),
            "exact" => self.exact.clone(),
            "owner" => self.owner.clone(),
            "admin" => self.admin.clone(),
            "disabled" => self.disabled.clone(),
            "device" => stage.device.clone(),
            unknown => panic!("the table has a column {unknown}, but the cast has nobody for it"),
        }
    }

    /// `text` with its placeholders filled in.
    pub(crate) fn fill(&self, text: &str, subject: &Subject, stage: &Stage) -> String {
        let id_of = |subject: &Subject| subject.id.clone().unwrap_or_default();
        let own = subject.id.clone().unwrap_or_else(|| id_of(&self.victim));
        let fresh = Uuid::now_v7().simple().to_string();
        let known: [(&str, &str); 13] = [
            ("{domain}", &stage.domain),
            ("{client}", &stage.client),
            ("{channel}", &stage.channel),
            ("{domain_role}", &stage.domain_role),
            ("{client_role}", &stage.client_role),
            ("{channel_role}", &stage.channel_role),
            ("{other_domain}", &self.other_domain),
            ("{other_client}", &self.other_client),
            ("{other_channel}", &self.other_channel),
            ("{user}", &id_of(&self.victim)),
            ("{self}", &own),
            ("{absent}", &Uuid::now_v7().to_string()),
            ("{fresh}", &fresh[16..]),
        ];
        known
            .into_iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

impl Stage {
    /// Builds a domain in which `exact` holds exactly `needs`, `almost` everything else on the same objects, and `member` nothing
    /// that bears on them; the disabled user administers it. A closed one is then disabled.
    pub(crate) async fn build(world: &World, cast: &Cast, needs: &[(&str, &str)], is_closed: bool) -> Self {
        let owner = http(world, &cast.owner);
        let route = format!("d{}", Uuid::now_v7().simple());
        let body = json!({ "name": "Stage", "route": route });
        let domain = create(&owner, "/domains", &body).await;
        let device = owner
            .post(&format!("/{domain}/clients"), &json!({ "name": "c" }))
            .await
            .expect(201);
        let client = device.text_at("/id");
        let channel = create(&owner, &format!("/{domain}/channels"), &json!({ "name": "c" })).await;
        let connection = json!({ "client_ids": [client], "types": ["publish", "subscribe"] });
        let connect = format!("/{domain}/channels/{channel}/connect");
        owner.post(&connect, &connection).await.expect(201);

        let kinds = [("domain", DOMAIN), ("client", CLIENT), ("channel", CHANNEL)];
        for (kind, action) in needs {
            let is_known = kinds.iter().any(|(known, all)| known == kind && all.contains(action));
            assert!(is_known, "the cast knows no action {kind}:{action}");
        }
        let roles = [
            ("domain", DOMAIN, format!("/domains/{domain}/roles")),
            ("client", CLIENT, format!("/{domain}/clients/{client}/roles")),
            ("channel", CHANNEL, format!("/{domain}/channels/{channel}/roles")),
        ];
        let role = async |path: &str, name: &str, actions: &[&str], members: &[&Subject]| {
            let members: Vec<_> = members.iter().map(|member| member.id.clone()).collect();
            let body = json!({ "role_name": name, "optional_actions": actions, "optional_members": members });
            create(&owner, path, &body).await
        };
        role(&roles[0].2, "disabled", DOMAIN, &[&cast.disabled]).await;
        let mut spare = Vec::new();
        for (kind, all, path) in &roles {
            let is_needed = |action: &&&str| needs.contains(&(*kind, **action));
            let exact: Vec<&str> = all.iter().filter(is_needed).copied().collect();
            let almost: Vec<&str> = all.iter().filter(|action| !is_needed(action)).copied().collect();
            let members: &[&Subject] = match (*kind, exact.is_empty()) {
                ("domain", true) => &[&cast.member, &cast.almost, &cast.exact],
                ("domain", false) => &[&cast.member],
                _ => &[],
            };
            spare.push(role(path, "spare", &[], &[]).await);
            if !members.is_empty() {
                role(path, "member", &["view_role_users"], members).await;
            }
            if !exact.is_empty() {
                role(path, "exact", &exact, &[&cast.exact]).await;
                role(path, "almost", &almost, &[&cast.almost]).await;
            }
        }
        if is_closed {
            let path = format!("/domains/{domain}/disable");
            owner.post(&path, &Value::Null).await.expect(200);
        }
        let [domain_role, client_role, channel_role] = spare.try_into().unwrap();
        Self {
            device: Subject {
                id: None,
                authorization: Some(format!("Client {}", device.text_at("/credentials/secret"))),
            },
            domain,
            client,
            channel,
            domain_role,
            client_role,
            channel_role,
        }
    }
}

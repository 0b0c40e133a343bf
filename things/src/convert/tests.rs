//! What is accepted on the way in, and what is shown on the way out.

use super::*;
use prost_types::Timestamp as ProtoTime;
use trunkline_core::Timestamp;
use trunkline_proto::http::v1::Json;
use uuid::Uuid;

const ID: &str = "0192f0c1-7b1e-7c3a-9a55-0123456789ab";

fn create(client: proto::Client) -> Result<NewClient, String> {
    let request = proto::CreateClientRequest {
        domain_id: ID.into(),
        client: Some(client),
    };
    new_client(request).map_err(|fault| fault.fields[0].field.clone())
}

fn metadata_of(text: &'static [u8]) -> Option<Json> {
    Some(Json { text: text.into() })
}

fn credentials(identity: &str, secret: &str) -> Option<proto::Credentials> {
    Some(proto::Credentials {
        identity: Some(identity.into()),
        secret: Some(secret.into()),
    })
}

fn update(client: proto::Client, paths: &[&str]) -> Result<Changes, String> {
    let mask = FieldMask {
        paths: paths.iter().map(ToString::to_string).collect(),
    };
    changes(Some(client), Some(mask)).map_err(|fault| fault.message)
}

#[test]
fn each_wrong_field_of_a_creation_is_named_by_its_path() {
    let client = proto::Client::default;
    let cases = [
        (
            "client.id",
            proto::Client {
                id: "kettle".into(),
                ..client()
            },
        ),
        (
            "client.id",
            proto::Client {
                id: Uuid::nil().to_string(),
                ..client()
            },
        ),
        (
            "client.name",
            proto::Client {
                name: Some(" ".into()),
                ..client()
            },
        ),
        (
            "client.tags[1]",
            proto::Client {
                tags: vec!["a".into(), "b\n".into()],
                ..client()
            },
        ),
        (
            "client.credentials.identity",
            proto::Client {
                credentials: credentials("a\0", ""),
                ..client()
            },
        ),
        (
            "client.credentials.secret",
            proto::Client {
                credentials: credentials("", "short"),
                ..client()
            },
        ),
        (
            "client.metadata",
            proto::Client {
                metadata: metadata_of(b"[]"),
                ..client()
            },
        ),
        (
            "client.private_metadata",
            proto::Client {
                private_metadata: metadata_of(b"{"),
                ..client()
            },
        ),
    ];
    for (field, client) in cases {
        assert_eq!(create(client).unwrap_err(), field);
    }
    let request = proto::CreateClientRequest {
        domain_id: "home".into(),
        client: None,
    };
    assert_eq!(new_client(request).unwrap_err().fields[0].field, "domain_id");
}

#[test]
fn empty_texts_of_a_creation_count_as_absent() {
    let empty = proto::Client {
        name: Some(String::new()),
        credentials: credentials("", ""),
        ..proto::Client::default()
    };
    let new = create(empty).unwrap();
    assert_eq!((new.name, new.identity), (None, None));
    assert_eq!(new.secret.expose().len(), 43, "a secret is made");
    assert_ne!(new.secret, create(proto::Client::default()).unwrap().secret);
}

#[test]
fn what_the_server_alone_decides_cannot_be_given_on_creation() {
    let given = proto::Client {
        status: proto::Status::Disabled.into(),
        domain_id: ID.replace('0', "1"),
        parent_group_id: Some(ID.into()),
        updated_by: Some(ID.into()),
        created_at: Some(ProtoTime { seconds: 1, nanos: 0 }),
        ..proto::Client::default()
    };
    let created = create(given).unwrap().created(Timestamp::from_micros(7));
    assert_eq!(
        (created.base.status, created.base.domain_id),
        (Status::Enabled, ID.parse().unwrap())
    );
    assert_eq!(
        (
            created.base.parent_group_id,
            created.base.updated_by,
            created.base.created_at.micros()
        ),
        (None, None, 7)
    );
}

#[test]
fn a_mask_may_name_three_fields_and_no_other() {
    for path in ["tags", "credentials.secret", "status", "*", "client.name", ""] {
        let message = update(proto::Client::default(), &["name", path]).unwrap_err();
        assert!(
            message.starts_with("update_mask") && message.contains(&format!("`{path}`")),
            "{message}"
        );
    }
    let given = proto::Client {
        name: Some("kettle".into()),
        metadata: metadata_of(b"{}"),
        ..proto::Client::default()
    };
    assert_eq!(update(given.clone(), &[]).unwrap(), Changes::default());
    let changes = update(given, &["metadata", "private_metadata"]).unwrap();
    assert_eq!(changes.name, Change::Keep);
    assert!(matches!(changes.metadata, Change::Set(Some(_))));
    assert_eq!(
        changes.private_metadata,
        Change::Set(None),
        "named in the mask and absent: emptied"
    );
}

#[test]
fn only_creation_shows_the_secret_and_events_show_no_private_metadata() {
    let given = proto::Client {
        private_metadata: metadata_of(b"{}"),
        ..proto::Client::default()
    };
    let new = create(given).unwrap();
    let stored = new.created(Timestamp::from_micros(1_000_001));
    let secret = |shown: proto::Client| shown.credentials.unwrap().secret;
    assert_eq!(
        secret(created(&stored, &new.secret)).as_deref(),
        Some(new.secret.expose())
    );
    assert_eq!(secret(client(&stored)), None);
    assert_eq!(secret(public(&stored)), None);
    assert!(client(&stored).private_metadata.is_some());
    assert!(public(&stored).private_metadata.is_none());
    assert_eq!(
        client(&stored).created_at,
        Some(ProtoTime {
            seconds: 1,
            nanos: 1_000
        })
    );
}

#[test]
fn a_claim_names_a_client_or_a_domain_and_not_both() {
    let request = |client_id: &str, domain: &str| proto::AuthenticateRequest {
        client_id: client_id.into(),
        domain: domain.into(),
        secret: "12345678".into(),
    };
    let holder = |client_id, domain| {
        let claim = claim(request(client_id, domain), RequestId::new());
        claim
            .map(|claim| claim.holder)
            .map_err(|fault| fault.fields[0].field.clone())
    };
    assert_eq!(holder(ID, ""), Ok(Holder::Client(ID.parse().ok())));
    assert_eq!(holder("kettle", ""), Ok(Holder::Client(None)));
    assert_eq!(holder("", "home"), Ok(Holder::Domain("home".into())));
    assert_eq!(holder("", ""), Err("client_id".into()));
    assert_eq!(holder(ID, "home"), Err("domain".into()));
}

#[test]
fn a_list_has_defaults_and_names_what_is_wrong() {
    let asked = proto::ListClientsRequest {
        domain_id: ID.into(),
        ..proto::ListClientsRequest::default()
    };
    let parsed = list(&asked).unwrap();
    assert_eq!(
        (parsed.page, parsed.order, parsed.direction),
        (Page::default(), Order::UpdatedAt, Direction::Descending)
    );
    assert_eq!((parsed.name_folded, parsed.status), (None, Some(Status::Enabled)));
    let cases = [
        (
            "limit",
            proto::ListClientsRequest {
                limit: 101,
                ..asked.clone()
            },
        ),
        (
            "offset",
            proto::ListClientsRequest {
                offset: u64::MAX,
                ..asked.clone()
            },
        ),
        (
            "order",
            proto::ListClientsRequest {
                order: 9,
                ..asked.clone()
            },
        ),
        (
            "dir",
            proto::ListClientsRequest {
                dir: 9,
                ..asked.clone()
            },
        ),
        (
            "status",
            proto::ListClientsRequest {
                status: 9,
                ..asked.clone()
            },
        ),
        (
            "name",
            proto::ListClientsRequest {
                name: "a\0".into(),
                ..asked
            },
        ),
    ];
    for (field, request) in cases {
        assert_eq!(list(&request).unwrap_err().fields[0].field, field);
    }
}

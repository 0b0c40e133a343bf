//! What is accepted on the way in, and what is shown on the way out.

use super::*;
use trunkline_proto::http::v1::Json;

const ID: &str = "0192f0c1-7b1e-7c3a-9a55-0123456789ab";

fn create(channel: proto::Channel) -> Result<NewChannel, String> {
    let request = proto::CreateChannelRequest {
        domain_id: ID.into(),
        channel: Some(channel),
    };
    new_channel(request).map_err(|fault| fault.fields[0].field.clone())
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn each_wrong_field_of_a_creation_is_named_by_its_path() {
    let channel = proto::Channel::default;
    let json = |text: &'static [u8]| Some(Json { text: text.into() });
    let cases = [
        (
            "channel.id",
            proto::Channel {
                id: "kitchen".into(),
                ..channel()
            },
        ),
        (
            "channel.route",
            proto::Channel {
                route: Some("a__b".into()),
                ..channel()
            },
        ),
        (
            "channel.route",
            proto::Channel {
                route: Some(ID.replacen('0', "a", 1)),
                ..channel()
            },
        ),
        (
            "channel.name",
            proto::Channel {
                name: Some(" ".into()),
                ..channel()
            },
        ),
        (
            "channel.tags[0]",
            proto::Channel {
                tags: texts(&[""]),
                ..channel()
            },
        ),
        (
            "channel.metadata",
            proto::Channel {
                metadata: json(b"1"),
                ..channel()
            },
        ),
    ];
    for (field, channel) in cases {
        assert_eq!(create(channel).unwrap_err(), field);
    }
    let empty = proto::Channel {
        name: Some(String::new()),
        route: Some(String::new()),
        ..channel()
    };
    let new = create(empty).unwrap();
    assert_eq!((new.name, new.route), (None, None));
}

#[test]
fn a_mask_may_name_two_fields_and_no_other() {
    let update = |channel: proto::Channel, paths: &[&str]| {
        changes(Some(channel), Some(FieldMask { paths: texts(paths) })).map_err(|fault| fault.message)
    };
    for path in ["route", "tags", "status", "private_metadata", "*", ""] {
        let message = update(proto::Channel::default(), &[path]).unwrap_err();
        assert!(
            message.starts_with("update_mask") && message.contains(&format!("`{path}`")),
            "{message}"
        );
    }
    let given = proto::Channel {
        name: Some("kitchen".into()),
        ..proto::Channel::default()
    };
    assert_eq!(update(given.clone(), &[]).unwrap(), Changes::default());
    let changes = update(given, &["metadata"]).unwrap();
    assert_eq!((changes.name, changes.metadata), (Change::Keep, Change::Set(None)));
}

#[test]
fn each_wrong_end_of_a_connection_is_named_by_its_index() {
    let publish = proto::ConnectionType::Publish as i32;
    let field = |channels: &[&str], clients: &[&str], types: &[i32]| {
        let parsed = ends(ID, &texts(channels), &texts(clients), types);
        parsed.map_err(|fault| fault.fields[0].field.clone())
    };
    assert!(field(&[ID], &[ID], &[publish]).is_ok());
    assert_eq!(field(&[ID, "x"], &[ID], &[publish]), Err("channel_ids[1]".into()));
    assert_eq!(field(&[ID], &[ID, ID, ID, ""], &[publish]), Err("client_ids[3]".into()));
    assert_eq!(field(&[ID], &[ID], &[publish, 0]), Err("types[1]".into()));
    assert_eq!(field(&[], &[ID], &[publish]), Err("channel_ids".into()));
    let of_one = ends_of_one(ID, "x", &texts(&[ID]), &[publish]);
    assert_eq!(of_one.unwrap_err().fields[0].field, "id");
}

#[test]
fn a_question_about_what_can_be_no_channel_is_not_an_invalid_request() {
    let ask = |channel: &str| {
        let request = proto::AuthorizeRequest {
            client_id: ID.into(),
            domain_id: ID.into(),
            channel: channel.into(),
            r#type: proto::ConnectionType::Subscribe.into(),
        };
        question(&request).unwrap().map(|question| question.channel)
    };
    assert_eq!(ask(ID), Some(Ref::Id(ID.parse().unwrap())));
    assert_eq!(ask("kitchen"), Route::parse("kitchen").map(Ref::Route));
    assert_eq!(ask("9 lives"), None);
    assert_eq!(ask(""), None);
}

#[test]
fn connections_are_told_as_they_were_asked_for() {
    let (publish, subscribe) = (
        proto::ConnectionType::Publish as i32,
        proto::ConnectionType::Subscribe as i32,
    );
    let asked = ends_of_one(ID, ID, &texts(&[ID, ID]), &[subscribe, publish, publish]).unwrap();
    let body = connections(&asked, ID.parse().unwrap());
    let told = proto::ConnectClientsRequest::decode(body.as_slice()).unwrap();
    assert_eq!((told.domain_id.as_str(), told.id.as_str()), (ID, ID));
    assert_eq!((told.client_ids, told.types), (texts(&[ID]), vec![publish, subscribe]));
}

#[test]
fn a_list_has_defaults_and_names_what_is_wrong() {
    let asked = proto::ListChannelsRequest {
        domain_id: ID.into(),
        ..proto::ListChannelsRequest::default()
    };
    let parsed = list(&asked).unwrap();
    assert_eq!(
        (parsed.page, parsed.order, parsed.direction),
        (Page::default(), Order::UpdatedAt, Direction::Descending)
    );
    assert_eq!((parsed.name_folded, parsed.status), (None, Some(Status::Enabled)));
    for (field, request) in [
        (
            "limit",
            proto::ListChannelsRequest {
                limit: 101,
                ..asked.clone()
            },
        ),
        (
            "order",
            proto::ListChannelsRequest {
                order: 9,
                ..asked.clone()
            },
        ),
        (
            "dir",
            proto::ListChannelsRequest {
                dir: 9,
                ..asked.clone()
            },
        ),
        ("status", proto::ListChannelsRequest { status: 9, ..asked }),
    ] {
        assert_eq!(list(&request).unwrap_err().fields[0].field, field);
    }
}

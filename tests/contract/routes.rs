//! Routes, codes of success, updates and repetition, as clients of the original rely on them.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{Kind, MethodDescriptor};

use crate::options::{is_internal, methods, option, route, text};

/// The routes that the original has too, with the status of success that its SDK demands and whether a body comes with it
/// (magistrala.md 2.2 to 2.10, compat.md 1.2 to 1.6). Written by hand from there.
const ORIGINAL: [(&str, i32, bool); 35] = [
    ("POST /users", 201, true),
    ("GET /users/profile", 200, true),
    ("POST /users/{id}/enable", 200, true),
    ("POST /users/{id}/disable", 200, true),
    ("POST /users/tokens/issue", 201, true),
    ("POST /domains", 201, true),
    ("GET /domains/{domain_id}", 200, true),
    ("GET /domains", 200, true),
    ("POST /domains/{domain_id}/enable", 200, false),
    ("POST /domains/{domain_id}/disable", 200, false),
    ("POST /domains/{domain_id}/roles", 201, true),
    ("DELETE /domains/{domain_id}/roles/{role_id}", 204, false),
    ("POST /{domain_id}/clients/{client_id}/roles", 201, true),
    ("DELETE /{domain_id}/clients/{client_id}/roles/{role_id}", 204, false),
    ("POST /{domain_id}/channels/{channel_id}/roles", 201, true),
    ("DELETE /{domain_id}/channels/{channel_id}/roles/{role_id}", 204, false),
    ("POST /{domain_id}/clients", 201, true),
    ("GET /{domain_id}/clients/{id}", 200, true),
    ("GET /{domain_id}/clients", 200, true),
    ("PATCH /{domain_id}/clients/{id}", 200, true),
    ("POST /{domain_id}/clients/{id}/enable", 200, true),
    ("POST /{domain_id}/clients/{id}/disable", 200, true),
    ("DELETE /{domain_id}/clients/{id}", 204, false),
    ("POST /{domain_id}/channels", 201, true),
    ("GET /{domain_id}/channels/{id}", 200, true),
    ("GET /{domain_id}/channels", 200, true),
    ("PATCH /{domain_id}/channels/{id}", 200, true),
    ("POST /{domain_id}/channels/{id}/enable", 200, true),
    ("POST /{domain_id}/channels/{id}/disable", 200, true),
    ("DELETE /{domain_id}/channels/{id}", 204, false),
    ("POST /{domain_id}/channels/connect", 201, false),
    ("POST /{domain_id}/channels/disconnect", 204, false),
    ("POST /{domain_id}/channels/{id}/connect", 201, false),
    ("POST /{domain_id}/channels/{id}/disconnect", 204, false),
    ("GET /{domain_id}/channels/{channel_id}/messages", 200, true),
];

#[test]
fn every_method_has_one_route_unless_it_is_internal() {
    let mut routes = BTreeSet::new();
    for method in methods() {
        let name = method.full_name();
        let http = option(&method, "google.api.http");
        assert_eq!(http.is_none(), is_internal(&method), "{name}");
        let Some(http) = http else { continue };
        let others = http.get_field_by_name("additional_bindings");
        assert!(
            others.is_none_or(|others| others.as_list().is_some_and(<[_]>::is_empty)),
            "{name} has two routes"
        );
        let route = route(&method).unwrap();
        assert!(routes.insert(route.clone()), "{route} is the route of two methods");
    }
}

#[test]
fn every_route_succeeds_with_the_code_that_clients_of_the_original_demand() {
    let declared = methods().into_iter().filter_map(|method| {
        let success = option(&method, "trunkline.http.v1.success");
        let number = |field: &str| success.as_ref()?.get_field_by_name(field)?.as_i32();
        let is_empty = success
            .as_ref()
            .is_some_and(|of| of.get_field_by_name("empty").unwrap().as_bool().unwrap());
        let code = number("code").filter(|code| *code != 0).unwrap_or(200);
        Some((route(&method)?, (code, !is_empty)))
    });
    let demanded = ORIGINAL.map(|(route, code, has_body)| (route.to_owned(), (code, has_body)));
    assert_eq!(declared.collect::<BTreeMap<_, _>>(), BTreeMap::from(demanded));
}

#[test]
fn what_reads_may_be_repeated_and_what_writes_does_not_pretend_to_read() {
    const NO_SIDE_EFFECTS: i32 = 1;
    const IDEMPOTENT: i32 = 2;
    for method in methods() {
        let level = method
            .method_descriptor_proto()
            .options
            .as_ref()
            .and_then(|options| options.idempotency_level);
        let name = method.full_name();
        match route(&method) {
            Some(route) if route.starts_with("GET ") => assert_eq!(level, Some(NO_SIDE_EFFECTS), "{name}"),
            Some(_) => assert_ne!(level, Some(NO_SIDE_EFFECTS), "{name}"),
            None => assert!(matches!(level, Some(NO_SIDE_EFFECTS | IDEMPOTENT)), "{name}"),
        }
    }
}

/// Methods that change some fields of a resource, and those fields (magistrala.md 2.5 and 2.6).
const UPDATES: [(&str, &[&str]); 2] = [
    ("UpdateClient", &["name", "metadata", "private_metadata"]),
    ("UpdateChannel", &["name", "metadata"]),
];

#[test]
fn an_update_names_a_mask_and_fields_of_its_body() {
    let updates = methods()
        .into_iter()
        .filter(|method| route(method).is_some_and(|route| route.starts_with("PATCH ")));
    let declared: BTreeMap<String, Vec<String>> = updates
        .map(|method| (method.name().to_owned(), fields_of(&method)))
        .collect();
    let demanded = UPDATES.map(|(name, fields)| (name.to_owned(), fields.iter().map(ToString::to_string).collect()));
    assert_eq!(declared, BTreeMap::from(demanded));
}

/// The fields that an update declares, all of which its body has.
fn fields_of(method: &MethodDescriptor) -> Vec<String> {
    let name = method.full_name();
    let update = option(method, "trunkline.http.v1.update").unwrap_or_else(|| panic!("{name} declares no update"));
    let mask = method.input().get_field_by_name(&text(&update, "mask"));
    let mask = mask.unwrap_or_else(|| panic!("{name} has no field for its mask"));
    assert_eq!(
        mask.kind().as_message().map(|kind| kind.full_name()),
        Some("google.protobuf.FieldMask"),
        "{name}"
    );
    let body = text(&option(method, "google.api.http").unwrap(), "body");
    let Some(Kind::Message(resource)) = method.input().get_field_by_name(&body).map(|field| field.kind()) else {
        panic!("the body of {name} is no message");
    };
    let fields = update.get_field_by_name("fields").unwrap();
    let fields: Vec<String> = fields
        .as_list()
        .unwrap()
        .iter()
        .filter_map(|field| field.as_str().map(str::to_owned))
        .collect();
    for field in &fields {
        assert!(
            resource.get_field_by_name(field).is_some(),
            "{name} changes {field}, which its body lacks"
        );
    }
    fields
}

//! What the route table promises, on tables of its own.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const DOMAIN: &str = "0193a0f0-0000-7000-8000-000000000001";

fn table(routes: &[(&str, &str)]) -> Table {
    let mut table = Table::default();
    for (index, (verb, template)) in routes.iter().enumerate() {
        table
            .add(&verb.parse().unwrap(), &Template::parse(template).unwrap(), index)
            .unwrap();
    }
    table
}

fn route(table: &Table, verb: &str, path: &str) -> Option<(usize, Vec<String>)> {
    match table.find(&verb.parse().unwrap(), path) {
        Match::Route(route, captures) => Some((route, captures.into_iter().map(Cow::into_owned).collect())),
        Match::OtherMethods(_) | Match::Nothing => None,
    }
}

#[test]
fn a_literal_wins_over_a_variable_from_the_left() {
    let table = table(&[
        ("GET", "/users/{id}"),
        ("GET", "/users/profile"),
        ("GET", "/{domain_id}/clients"),
        ("POST", "/users/{id}/enable"),
    ]);
    assert_eq!(route(&table, "GET", "/users/profile"), Some((1, vec![])));
    assert_eq!(
        route(&table, "GET", "/users/profiles"),
        Some((0, vec!["profiles".to_owned()]))
    );
    assert_eq!(
        route(&table, "POST", "/users/profile/enable"),
        Some((3, vec!["profile".to_owned()]))
    );
    assert_eq!(
        route(&table, "GET", "/users/clients"),
        Some((0, vec!["clients".to_owned()]))
    );
}

#[test]
fn a_domain_id_is_a_uuid_or_the_path_does_not_exist() {
    let table = table(&[("GET", "/{domain_id}/clients")]);
    assert_eq!(
        route(&table, "GET", &format!("/{DOMAIN}/clients")),
        Some((0, vec![DOMAIN.to_owned()]))
    );
    for other in [
        "factory",
        "0193a0f0000070008000000000000001",
        "{0193a0f0-0000-7000-8000-000000000001}",
        "",
    ] {
        assert_eq!(
            table.find(&Method::GET, &format!("/{other}/clients")),
            Match::Nothing,
            "{other}"
        );
    }
}

#[test]
fn slashes_before_the_path_are_one_and_empty_segments_match_nothing() {
    let table = table(&[
        ("GET", "/users"),
        ("DELETE", "/users/{id}"),
        ("DELETE", "/users/{id}/tags"),
    ]);
    assert_eq!(route(&table, "GET", "//users"), Some((0, vec![])));
    for path in ["/users/", "/users//tags", "/", ""] {
        assert_eq!(table.find(&Method::DELETE, path), Match::Nothing, "{path}");
    }
}

#[test]
fn a_known_path_tells_its_methods() {
    let table = table(&[("GET", "/users/{id}"), ("PATCH", "/users/{id}")]);
    assert_eq!(
        table.find(&Method::PUT, "/users/7"),
        Match::OtherMethods("GET, HEAD, OPTIONS, PATCH".to_owned())
    );
    assert_eq!(route(&table, "HEAD", "/users/7"), Some((0, vec!["7".to_owned()])));
}

#[test]
fn captures_are_decoded_after_the_path_is_split() {
    let table = table(&[("GET", "/users/{id}")]);
    assert_eq!(
        route(&table, "GET", "/users/a%2Fb+c"),
        Some((0, vec!["a/b+c".to_owned()]))
    );
    assert_eq!(table.find(&Method::GET, "/users/%ff"), Match::Nothing);
}

#[test]
fn equal_templates_and_equal_shapes_are_refused() {
    let mut table = table(&[("GET", "/users/{id}")]);
    let add =
        |table: &mut Table, verb: Method, template: &str| table.add(&verb, &Template::parse(template).unwrap(), 9);
    assert_eq!(
        add(&mut table, Method::GET, "/users/{id}"),
        Err("GET /users/{id} is declared twice".to_owned())
    );
    assert!(add(&mut table, Method::PUT, "/users/{user_id}").is_err());
    assert_eq!(add(&mut table, Method::PUT, "/users/{id}"), Ok(()));
}

#[test]
fn templates_are_words_and_variables() {
    for wrong in [
        "users",
        "/users/",
        "/users/{id",
        "/users/{}",
        "/a b",
        "/{id}/x/{id}",
        "/**",
        "/users/{id=*}",
    ] {
        assert!(Template::parse(wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        Template::parse("/{domain_id}/clients/{id}").unwrap().to_string(),
        "/{domain_id}/clients/{id}"
    );
}

proptest! {
    #[test]
    fn any_path_is_looked_up_without_a_panic(path in ".{0,200}") {
        let table = table(&[("GET", "/{domain_id}/clients/{id}"), ("GET", "/users/{id}"), ("GET", "/users/{id}/{name}/x")]);
        let _ = table.find(&Method::GET, &path);
    }

    #[test]
    fn what_fills_a_variable_comes_back(id in "[a-z0-9-]{1,40}") {
        let table = table(&[("GET", "/users/{id}/tags")]);
        prop_assert_eq!(route(&table, "GET", &format!("/users/{id}/tags")), Some((0, vec![id])));
    }
}

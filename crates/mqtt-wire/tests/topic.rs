//! Topic names and filters.

use trunkline_mqtt_wire::TopicError;
use trunkline_mqtt_wire::topic::{levels, matches, shared, valid_filter, valid_name};

#[test]
fn filters_match_as_the_standard_says() {
    for (filter, name) in [
        ("sport/tennis/player1/#", "sport/tennis/player1"),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
        ("sport/#", "sport"),
        ("#", "a/b"),
        ("#", "/"),
        ("sport/tennis/+", "sport/tennis/player1"),
        ("sport/+", "sport/"),
        ("+/+", "/finance"),
        ("/+", "/finance"),
        ("+", "finance"),
        ("+/#", "a"),
        ("$SYS/#", "$SYS/uptime"),
        ("$SYS/+", "$SYS/uptime"),
        ("a//b", "a//b"),
        ("a/+/b", "a//b"),
    ] {
        assert!(matches(filter, name), "{filter} {name}");
    }
}

#[test]
fn filters_match_nothing_else() {
    for (filter, name) in [
        ("sport/tennis/+", "sport/tennis/player1/ranking"),
        ("sport/+", "sport"),
        ("+", "/finance"),
        ("#", "$SYS/uptime"),
        ("+/uptime", "$SYS/uptime"),
        ("+", "$SYS"),
        ("a", "A"),
        ("a", "a/"),
        ("a/", "a"),
        ("a/b", "a"),
        ("/a", "a"),
        ("sport/#", "sports"),
    ] {
        assert!(!matches(filter, name), "{filter} {name}");
    }
}

#[test]
fn wildcards_fill_whole_levels() {
    for filter in ["#", "+", "a/#", "+/a/+/#", "/", "//", "/#", "+/", "a b", "$share/x"] {
        assert_eq!(valid_filter(filter), Ok(()), "{filter}");
    }
    for filter in ["a#", "#/a", "a/#/b", "a/b#", "##"] {
        assert_eq!(valid_filter(filter), Err(TopicError::MultiLevelWildcard), "{filter}");
    }
    for filter in ["a+", "+a", "a/+b/c", "++"] {
        assert_eq!(valid_filter(filter), Err(TopicError::SingleLevelWildcard), "{filter}");
    }
    assert_eq!(valid_filter(""), Err(TopicError::Empty));
    assert_eq!(valid_filter("a\0"), Err(TopicError::Nul));
}

#[test]
fn names_have_no_wildcards() {
    assert_eq!(valid_name("a/b//c $"), Ok(()));
    assert_eq!(valid_name("größe"), Ok(()));
    assert_eq!(valid_name("a/+"), Err(TopicError::Wildcard));
    assert_eq!(valid_name("a/b#"), Err(TopicError::Wildcard));
    assert_eq!(valid_name(""), Err(TopicError::Empty));
    assert_eq!(valid_name("\0"), Err(TopicError::Nul));
    assert_eq!(valid_name(&"a".repeat(65_535)), Ok(()));
    assert_eq!(valid_name(&"a".repeat(65_536)), Err(TopicError::TooLong));
}

#[test]
fn a_shared_subscription_has_a_group_and_a_filter() {
    assert_eq!(shared("a/b"), Ok(None));
    assert_eq!(shared("$shared/a/b"), Ok(None));
    assert_eq!(shared("$share/group/a/+"), Ok(Some(("group", "a/+"))));
    assert_eq!(shared("$share/group//"), Ok(Some(("group", "/"))));
    for filter in [
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
        "$share/g#/a",
    ] {
        assert_eq!(shared(filter), Err(TopicError::Shared), "{filter}");
    }
    assert_eq!(shared("$share/g/a#"), Err(TopicError::MultiLevelWildcard));
}

#[test]
fn levels_are_counted() {
    assert_eq!(levels("a"), 1);
    assert_eq!(levels("/"), 2);
    assert_eq!(levels("a//b"), 3);
}

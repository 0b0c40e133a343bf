//! Topic aliases, both ways.

use super::*;
use crate::limits::TOPIC_ALIASES_MAX;

fn aliased(topic: &str, alias: u16) -> Packet {
    Packet::Publish(Publish {
        topic: text(topic),
        properties: Some(Box::new(PublishProperties {
            topic_alias: NonZeroU16::new(alias),
            ..PublishProperties::default()
        })),
        ..message()
    })
}

/// A machine whose client takes this many aliases.
fn taking(maximum: u16) -> Bench {
    let mut connect = connect();
    connect.properties.topic_alias_maximum = Some(maximum);
    Bench::open_with(Version::V5, connect)
}

/// The topic and the alias that a message on `topic` is sent with.
fn sent(bench: &mut Bench, topic: &str) -> (String, Option<u16>) {
    assert_eq!(bench.offer(Offer { topic, ..offer() }), Delivered::Sent);
    let Some(Packet::Publish(publish)) = bench.received() else {
        panic!("expected PUBLISH");
    };
    let alias = publish.properties.and_then(|properties| properties.topic_alias);
    (publish.topic.to_string(), alias.map(NonZeroU16::get))
}

#[test]
fn an_alias_stands_for_the_last_topic_that_it_came_with() {
    let mut bench = Bench::open(Version::V5);
    for (said, meant) in [("a", "a"), ("", "a"), ("b", "b"), ("", "b")] {
        let Step::Publish(publish) = bench.send(&aliased(said, TOPIC_ALIASES_MAX)) else {
            panic!("expected a publish");
        };
        assert_eq!(publish.topic, meant);
    }
}

#[test]
fn an_alias_above_the_maximum_or_without_a_topic_ends_the_connection() {
    for (packet, reason) in [
        (aliased("a", TOPIC_ALIASES_MAX + 1), ReasonCode::TopicAliasInvalid),
        (aliased("", 1), ReasonCode::ProtocolError),
    ] {
        let mut bench = Bench::open(Version::V5);
        bench.send(&aliased("a", 2));
        assert!(matches!(bench.send(&packet), Step::Close(_)));
        assert_eq!(bench.goodbye(), Some(reason));
    }
}

#[test]
fn a_topic_is_said_once_to_a_client_that_takes_aliases() {
    let mut bench = taking(2);
    assert_eq!(sent(&mut bench, "a"), ("a".to_owned(), Some(1)));
    assert_eq!(sent(&mut bench, "a"), (String::new(), Some(1)));
    assert_eq!(sent(&mut bench, "b"), ("b".to_owned(), Some(2)));
    assert_eq!(sent(&mut bench, "a"), (String::new(), Some(1)));
    // The one that was not used for longest is given anew.
    assert_eq!(sent(&mut bench, "c"), ("c".to_owned(), Some(2)));
    assert_eq!(sent(&mut bench, "a"), (String::new(), Some(1)));
    assert_eq!(sent(&mut bench, "b"), ("b".to_owned(), Some(2)));
}

#[test]
fn no_more_aliases_are_given_than_the_client_and_the_limit_allow() {
    assert_eq!(sent(&mut taking(0), "a"), ("a".to_owned(), None));
    let mut bench = taking(u16::MAX);
    for number in 0..=TOPIC_ALIASES_MAX {
        let (_, alias) = sent(&mut bench, &number.to_string());
        assert!(alias.is_some_and(|alias| alias <= TOPIC_ALIASES_MAX));
    }
}

#[test]
fn a_message_that_fits_without_an_alias_is_sent_without_one() {
    let mut connect = connect();
    connect.properties.topic_alias_maximum = Some(2);
    // Header, topic, no properties, payload: 2 + 9 + 1 + 4 bytes.
    connect.properties.maximum_packet_bytes = NonZeroU32::new(16);
    let mut bench = Bench::open_with_small(connect);
    assert_eq!(sent(&mut bench, "m/d/c/c"), ("m/d/c/c".to_owned(), None));
    assert_eq!(sent(&mut bench, "m"), ("m".to_owned(), Some(1)));
    assert_eq!(sent(&mut bench, "m"), (String::new(), Some(1)));
}

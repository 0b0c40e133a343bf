//! Subjects: how a backend addresses a message, by ids only. The encoding is injective and can be read back.
//!
//! `m.<domain>.c.<channel>[.<level>…]`; within a level `%`, `.`, `*`, `>` and every blank become `%` and two hexadecimal digits
//! per byte. `a.b` and `a/b` are therefore different subjects.

use std::fmt::Write as _;

use trunkline_core::{ChannelId, DomainId};

use super::{Filter, Subtopic, levels};

/// The subject under which everything of `domain` stands: no domain's is a prefix of another's.
pub fn domain_prefix(domain: DomainId) -> String {
    format!("m.{domain}.")
}

/// The subject of messages to `subtopic` (a valid one, as in an envelope) of a channel.
pub fn encode(domain: DomainId, channel: ChannelId, subtopic: &str) -> String {
    let mut subject = format!("m.{domain}.c.{channel}");
    for level in levels(subtopic) {
        subject.push('.');
        escape(level, &mut subject);
    }
    subject
}

/// The subjects that `filter` asks for once its routes are resolved: `+` becomes `*` and `#` becomes `>`. A filter that
/// ends in `#` needs a second subject for the level above.
pub fn encode_filter(domain: DomainId, channel: ChannelId, filter: &Filter) -> Vec<String> {
    let mut subject = format!("m.{domain}.c.{channel}");
    for level in filter.pattern_levels() {
        match level {
            "#" => {
                let below = format!("{subject}.>");
                return vec![subject, below];
            }
            "+" => subject.push_str(".*"),
            level => {
                subject.push('.');
                escape(level, &mut subject);
            }
        }
    }
    vec![subject]
}

/// Reads a subject back; `None` when [`encode`] cannot have written it.
pub fn decode(subject: &str) -> Option<(DomainId, ChannelId, Subtopic)> {
    let mut tokens = subject.split('.');
    let is_message = tokens.next() == Some("m");
    let domain = tokens.next()?.parse().ok()?;
    let is_channel = tokens.next() == Some("c");
    let channel = tokens.next()?.parse().ok()?;
    let levels = tokens.map(unescape).collect::<Option<Vec<_>>>()?;
    let subtopic = Subtopic::parse(&levels.join("/")).ok()?;
    let is_exact = is_message && is_channel && encode(domain, channel, &subtopic) == subject;
    is_exact.then_some((domain, channel, subtopic))
}

fn escape(level: &str, subject: &mut String) {
    for character in level.chars() {
        if matches!(character, '%' | '.' | '*' | '>') || character.is_whitespace() || character.is_control() {
            let mut buffer = [0; 4];
            for byte in character.encode_utf8(&mut buffer).bytes() {
                write!(subject, "%{byte:02X}").expect("writing to a string cannot fail");
            }
        } else {
            subject.push(character);
        }
    }
}

fn unescape(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::super::Topic;
    use super::*;

    fn subtopics() -> impl Strategy<Value = Subtopic> {
        let level = "[a-c.*>% $é\u{a0}\u{3000}]{1,4}|\\PC{1,6}";
        prop::collection::vec(level, 0..5).prop_filter_map("not a subtopic", |levels| {
            let text = levels
                .iter()
                .map(|level| level.replace('/', ""))
                .collect::<Vec<_>>()
                .join("/");
            Subtopic::parse(&text).ok()
        })
    }

    fn ids() -> impl Strategy<Value = (DomainId, ChannelId)> {
        // Few different ids, so that pairs often differ in the subtopic alone.
        (0_u128..3, 0_u128..3).prop_map(|(domain, channel)| {
            (
                DomainId::from_uuid(Uuid::from_u128(domain)),
                ChannelId::from_uuid(Uuid::from_u128(channel)),
            )
        })
    }

    #[test]
    fn a_dot_and_a_slash_are_different_subjects() {
        let (domain, channel) = (DomainId::new(), ChannelId::new());
        let [dot, slash] = ["a.b", "a/b"].map(|subtopic| encode(domain, channel, subtopic));
        assert_eq!(dot, format!("m.{domain}.c.{channel}.a%2Eb"));
        assert_eq!(slash, format!("m.{domain}.c.{channel}.a.b"));
    }

    #[test]
    fn a_filter_with_a_hash_asks_for_the_level_above_too() {
        let (domain, channel) = (DomainId::new(), ChannelId::new());
        let filter = Filter::parse("m/home/c/kitchen/a.b/+/#").unwrap();
        let above = format!("m.{domain}.c.{channel}.a%2Eb.*");
        assert_eq!(
            encode_filter(domain, channel, &filter),
            [above.clone(), format!("{above}.>")]
        );
    }

    proptest! {
        #[test]
        fn a_subject_reads_back((domain, channel) in ids(), subtopic in subtopics()) {
            let subject = encode(domain, channel, &subtopic);
            prop_assert_eq!(decode(&subject), Some((domain, channel, subtopic)));
        }

        #[test]
        fn different_places_have_different_subjects(
            (one_domain, one_channel) in ids(), one in subtopics(),
            (other_domain, other_channel) in ids(), other in subtopics(),
        ) {
            let is_same = (one_domain, one_channel, &one) == (other_domain, other_channel, &other);
            let is_same_subject = encode(one_domain, one_channel, &one) == encode(other_domain, other_channel, &other);
            prop_assert_eq!(is_same, is_same_subject);
        }

        #[test]
        fn no_token_holds_what_a_backend_reads_as_syntax((domain, channel) in ids(), subtopic in subtopics()) {
            let subject = encode(domain, channel, &subtopic);
            prop_assert_eq!(subject.split('.').count(), 4 + subtopic.levels().count());
            for token in subject.split('.') {
                let is_clean = |character: char| {
                    !matches!(character, '*' | '>') && !character.is_whitespace() && !character.is_control()
                };
                prop_assert!(!token.is_empty() && token.chars().all(is_clean), "{:?}", token);
            }
        }

        #[test]
        fn the_prefixes_of_two_domains_never_overlap(
            (domain, channel) in ids(), (other, _) in ids(), subtopic in subtopics(),
        ) {
            let is_inside = encode(domain, channel, &subtopic).starts_with(&domain_prefix(other));
            prop_assert_eq!(is_inside, domain == other);
        }

        #[test]
        fn a_parsed_topic_survives_its_subject(subtopic in subtopics()) {
            let slash = if subtopic.is_empty() { "" } else { "/" };
            let topic = Topic::parse(&format!("m/home/c/kitchen{slash}{subtopic}")).unwrap();
            prop_assert_eq!(topic.subtopic, subtopic);
        }
    }
}

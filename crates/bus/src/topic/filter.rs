//! Filters: what a subscriber asks for. The domain and the channel are named; `+` and `#` stand in the subtopic only.

use std::fmt;

use trunkline_core::{ChannelId, DomainId};

use super::{Ref, TopicError, levels, name, split};

/// A subscription's filter, which remembers how it was spelt: messages are delivered under that spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    domain: Ref<DomainId>,
    channel: Ref<ChannelId>,
    text: Box<str>,
    /// Bytes of `text` up to and including the channel.
    prefix_bytes: usize,
}

impl Filter {
    /// Parses a subscription's filter.
    ///
    /// # Errors
    /// What is wrong with it; [`TopicError::SharedSubscription`] for `$share/…`.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        let (domain, channel, pattern) = split(text)?;
        for level in [domain, channel] {
            if let Some(wildcard) = wildcard_in(level) {
                return Err(TopicError::WildcardAboveSubtopic(wildcard));
            }
        }
        check_pattern(pattern)?;
        let below = if pattern.is_empty() { 0 } else { pattern.len() + 1 };
        Ok(Self {
            domain: name::domain(domain)?,
            channel: name::channel(channel)?,
            prefix_bytes: text.len() - below,
            text: text.into(),
        })
    }

    /// The domain as the filter names it.
    pub const fn domain(&self) -> Ref<DomainId> {
        self.domain
    }

    /// The channel as the filter names it.
    pub const fn channel(&self) -> Ref<ChannelId> {
        self.channel
    }

    /// The filter as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands below the channel, wildcards included; empty for none.
    pub fn pattern(&self) -> &str {
        self.text.get(self.prefix_bytes + 1..).unwrap_or_default()
    }

    /// The levels of the pattern; none when it is empty.
    pub fn pattern_levels(&self) -> impl Iterator<Item = &str> {
        levels(self.pattern())
    }

    /// Whether a message to `subtopic` of the filter's channel is asked for. `a/#` asks for `a` too.
    pub fn matches(&self, subtopic: &str) -> bool {
        let mut asked = levels(self.pattern());
        let mut given = levels(subtopic);
        loop {
            match (asked.next(), given.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(level), Some(other)) if level == other => {}
                _ => return false,
            }
        }
    }

    /// The topic under which a message to `subtopic` is delivered: in the spelling of this filter.
    pub fn spell(&self, subtopic: &str) -> String {
        let prefix = &self.text[..self.prefix_bytes];
        if subtopic.is_empty() {
            return prefix.to_owned();
        }
        let mut topic = String::with_capacity(prefix.len() + 1 + subtopic.len());
        topic.push_str(prefix);
        topic.push('/');
        topic.push_str(subtopic);
        topic
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn wildcard_in(level: &str) -> Option<char> {
    level.chars().find(|character| matches!(character, '+' | '#'))
}

fn check_pattern(pattern: &str) -> Result<(), TopicError> {
    let mut is_over = false;
    for level in levels(pattern) {
        if is_over {
            return Err(TopicError::LevelsAfterHash);
        }
        match level {
            "#" => is_over = true,
            "+" => {}
            level => {
                if let Some(wildcard) = wildcard_in(level) {
                    return Err(TopicError::WildcardInLevel(wildcard));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(pattern: &str) -> Filter {
        Filter::parse(&format!("m/home/c/kitchen{pattern}")).unwrap()
    }

    #[test]
    fn a_filter_matches_as_the_table_says() {
        let table: [(&str, &[&str], &[&str]); 7] = [
            ("", &[""], &["a"]),
            ("/#", &["", "a", "a/b"], &[]),
            ("/+", &["a", "$a"], &["", "a/b"]),
            ("/a/#", &["a", "a/b", "a/b/c"], &["", "b", "ab"]),
            ("/a/+/c", &["a/b/c"], &["a/c", "a/b/c/d", "a/b"]),
            ("/+/+", &["a/b"], &["a", "a/b/c"]),
            ("/a.b", &["a.b"], &["a/b", "a"]),
        ];
        for (pattern, hits, misses) in table {
            for subtopic in hits {
                assert!(filter(pattern).matches(subtopic), "{pattern} should match {subtopic}");
            }
            for subtopic in misses {
                assert!(
                    !filter(pattern).matches(subtopic),
                    "{pattern} should not match {subtopic}"
                );
            }
        }
    }

    #[test]
    fn a_message_is_delivered_under_the_spelling_of_the_filter() {
        let id = "0192F0C1-7B1E-7C3A-9A55-0123456789AB";
        let filter = Filter::parse(&format!("/m/{id}/c/kitchen/+/x")).unwrap();
        assert_eq!(filter.spell("a/x"), format!("/m/{id}/c/kitchen/a/x"));
        assert_eq!(filter.spell(""), format!("/m/{id}/c/kitchen"));
        assert_eq!(filter.pattern(), "+/x");
    }

    #[test]
    fn wildcards_stand_alone_and_in_the_subtopic_only() {
        let cases = [
            ("m/+/c/kitchen", TopicError::WildcardAboveSubtopic('+')),
            ("m/home/c/#", TopicError::WildcardAboveSubtopic('#')),
            ("m/home/c/kitchen/a+", TopicError::WildcardInLevel('+')),
            ("m/home/c/kitchen/#b", TopicError::WildcardInLevel('#')),
            ("m/home/c/kitchen/#/b", TopicError::LevelsAfterHash),
            ("#", TopicError::Scheme),
            ("m/#", TopicError::NoChannel),
            ("$share/group/m/home/c/kitchen", TopicError::SharedSubscription),
        ];
        for (text, error) in cases {
            assert_eq!(Filter::parse(text), Err(error), "{text}");
        }
    }

    /// The rule of MQTT 5 section 4.7, written as plainly as it can be.
    fn naive(pattern: &[String], subtopic: &[String]) -> bool {
        match (pattern.split_first(), subtopic.split_first()) {
            (Some((level, _)), _) if level == "#" => true,
            (None, None) => true,
            (Some((level, pattern)), Some((given, subtopic))) => {
                (level == "+" || level == given) && naive(pattern, subtopic)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_rule_written_plainly(
            mut pattern in prop::collection::vec("[ab+]", 0..5),
            subtopic in prop::collection::vec("[ab]", 0..5),
            ends_open in any::<bool>(),
        ) {
            if ends_open {
                pattern.push("#".to_owned());
            }
            let text: String = pattern.iter().map(|level| format!("/{level}")).collect();
            prop_assert_eq!(filter(&text).matches(&subtopic.join("/")), naive(&pattern, &subtopic));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}|[m/c+#$a-c0]{0,30}") {
            let _ = Filter::parse(&text);
            let _ = super::super::Topic::parse(&text);
        }
    }
}

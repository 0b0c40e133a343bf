//! Topics: the one parser for every protocol. `m/<domain>/c/<channel>[/<subtopic>…]`, ids or routes.
//!
//! A topic is where a message goes; a [`Filter`] is what a subscriber asks for; a [`subject`] is how backends address it,
//! by ids only. Resolving routes to ids is the gate's business.

mod filter;
mod name;
pub mod subject;

use std::fmt;
use std::ops::Deref;

use trunkline_core::{ChannelId, DomainId};

pub use filter::Filter;
pub use name::{ROUTE_BYTES_MAX, Ref, Route};

/// Longest topic or filter, in bytes.
pub const TOPIC_BYTES_MAX: usize = 1_024;
/// Most levels of a topic or filter, `m`, domain, `c` and channel included.
pub const TOPIC_LEVELS_MAX: usize = 32;

const SHARE_PREFIX: &str = "$share/";

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// The domain, by id or route.
    pub domain: Ref<DomainId>,
    /// The channel within it, by id or route.
    pub channel: Ref<ChannelId>,
    /// What stands below the channel.
    pub subtopic: Subtopic,
}

/// The levels below a channel, joined by `/`, without a leading slash; empty when there are none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Subtopic(String);

/// Why a text is not a topic or a filter: what is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Nothing there.
    #[error("the topic is empty; write `m/<domain>/c/<channel>`")]
    Empty,
    /// Over [`TOPIC_BYTES_MAX`].
    #[error("the topic has {bytes} bytes and may have {TOPIC_BYTES_MAX}")]
    TooLong {
        /// Bytes of the topic.
        bytes: usize,
    },
    /// Over [`TOPIC_LEVELS_MAX`].
    #[error("the topic has more than {TOPIC_LEVELS_MAX} levels")]
    TooDeep,
    /// It starts with `$share/`.
    #[error("`$share/<group>/` stands in front of the filter of an MQTT subscription only")]
    SharedSubscription,
    /// It starts with `$`.
    #[error("topics that start with `$` are reserved; write `m/<domain>/c/<channel>`")]
    Reserved,
    /// It holds the character NUL.
    #[error("the topic holds the character NUL; leave it out")]
    Nul,
    /// It holds a control character.
    #[error("the topic holds the control character U+{:04X}; leave it out", u32::from(*.0))]
    Control(char),
    /// It holds one of Unicode's noncharacters.
    #[error("the topic holds U+{:04X}, which is not a character; leave it out", u32::from(*.0))]
    Noncharacter(char),
    /// It is not text.
    #[error("the topic is not UTF-8")]
    NotUtf8,
    /// The first level is not `m`.
    #[error("the topic does not start with `m/`; write `m/<domain>/c/<channel>`")]
    Scheme,
    /// The third level is not `c`, or levels are missing.
    #[error("the topic names no channel; write `m/<domain>/c/<channel>`")]
    NoChannel,
    /// A level of no length.
    #[error("level {0} of the topic is empty; give it a name or leave out its slash")]
    EmptyLevel(usize),
    /// A wildcard in a topic that is published to.
    #[error("the topic holds the wildcard `{0}`; wildcards are for subscriptions only")]
    Wildcard(char),
    /// A wildcard in the place of the domain or channel.
    #[error("the filter holds the wildcard `{0}` above the subtopic; name the domain and the channel")]
    WildcardAboveSubtopic(char),
    /// A wildcard that is not a whole level.
    #[error("the filter holds `{0}` inside a level; a wildcard stands alone between slashes")]
    WildcardInLevel(char),
    /// A `#` that is not the last level.
    #[error("the filter goes on after `#`; `#` is the last level")]
    LevelsAfterHash,
    /// A domain or channel that is neither an id nor a route.
    #[error(
        "`{text}` is neither the id nor the route of a {what}; a route is a letter and up to 35 letters, digits, `_` or `-`, \
         without `__` or `--`"
    )]
    Name {
        /// `domain` or `channel`.
        what: &'static str,
        /// The level, cut after 64 characters.
        text: String,
    },
}

impl Topic {
    /// Parses a topic that is published to.
    ///
    /// # Errors
    /// What is wrong with it; see [`TopicError`].
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        let (domain, channel, subtopic) = split(text)?;
        if let Some(wildcard) = text.chars().find(|character| matches!(character, '+' | '#')) {
            return Err(TopicError::Wildcard(wildcard));
        }
        Ok(Self {
            domain: name::domain(domain)?,
            channel: name::channel(channel)?,
            subtopic: Subtopic(subtopic.to_owned()),
        })
    }

    /// Parses bytes as they come from the wire.
    ///
    /// # Errors
    /// [`TopicError::NotUtf8`], and as [`Topic::parse`].
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, TopicError> {
        Self::parse(std::str::from_utf8(bytes).map_err(|_| TopicError::NotUtf8)?)
    }
}

impl Subtopic {
    /// Parses what stands below a channel, as a reader's filter gives it; empty for none.
    ///
    /// # Errors
    /// As [`Topic::parse`], but for the levels above.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        if !text.is_empty() {
            check_levels(text, TOPIC_LEVELS_MAX - 4)?;
        }
        match text.chars().find(|character| matches!(character, '+' | '#')) {
            Some(wildcard) => Err(TopicError::Wildcard(wildcard)),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The text, as envelopes carry it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, without a copy.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Its levels; none when it is empty.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        levels(&self.0)
    }
}

impl Deref for Subtopic {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subtopic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The levels of a subtopic's text; none when it is empty.
fn levels(subtopic: &str) -> impl Iterator<Item = &str> {
    subtopic.split('/').filter(|level| !level.is_empty())
}

/// Checks what topics and filters have in common and gives domain, channel and all below it.
fn split(text: &str) -> Result<(&str, &str, &str), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    check_text(text)?;
    if text.starts_with(SHARE_PREFIX) {
        return Err(TopicError::SharedSubscription);
    }
    let path = text.strip_prefix('/').unwrap_or(text);
    if path.starts_with('$') {
        return Err(TopicError::Reserved);
    }
    check_levels(path, TOPIC_LEVELS_MAX)?;
    let rest = path.strip_prefix("m/").ok_or(match path {
        "m" => TopicError::NoChannel,
        _ => TopicError::Scheme,
    })?;
    let (domain, rest) = rest.split_once('/').ok_or(TopicError::NoChannel)?;
    let rest = rest.strip_prefix("c/").ok_or(TopicError::NoChannel)?;
    let (channel, subtopic) = rest.split_once('/').unwrap_or((rest, ""));
    Ok((domain, channel, subtopic))
}

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong { bytes: text.len() });
    }
    // Most topics are plain ASCII: one pass over bytes settles those.
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return Ok(());
    }
    match text
        .chars()
        .find(|character| character.is_control() || is_noncharacter(*character))
    {
        None => Ok(()),
        Some('\0') => Err(TopicError::Nul),
        Some(character) if character.is_control() => Err(TopicError::Control(character)),
        Some(character) => Err(TopicError::Noncharacter(character)),
    }
}

fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

fn check_levels(path: &str, levels_max: usize) -> Result<(), TopicError> {
    for (index, level) in path.split('/').enumerate() {
        if index >= levels_max {
            return Err(TopicError::TooDeep);
        }
        if level.is_empty() {
            return Err(TopicError::EmptyLevel(index + 1));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "0192f0c1-7b1e-7c3a-9a55-0123456789ab";

    #[test]
    fn ids_and_routes_are_told_apart() {
        let topic = Topic::parse(&format!("/m/{DOMAIN}/c/kitchen/a.b/c d")).unwrap();
        assert_eq!(topic.domain, Ref::Id(DOMAIN.parse().unwrap()));
        assert_eq!(topic.channel, Ref::Route(Route::parse("kitchen").unwrap()));
        assert_eq!(topic.subtopic.levels().collect::<Vec<_>>(), ["a.b", "c d"]);
    }

    #[test]
    fn what_is_data_elsewhere_is_data_here() {
        for subtopic in ["a.b", "*", ">", "a b", " ", "%2F", "ünï/💡", "a$b", "$a"] {
            let topic = Topic::parse(&format!("m/home/c/kitchen/{subtopic}")).unwrap();
            assert_eq!(topic.subtopic.as_str(), subtopic);
        }
    }

    #[test]
    fn each_wrong_topic_is_refused_with_its_own_error() {
        let deep = format!("m/d/c/c{}", "/x".repeat(29));
        let long = format!("m/d/c/c/{}", "x".repeat(1_017));
        let cases: [(&str, TopicError); 26] = [
            ("", TopicError::Empty),
            ("/", TopicError::EmptyLevel(1)),
            ("//m/d/c/c", TopicError::EmptyLevel(1)),
            ("m/d/c/c/", TopicError::EmptyLevel(5)),
            ("m/d/c/c//x", TopicError::EmptyLevel(5)),
            ("m//c/c", TopicError::EmptyLevel(2)),
            ("$SYS/broker", TopicError::Reserved),
            ("/$SYS/broker", TopicError::Reserved),
            ("$queue/m/d/c/c", TopicError::Reserved),
            ("$share/g/m/d/c/c", TopicError::SharedSubscription),
            ("m", TopicError::NoChannel),
            ("m/d", TopicError::NoChannel),
            ("m/d/c", TopicError::NoChannel),
            ("m/d/x/c", TopicError::NoChannel),
            ("hc/d", TopicError::Scheme),
            ("mm/d/c/c", TopicError::Scheme),
            ("m/d/c/c/\0", TopicError::Nul),
            ("m/d/c/c/\t", TopicError::Control('\t')),
            ("m/d/c/c/\u{85}", TopicError::Control('\u{85}')),
            ("m/d/c/c/\u{ffff}", TopicError::Noncharacter('\u{ffff}')),
            ("m/d/c/c/\u{fdd0}", TopicError::Noncharacter('\u{fdd0}')),
            ("m/d/c/c/+", TopicError::Wildcard('+')),
            ("m/d/c/c/a#", TopicError::Wildcard('#')),
            ("m/+/c/c", TopicError::Wildcard('+')),
            (&deep, TopicError::TooDeep),
            (&long, TopicError::TooLong { bytes: 1_025 }),
        ];
        for (text, error) in cases {
            assert_eq!(Topic::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_limits_themselves_are_allowed() {
        assert!(Topic::parse(&format!("m/d/c/c{}", "/x".repeat(28))).is_ok());
        assert!(Topic::parse(&format!("m/d/c/c/{}", "x".repeat(1_016))).is_ok());
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        for bytes in [&b"m/d/c/c/\xff"[..], b"m/d/c/c/\xc0\xaf", b"m/d/c/c/\xed\xa0\x80"] {
            assert_eq!(Topic::parse_bytes(bytes), Err(TopicError::NotUtf8));
        }
    }
}

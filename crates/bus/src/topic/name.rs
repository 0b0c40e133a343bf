//! The two levels of a topic that name an entity: by id, or by a route that people chose.

use std::fmt;

use trunkline_core::{ChannelId, DomainId};
use uuid::Uuid;

use super::TopicError;

/// Longest route, in bytes.
pub const ROUTE_BYTES_MAX: usize = 36;

const UUID_TEXT_BYTES: usize = 36;
const ERROR_CHARS_MAX: usize = 64;

/// An entity as a topic names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ref<Id> {
    /// By its id.
    Id(Id),
    /// By its route, which the gate resolves.
    Route(Route),
}

/// A route: a letter and up to 35 letters, digits, `_` or `-`, without `__` or `--`, that does not read as a UUID.
/// Copying it allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    bytes: [u8; ROUTE_BYTES_MAX],
    len: u8,
}

impl Route {
    /// Parses a route; `None` when the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_route = text.len() <= ROUTE_BYTES_MAX
            && text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
            && !text.contains("__")
            && !text.contains("--")
            && Uuid::try_parse(text).is_err();
        if !is_route {
            return None;
        }
        let mut bytes = [0; ROUTE_BYTES_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let len = u8::try_from(text.len()).ok()?;
        Some(Self { bytes, len })
    }

    /// The route's text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("a route is ASCII")
    }
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Route({})", self.as_str())
    }
}

pub(super) fn domain(text: &str) -> Result<Ref<DomainId>, TopicError> {
    parse(text, "domain", DomainId::from_uuid)
}

pub(super) fn channel(text: &str) -> Result<Ref<ChannelId>, TopicError> {
    parse(text, "channel", ChannelId::from_uuid)
}

fn parse<Id>(text: &str, what: &'static str, id: fn(Uuid) -> Id) -> Result<Ref<Id>, TopicError> {
    if text.len() == UUID_TEXT_BYTES
        && let Ok(uuid) = Uuid::try_parse(text)
    {
        return Ok(Ref::Id(id(uuid)));
    }
    Route::parse(text).map(Ref::Route).ok_or_else(|| TopicError::Name {
        what,
        text: text.chars().take(ERROR_CHARS_MAX).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_what_the_grammar_says() {
        let longest = format!("a{}", "b".repeat(35));
        for text in ["a", "Kitchen-2", "a_b-c", "a-_b", longest.as_str()] {
            assert_eq!(Route::parse(text).map(|route| route.to_string()).as_deref(), Some(text));
        }
        let too_long = format!("a{}", "b".repeat(36));
        for text in ["", "1a", "-a", "a__b", "a--b", "a.b", "ä", "a b", too_long.as_str()] {
            assert_eq!(Route::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_uuid_is_never_a_route() {
        let text = "a192f0c1-7b1e-7c3a-9a55-0123456789ab";
        assert!(matches!(domain(text), Ok(Ref::Id(_))));
        assert!(domain("a192f0c17b1e7c3a9a550123456789ab").is_err());
    }

    #[test]
    fn what_is_neither_is_named_in_the_error() {
        let error = channel("9lives").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("`9lives` is neither the id nor the route of a channel")
        );
    }
}

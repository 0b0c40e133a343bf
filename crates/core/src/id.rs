//! Identifiers: one UUID newtype per entity, so that a client's id cannot be handed where a channel's is wanted.
//!
//! They are minted as UUIDv7 (RFC 9562 section 5.7), which keeps index pages in time order; any UUID is accepted on input.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a UUID")]
pub struct InvalidId {
    text: String,
}

/// Any of the ids below, for code that serves more than one kind.
pub trait Id: Copy + Eq + fmt::Display + FromStr<Err = InvalidId> + Send + Sync + 'static {
    /// The id as a UUID.
    fn uuid(self) -> Uuid;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Mints a new id, later than those minted before by this process.
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// Takes a UUID as it is.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The id as a UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// The id's 16 bytes, as envelopes carry them.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Reads 16 bytes; `None` for any other length.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }
        }

        impl Id for $name {
            fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(formatter)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId { text: text.chars().take(64).collect() })
            }
        }
    )+};
}

ids! {
    /// A user of the platform.
    UserId,
    /// A domain: one tenant.
    DomainId,
    /// A group inside a domain.
    GroupId,
    /// A client: a device or an application.
    ClientId,
    /// A channel inside a domain.
    ChannelId,
    /// A role of an entity.
    RoleId,
    /// One credential of a client.
    CredentialId,
    /// One message, minted at admission.
    MessageId,
    /// One session of a publisher or subscriber.
    SessionId,
    /// One request, also the id under which its denial can be explained.
    RequestId,
    /// One running process of the platform.
    NodeId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text_and_its_bytes() {
        let id = ClientId::new();
        assert_eq!(id.to_string().parse::<ClientId>(), Ok(id));
        assert_eq!(ClientId::from_slice(id.as_bytes()), Some(id));
    }

    #[test]
    fn a_text_that_is_no_uuid_is_named_in_the_error() {
        let error = "kitchen".parse::<ClientId>().unwrap_err();
        assert_eq!(error.to_string(), "`kitchen` is not a UUID");
    }
}

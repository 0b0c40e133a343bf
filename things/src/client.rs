//! A client as this service knows it: parsed once, valid from then on. No I/O, no proto.

use std::fmt;

use trunkline_core::attributes::{Metadata, Name, Tags, bounded_text};
use trunkline_core::{ClientId, DomainId, Fault, Secret, Timestamp};
use trunkline_registry::{Base, Change};

/// Longest identity in bytes.
pub const IDENTITY_BYTES_MAX: usize = 1_024;
/// Shortest secret in bytes.
pub const SECRET_BYTES_MIN: usize = 8;
/// Longest secret in bytes.
pub const SECRET_BYTES_MAX: usize = 256;

/// A device or an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// What it has in common with all objects; enabled, it may connect.
    pub base: Base<ClientId>,
    /// A name of the owner's choice that it goes by, such as a serial number.
    pub identity: Option<Identity>,
    /// Free JSON that events do not carry.
    pub private_metadata: Option<Metadata>,
}

/// What a client goes by in its owner's books: 1 to [`IDENTITY_BYTES_MAX`] bytes; not unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(String);

impl Identity {
    /// Parses an identity; a fault names `field`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when the text is empty, too long or has control characters.
    pub fn parse(field: &str, text: &str) -> Result<Self, Fault> {
        bounded_text(field, text, IDENTITY_BYTES_MAX)?;
        if text.is_empty() {
            return Err(Fault::invalid(field, "is empty; leave it out"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The identity as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Parses a secret of the owner's choice; a fault names `field` and never the secret.
///
/// Blanks at the ends are refused because HTTP strips them from headers: such a secret could never be shown there.
///
/// # Errors
/// INVALID_ARGUMENT when the text is too short or too long, has control characters, or starts or ends with a blank.
pub fn parse_secret(field: &str, text: &str) -> Result<Secret, Fault> {
    bounded_text(field, text, SECRET_BYTES_MAX)?;
    if text.len() < SECRET_BYTES_MIN {
        return Err(Fault::invalid(
            field,
            format!("is shorter than {SECRET_BYTES_MIN} bytes"),
        ));
    }
    if text.trim() != text {
        return Err(Fault::invalid(field, "starts or ends with a blank"));
    }
    Ok(Secret::new(text.to_owned()))
}

/// A client to create.
#[derive(Debug, Clone)]
pub struct NewClient {
    /// Its id.
    pub id: ClientId,
    /// Its domain.
    pub domain_id: DomainId,
    /// Its name.
    pub name: Option<Name>,
    /// Its labels.
    pub tags: Tags,
    /// What it goes by.
    pub identity: Option<Identity>,
    /// What it will prove itself with.
    pub secret: Secret,
    /// Free JSON.
    pub metadata: Option<Metadata>,
    /// Free JSON that events do not carry.
    pub private_metadata: Option<Metadata>,
}

impl NewClient {
    /// The client as it is right after its creation at `now`.
    pub fn created(&self, now: Timestamp) -> Client {
        Client {
            base: Base {
                name: self.name.clone(),
                tags: self.tags.clone(),
                metadata: self.metadata.clone(),
                ..Base::new(self.id, self.domain_id, now)
            },
            identity: self.identity.clone(),
            private_metadata: self.private_metadata.clone(),
        }
    }
}

/// What an update changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Its name.
    pub name: Change<Name>,
    /// Free JSON.
    pub metadata: Change<Metadata>,
    /// Free JSON that events do not carry.
    pub private_metadata: Change<Metadata>,
}

impl Changes {
    /// Changes `client`, and says whether there is anything to change.
    pub fn apply(&self, client: &mut Client) -> bool {
        self.name.apply(&mut client.base.name);
        self.metadata.apply(&mut client.base.metadata);
        self.private_metadata.apply(&mut client.private_metadata);
        *self != Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_bounded_and_can_be_shown_in_a_header() {
        let longest = "x".repeat(SECRET_BYTES_MAX);
        for good in ["12345678", "Client a b c", longest.as_str()] {
            assert!(parse_secret("secret", good).is_ok(), "{good:?}");
        }
        let too_long = "x".repeat(SECRET_BYTES_MAX + 1);
        for bad in [
            "",
            "1234567",
            " 12345678",
            "12345678 ",
            "1234\u{7}5678",
            too_long.as_str(),
        ] {
            let fault = parse_secret("client.credentials.secret", bad).unwrap_err();
            assert_eq!(fault.fields[0].field, "client.credentials.secret", "{bad:?}");
            assert!(bad.is_empty() || !fault.message.contains(bad));
        }
    }

    #[test]
    fn an_update_changes_what_its_mask_names_and_nothing_else() {
        let new = NewClient {
            id: ClientId::new(),
            domain_id: DomainId::new(),
            name: Some(Name::parse("name", "kettle").unwrap()),
            tags: Tags::default(),
            identity: None,
            secret: Secret::generate(),
            metadata: Some(Metadata::parse("metadata", b"{\"a\":1}").unwrap()),
            private_metadata: None,
        };
        let mut expected = new.created(Timestamp::from_micros(1));
        let mut changed = expected.clone();
        Changes {
            metadata: Change::Set(None),
            ..Changes::default()
        }
        .apply(&mut changed);
        expected.base.metadata = None;
        assert_eq!(changed, expected);
    }
}

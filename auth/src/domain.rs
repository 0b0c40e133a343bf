//! Domains: the tenants, as the database has them.

use trunkline_bus::topic::Route;
use trunkline_core::attributes::{Metadata, Name, Tags};
use trunkline_core::{DomainId, Timestamp, UserId};

use crate::tree::Status;

/// A domain.
#[derive(Debug, Clone)]
pub struct Domain {
    /// Its id.
    pub id: DomainId,
    /// Its name in topics.
    pub route: Route,
    /// Its name for people.
    pub name: Name,
    /// Labels.
    pub tags: Tags,
    /// Free JSON.
    pub metadata: Option<Metadata>,
    /// Whether it works.
    pub status: Status,
    /// Who created it.
    pub created_by: UserId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Who changed it last.
    pub updated_by: Option<UserId>,
}

/// A domain to create.
#[derive(Debug, Clone)]
pub struct NewDomain {
    /// Its id, when the caller chose one.
    pub id: Option<DomainId>,
    /// Its name in topics.
    pub route: Route,
    /// Its name for people.
    pub name: Name,
    /// Labels.
    pub tags: Tags,
    /// Free JSON.
    pub metadata: Option<Metadata>,
}

/// What a list of domains is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Time of the last change.
    UpdatedAt,
    /// Time of creation.
    CreatedAt,
    /// Name, with case folded.
    Name,
}

/// Which domains to list.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Only those of which this user is a member; all when `None`.
    pub member: Option<UserId>,
    /// Text that the folded name must contain.
    pub name: Option<String>,
    /// Status that they must have; any when `None`.
    pub status: Option<Status>,
    /// What to order by.
    pub order: Order,
    /// Whether the least comes first.
    pub is_ascending: bool,
}

/// A role of a domain, client or channel, as it was created.
#[derive(Debug, Clone)]
pub struct NewRole {
    /// Its name, unique for the entity.
    pub name: RoleName,
    /// The actions that its members hold.
    pub actions: Vec<String>,
    /// Its first members.
    pub members: Vec<UserId>,
}

/// Longest name of a role in bytes (magistrala.md 1.2).
pub const ROLE_NAME_BYTES_MAX: usize = 200;

/// The name of a role: 1 to [`ROLE_NAME_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleName(String);

impl RoleName {
    /// The name of the role that every entity is made with.
    pub fn admin() -> Self {
        Self("admin".to_owned())
    }

    /// Parses a role's name.
    ///
    /// # Errors
    /// INVALID_ARGUMENT that names `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self, trunkline_core::Fault> {
        trunkline_core::attributes::bounded_text(field, text, ROLE_NAME_BYTES_MAX)?;
        Name::parse(field, text).map(|name| Self(name.as_str().to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

//! What every object has, whatever its kind: one part of its value, and the same columns of its table.

use trunkline_core::attributes::{Metadata, Name, Tags};
use trunkline_core::{DomainId, GroupId, Timestamp, UserId};
use trunkline_db::{Bind, Column, Error, Row, Value, params};

use crate::event::Place;
use crate::object::{Status, corrupt};

/// What every object has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base<I> {
    /// Its id.
    pub id: I,
    /// Its domain.
    pub domain_id: DomainId,
    /// Its parent group.
    pub parent_group_id: Option<GroupId>,
    /// Its name.
    pub name: Option<Name>,
    /// Its labels.
    pub tags: Tags,
    /// Free JSON.
    pub metadata: Option<Metadata>,
    /// Whether it is in use, as `auth` was told last.
    pub status: Status,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// User that changed it last.
    pub updated_by: Option<UserId>,
    /// Number of its changes, from 1.
    pub revision: i64,
}

impl<I: Copy> Base<I> {
    /// That of an object without name and labels, right after its creation at `now`.
    pub fn new(id: I, domain_id: DomainId, now: Timestamp) -> Self {
        Self {
            id,
            domain_id,
            parent_group_id: None,
            name: None,
            tags: Tags::default(),
            metadata: None,
            status: Status::Enabled,
            created_at: now,
            updated_at: now,
            updated_by: None,
            revision: 1,
        }
    }

    /// Where the object is, and which of its revisions this is.
    pub const fn place(&self) -> Place<I> {
        Place {
            domain_id: self.domain_id,
            id: self.id,
            revision: self.revision,
        }
    }

    /// Notes a change, of which the object becomes the next revision.
    pub(crate) const fn touch(&mut self, by: Option<UserId>, at: Timestamp) {
        self.updated_at = at;
        self.updated_by = by;
        self.revision += 1;
    }
}

impl<I: Copy + Bind + Column> Base<I> {
    pub(crate) fn read(row: &Row) -> Result<Self, Error> {
        let name: Option<String> = row.get("name")?;
        let metadata: Option<String> = row.get("metadata")?;
        Ok(Self {
            id: row.get("id")?,
            domain_id: row.get("domain_id")?,
            parent_group_id: row.get("parent_group_id")?,
            name: name
                .map(|text| Name::parse("name", &text))
                .transpose()
                .map_err(corrupt)?,
            tags: Tags::from_json(&row.get::<String>("tags")?),
            metadata: metadata.map(Metadata::trusted),
            status: row.parse("status")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
            updated_by: row.get("updated_by")?,
            revision: row.get("revision")?,
        })
    }

    /// `$1` to `$12` of [`Statements::insert`](crate::store::Statements::insert).
    pub(crate) fn values(&self) -> Vec<Value> {
        // Objects without a name sort before all others on both databases, which do not agree about NULL.
        let name_folded = self.name.as_ref().map(Name::folded).unwrap_or_default();
        params![
            self.domain_id,
            self.id,
            self.parent_group_id,
            self.name.as_ref().map(Name::as_str),
            name_folded,
            self.tags.to_json(),
            self.metadata.as_ref().map(Metadata::as_str),
            self.status.as_str(),
            self.created_at,
            self.updated_at,
            self.updated_by,
            self.revision,
        ]
    }
}

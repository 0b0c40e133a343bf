//! What a list is asked for: a page, an order, filters, and what the caller may see.

use trunkline_core::{Code, DomainId, Fault, GroupId};
use trunkline_db::Page;

use crate::error::reasons::TOO_MANY_GRANTS;
use crate::object::Status;

/// Most groups and objects that a list is cut by: each is a value of the statement, and SQLite binds 32,766 of them.
pub const VISIBLE_MAX: usize = 30_000;

/// A question for a page of a domain's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Their domain.
    pub domain_id: DomainId,
    /// Which rows.
    pub page: Page,
    /// What they are ordered by.
    pub order: Order,
    /// Which end comes first.
    pub direction: Direction,
    /// Text that the name contains, folded.
    pub name_folded: Option<String>,
    /// The status that they have; any when absent.
    pub status: Option<Status>,
}

/// What a list is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Time of the last change.
    UpdatedAt,
    /// Time of creation.
    CreatedAt,
    /// Name with case folded; objects without a name count as the least.
    Name,
}

/// Which end of an order comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The least.
    Ascending,
    /// The greatest.
    Descending,
}

/// Which objects of a domain a caller may read, as `auth` expanded his grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible<I> {
    /// Every one.
    All,
    /// Those directly in one of the groups, and those named.
    Some {
        /// The groups.
        groups: Vec<GroupId>,
        /// The objects.
        objects: Vec<I>,
    },
}

impl<I> Visible<I> {
    /// Takes what a caller may read.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when it is more than [`VISIBLE_MAX`] single grants.
    pub fn some(groups: Vec<GroupId>, objects: Vec<I>) -> Result<Self, Fault> {
        if groups.len() + objects.len() > VISIBLE_MAX {
            let message =
                format!("more than {VISIBLE_MAX} single grants; hold them through groups or the domain to list");
            return Err(Fault::new(Code::ResourceExhausted, TOO_MANY_GRANTS, message));
        }
        Ok(Self::Some { groups, objects })
    }
}

//! One stored record as a destination gives it back.

use uuid::Uuid;

use crate::content::{self, Hash};

/// A domain and a channel in it, by their ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The domain's id.
    pub domain: String,
    /// The channel's id.
    pub channel: String,
}

/// A stored record. The order of rows is the order in which they are given to the checker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it was found.
    pub place: Place,
    /// Who is said to have published it.
    pub publisher: String,
    /// Protocol that it is said to have come by, such as `mqtt`.
    pub protocol: String,
    /// The id that the platform gave to the message.
    pub message_id: Uuid,
    /// Place of the record in its message.
    pub pack_index: u32,
    /// Name of the record; empty if it has none.
    pub name: String,
    /// Its text; empty if it has none.
    pub text: String,
}

impl Row {
    /// Run, producer and sequence; `None` if no generator made it.
    pub(crate) fn identity(&self) -> Option<(&str, u32, u64)> {
        content::identity(&self.name)
    }

    pub(crate) fn hash(&self) -> Hash {
        content::hash(&self.name, &self.text)
    }
}

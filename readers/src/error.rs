//! Why a page cannot be read.

use trunkline_core::error::reason;
use trunkline_core::{Code, Fault};

/// What a reader's caller could do something about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request is wrong.
    #[error("{field} {description}")]
    InvalidField {
        /// The field.
        field: &'static str,
        /// What it must be.
        description: String,
    },
    /// The message store did not answer; trying again may succeed.
    #[error("the message store does not answer")]
    Store(#[source] trunkline_store::Error),
}

impl Error {
    pub(crate) fn invalid(field: &'static str, description: impl Into<String>) -> Error {
        Error::InvalidField {
            field,
            description: description.into(),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        match error {
            Error::InvalidField { field, description } => Fault::invalid(field, description),
            Error::Store(_) => Fault::new(Code::Unavailable, reason::DEPENDENCY_UNAVAILABLE, error.to_string()),
        }
    }
}

//! How admission says no: a [`Refusal`] of a connection, a [`Denial`] of one topic. Adapters turn them into their protocol's words.

use trunkline_bus::TopicError;
use trunkline_core::error::{Code, Fault, reason};

/// Why credentials were not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// There is no such client, or the secret is not its own.
    #[error("the credentials are not valid")]
    BadCredentials,
    /// The client or its domain is disabled.
    #[error("the client or its domain is disabled")]
    Disabled,
    /// Whether they are valid cannot be known now.
    #[error("the credentials cannot be checked now")]
    Unavailable,
}

/// Why a client may not use a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Text that is no topic, or no filter.
    #[error(transparent)]
    InvalidTopic(#[from] TopicError),
    /// The client is not connected to that channel, whether or not there is one; or it is disabled, or its domain or channel.
    #[error("the client may not use this topic")]
    NotAuthorized,
    /// Whether it may cannot be known now.
    #[error("the permission cannot be checked now")]
    Unavailable,
}

impl Refusal {
    /// A stable word for metrics and logs.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadCredentials => reason::CREDENTIALS_INVALID,
            Self::Disabled => reason::NOT_AUTHORIZED,
            Self::Unavailable => reason::DEPENDENCY_UNAVAILABLE,
        }
    }

    /// The refusal in the platform's table of errors.
    pub fn into_fault(self) -> Fault {
        let code = match self {
            Self::BadCredentials => Code::Unauthenticated,
            Self::Disabled => Code::PermissionDenied,
            Self::Unavailable => Code::Unavailable,
        };
        Fault::new(code, self.reason(), self.to_string())
    }
}

impl Denial {
    /// A stable word for metrics and logs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::InvalidTopic(_) => reason::INVALID_FIELD,
            Self::NotAuthorized => reason::NOT_AUTHORIZED,
            Self::Unavailable => reason::DEPENDENCY_UNAVAILABLE,
        }
    }

    /// The denial in the platform's table of errors.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::InvalidTopic(_) => Fault::invalid("topic", self.to_string()),
            Self::NotAuthorized => Fault::new(Code::PermissionDenied, self.reason(), self.to_string()),
            Self::Unavailable => Fault::new(Code::Unavailable, self.reason(), self.to_string()),
        }
    }
}

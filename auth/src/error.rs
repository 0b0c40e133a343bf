//! What can go wrong in `auth`, and how each of it is told: one code and one stable reason.

use trunkline_core::error::{Code, Fault, reason};

/// Reasons that only this service gives.
pub mod reasons {
    /// The e-mail address belongs to another user.
    pub const EMAIL_TAKEN: &str = "EMAIL_TAKEN";
    /// The user name belongs to another user.
    pub const USERNAME_TAKEN: &str = "USERNAME_TAKEN";
    /// The route belongs to another domain.
    pub const ROUTE_TAKEN: &str = "ROUTE_TAKEN";
    /// The id is or was in use.
    pub const ID_TAKEN: &str = "ID_TAKEN";
    /// The entity has a role of this name.
    pub const ROLE_NAME_TAKEN: &str = "ROLE_NAME_TAKEN";
    /// A member has a role on the entity already.
    pub const MEMBER_HAS_ROLE: &str = "MEMBER_HAS_ROLE";
    /// The built-in role of an entity stays.
    pub const ROLE_BUILT_IN: &str = "ROLE_BUILT_IN";
    /// The user is disabled.
    pub const USER_DISABLED: &str = "USER_DISABLED";
    /// The user's e-mail address is not verified.
    pub const EMAIL_UNVERIFIED: &str = "EMAIL_UNVERIFIED";
    /// The token's time has passed.
    pub const TOKEN_EXPIRED: &str = "TOKEN_EXPIRED";
    /// The domain is disabled.
    pub const DOMAIN_DISABLED: &str = "DOMAIN_DISABLED";
    /// The domain is frozen.
    pub const DOMAIN_FROZEN: &str = "DOMAIN_FROZEN";
    /// The client is disabled.
    pub const CLIENT_DISABLED: &str = "CLIENT_DISABLED";
    /// The channel is disabled.
    pub const CHANNEL_DISABLED: &str = "CHANNEL_DISABLED";
    /// An object of another kind is disabled.
    pub const OBJECT_DISABLED: &str = "OBJECT_DISABLED";
    /// The last enabled administrator of the platform stays enabled.
    pub const LAST_ADMIN: &str = "LAST_ADMIN";
}

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong, or the state of things does not allow it: told to the caller as it is.
    #[error("{0}")]
    Refused(Fault),
    /// The database failed.
    #[error("the database of auth failed while {operation}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// The database's error.
        #[source]
        source: trunkline_db::Error,
    },
    /// The bus failed.
    #[error("the bus failed while {operation}")]
    Bus {
        /// What was being done.
        operation: &'static str,
        /// Its message.
        message: String,
    },
    /// A secret could not be hashed or a token not be signed.
    #[error("cryptography failed: {0}")]
    Crypto(String),
}

impl Error {
    /// A refusal with a code and a reason.
    pub(crate) fn refused(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self::Refused(Fault::new(code, reason, message))
    }

    /// Nothing by this id, or nothing that the caller may know of.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::refused(Code::NotFound, reason::NOT_FOUND, format!("{what} not found"))
    }

    /// Adds what was being done to an error of the database.
    pub(crate) const fn database(operation: &'static str) -> impl FnOnce(trunkline_db::Error) -> Self {
        move |source| Self::Database { operation, source }
    }

    /// What the caller is told; defects are told by code alone, and logged by whoever answers.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(fault) => fault.clone(),
            Self::Database { source, .. } => source.fault(),
            Self::Bus { .. } => Fault::new(
                Code::Unavailable,
                reason::DEPENDENCY_UNAVAILABLE,
                "the bus is not available",
            ),
            Self::Crypto(_) => Fault::internal(),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

/// Needed by transactions, whose last step has no name of its own.
impl From<trunkline_db::Error> for Error {
    fn from(source: trunkline_db::Error) -> Self {
        Self::Database {
            operation: "writing",
            source,
        }
    }
}

//! What can go wrong in `things`, and how each of it is told: one code and one stable reason.

use tonic::Status;
use trunkline_core::error::{Code, Fault, reason};
use trunkline_rpc::status::to_fault;

/// Reasons that this service gives beside the shared ones.
pub mod reasons {
    /// The id is in use.
    pub const ID_TAKEN: &str = "ID_TAKEN";
    /// Another credential in the domain has this secret.
    pub const SECRET_TAKEN: &str = "SECRET_TAKEN";
    /// The caller holds more single grants than a list can be cut by.
    pub const TOO_MANY_GRANTS: &str = "TOO_MANY_GRANTS";
    /// Somebody else changed it meanwhile.
    pub const CONCURRENT_CHANGE: &str = "CONCURRENT_CHANGE";
}

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong, the state of things does not allow it, or another service said no: told to the caller as it is.
    #[error("{0}")]
    Refused(Fault),
    /// The database failed.
    #[error("the database of things failed while {operation}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// The database's error.
        #[source]
        source: trunkline_db::Error,
    },
    /// Another service gave an answer that breaks its contract.
    #[error("the answer of {service} is wrong: {defect}")]
    Answer {
        /// The service.
        service: &'static str,
        /// What is wrong.
        defect: &'static str,
    },
}

impl Error {
    /// A refusal with a code and a reason.
    pub(crate) fn refused(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self::Refused(Fault::new(code, reason, message))
    }

    /// There is no such client.
    pub(crate) fn not_found() -> Self {
        Self::refused(Code::NotFound, reason::NOT_FOUND, "client not found")
    }

    /// The credentials are wrong, whatever is wrong with them.
    pub(crate) fn wrong_credentials() -> Self {
        Self::refused(
            Code::Unauthenticated,
            reason::CREDENTIALS_INVALID,
            "the credentials are not valid",
        )
    }

    /// Adds what was being done to an error of the database.
    pub(crate) const fn database(operation: &'static str) -> impl FnOnce(trunkline_db::Error) -> Self {
        move |source| Self::Database { operation, source }
    }

    /// What the caller is told. A defect is told by its code alone; whoever answers logs it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(fault) => fault.clone(),
            Self::Database { source, .. } => match source.code() {
                Code::Unavailable => Fault::new(
                    Code::Unavailable,
                    reason::DEPENDENCY_UNAVAILABLE,
                    "the database is not available",
                ),
                Code::Aborted => Fault::new(
                    Code::Aborted,
                    reasons::CONCURRENT_CHANGE,
                    "somebody else changed it meanwhile; repeat",
                ),
                _ => Fault::new(Code::Internal, reason::INTERNAL, "internal error"),
            },
            Self::Answer { .. } => Fault::new(Code::Internal, reason::INTERNAL, "internal error"),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault)
    }
}

/// Needed by transactions, whose commit has no step of its own.
impl From<trunkline_db::Error> for Error {
    fn from(source: trunkline_db::Error) -> Self {
        Self::Database {
            operation: "writing",
            source,
        }
    }
}

/// What another service said.
#[allow(clippy::needless_pass_by_value)] // It is what `map_err` hands over.
pub(crate) fn refusal(status: Status) -> Error {
    Error::Refused(to_fault(&status))
}

//! What can go wrong in a registry, and how each of it is told: one code and one stable reason.

use tonic::Status;
use trunkline_core::error::{Code, Fault, reason};
use trunkline_rpc::status::to_fault;

/// Reasons that every registry gives beside those of the whole platform.
pub mod reasons {
    /// The id is in use.
    pub const ID_TAKEN: &str = "ID_TAKEN";
    /// The caller holds more single grants than a list can be cut by.
    pub const TOO_MANY_GRANTS: &str = "TOO_MANY_GRANTS";
    /// Somebody else changed it meanwhile.
    pub use trunkline_db::CONCURRENT_CHANGE;
}

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong, the state of things does not allow it, or another service said no: told to the caller as it is.
    #[error("{0}")]
    Refused(Fault),
    /// The database failed.
    #[error("the database failed while {operation} {objects}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// To which kind of objects.
        objects: &'static str,
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
    pub fn refused(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self::Refused(Fault::new(code, reason, message))
    }

    /// There is no such object; `noun` says of which kind.
    pub fn not_found(noun: &str) -> Self {
        Self::refused(Code::NotFound, reason::NOT_FOUND, format!("{noun} not found"))
    }

    /// The id of a new object is in use.
    pub fn id_taken() -> Self {
        Self::refused(Code::AlreadyExists, reasons::ID_TAKEN, "the id is in use")
    }

    /// Adds what was being done, such as `reading` `clients`, to an error of the database.
    pub const fn database(operation: &'static str, objects: &'static str) -> impl FnOnce(trunkline_db::Error) -> Self {
        move |source| Self::Database {
            operation,
            objects,
            source,
        }
    }

    /// What the caller is told. A defect is told by its code alone; whoever answers logs it.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(fault) => fault.clone(),
            Self::Database { source, .. } => source.fault(),
            Self::Answer { .. } => Fault::internal(),
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
        Self::database("writing", "objects")(source)
    }
}

/// What another service said.
#[allow(clippy::needless_pass_by_value)] // It is what `map_err` hands over.
pub fn refusal(status: Status) -> Error {
    Error::Refused(to_fault(&status))
}

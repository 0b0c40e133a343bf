//! What can go wrong in `things` beside what can in every registry.

use trunkline_core::error::{Code, reason};
use trunkline_registry::Error;

/// Reasons that this service gives beside the shared ones.
pub mod reasons {
    pub use trunkline_registry::reasons::{CONCURRENT_CHANGE, ID_TAKEN, TOO_MANY_GRANTS};

    /// Another credential in the domain has this secret.
    pub const SECRET_TAKEN: &str = "SECRET_TAKEN";
}

/// The credentials are wrong, whatever is wrong with them.
pub(crate) fn wrong_credentials() -> Error {
    Error::refused(
        Code::Unauthenticated,
        reason::CREDENTIALS_INVALID,
        "the credentials are not valid",
    )
}

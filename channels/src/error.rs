//! What can go wrong in `channels` beside what can in every registry.

use trunkline_core::error::{Code, reason};
use trunkline_registry::Error;

/// Reasons that this service gives beside the shared ones.
pub mod reasons {
    pub use trunkline_registry::reasons::{CONCURRENT_CHANGE, ID_TAKEN, TOO_MANY_GRANTS};

    /// Another channel of the domain has this route.
    pub const ROUTE_TAKEN: &str = "ROUTE_TAKEN";
}

/// A client may not use a channel. Whether there is one makes no difference.
pub(crate) fn not_connected() -> Error {
    Error::refused(
        Code::PermissionDenied,
        reason::NOT_AUTHORIZED,
        "the client is not connected to this channel",
    )
}

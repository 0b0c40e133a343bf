//! The gate's and the log's refusals in the words of MQTT.

use trunkline_bus::log::AppendError;
use trunkline_gate::{Denial, Refusal};
use trunkline_mqtt_wire::ReasonCode;

/// A feature of MQTT that is not offered yet. Each use is refused, counted, and logged once per client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Feature {
    /// Enhanced authentication.
    EnhancedAuthentication,
}

impl Feature {
    /// Every feature that is not offered.
    pub const ALL: [Self; 1] = [Self::EnhancedAuthentication];

    /// Its name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EnhancedAuthentication => "enhanced_authentication",
        }
    }

    /// What its use is answered with.
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::EnhancedAuthentication => ReasonCode::BadAuthenticationMethod,
        }
    }

    /// What a person is told.
    pub const fn words(self) -> &'static str {
        match self {
            Self::EnhancedAuthentication => "enhanced authentication is not offered; use user name and password",
        }
    }
}

/// The answer to a CONNECT that was not admitted. A dependency that is down is never told as wrong credentials.
pub(crate) const fn of_refusal(refusal: Refusal) -> ReasonCode {
    match refusal {
        Refusal::BadCredentials => ReasonCode::BadUserNameOrPassword,
        Refusal::Disabled => ReasonCode::NotAuthorized,
        Refusal::Unavailable => ReasonCode::ServerUnavailable,
    }
}

/// The answer to a PUBLISH that was denied.
pub(crate) const fn of_publish_denial(denial: &Denial) -> ReasonCode {
    match denial {
        Denial::InvalidTopic(_) => ReasonCode::TopicNameInvalid,
        Denial::NotAuthorized => ReasonCode::NotAuthorized,
        Denial::Unavailable => ReasonCode::ImplementationSpecificError,
    }
}

/// The answer to a CONNECT whose will was denied.
pub(crate) const fn of_will_denial(denial: &Denial) -> ReasonCode {
    match denial {
        Denial::InvalidTopic(_) => ReasonCode::TopicNameInvalid,
        Denial::NotAuthorized => ReasonCode::NotAuthorized,
        Denial::Unavailable => ReasonCode::ServerUnavailable,
    }
}

/// The answer to one filter of a SUBSCRIBE that was denied.
pub(crate) const fn of_subscribe_denial(denial: &Denial) -> ReasonCode {
    match denial {
        Denial::InvalidTopic(_) => ReasonCode::TopicFilterInvalid,
        Denial::NotAuthorized => ReasonCode::NotAuthorized,
        Denial::Unavailable => ReasonCode::ImplementationSpecificError,
    }
}

/// The answer to a PUBLISH that the log did not take; `None` when the outcome is unknown, which no answer may pretend to know.
pub(crate) const fn of_append_error(error: &AppendError) -> Option<ReasonCode> {
    match error {
        AppendError::Full { .. } | AppendError::DiskLow { .. } | AppendError::TooLarge { .. } => {
            Some(ReasonCode::QuotaExceeded)
        }
        AppendError::Unanswered | AppendError::Closed => None,
    }
}

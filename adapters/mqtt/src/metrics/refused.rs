//! Why something was refused, as it is counted.

use trunkline_bus::log::{AppendError, Quota};
use trunkline_gate::{Denial, Refusal};
use trunkline_telemetry::{Counter, Metrics as Registry};

/// Why a CONNECT, a message or a subscription was refused, or a message at QoS 0 dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The credentials are wrong.
    BadCredentials,
    /// The client may not do that, or is disabled.
    NotAuthorized,
    /// The topic or filter is none of the platform's.
    InvalidTopic,
    /// A will to a topic to which the client may not publish, or that is too large.
    Will,
    /// The client has as many sessions as it may have, a session as many subscriptions, or a group as many members.
    TooMany,
    /// The payload is not what its properties say that it is.
    InvalidPayload,
    /// The message is too large.
    TooLarge,
    /// The domain holds or retains as much as it may.
    DomainFull,
    /// The log holds as much as it may.
    LogFull,
    /// The disk of the log has no room.
    DiskLow,
    /// There was no room in time.
    Busy,
    /// What it depends on does not answer, so whether it may be done or was done is unknown.
    Unavailable,
}

impl Refused {
    /// Why a CONNECT may be refused.
    const CONNECT: [Self; 5] = [
        Self::BadCredentials,
        Self::NotAuthorized,
        Self::Will,
        Self::TooMany,
        Self::Unavailable,
    ];
    /// Why a message may be refused.
    const PUBLISH: [Self; 8] = [
        Self::NotAuthorized,
        Self::InvalidTopic,
        Self::InvalidPayload,
        Self::TooLarge,
        Self::DomainFull,
        Self::LogFull,
        Self::DiskLow,
        Self::Unavailable,
    ];
    /// Why a message at QoS 0 that may be published may be dropped.
    const DROPPED: [Self; 6] = [
        Self::TooLarge,
        Self::DomainFull,
        Self::LogFull,
        Self::DiskLow,
        Self::Busy,
        Self::Unavailable,
    ];
    /// Why a filter of a SUBSCRIBE may be refused.
    const SUBSCRIBE: [Self; 4] = [
        Self::NotAuthorized,
        Self::InvalidTopic,
        Self::TooMany,
        Self::Unavailable,
    ];

    /// Why a message at QoS 0 is dropped. Nobody waits for the log to answer there, but for room in it.
    pub(crate) fn of_drop(error: &AppendError) -> Self {
        if matches!(error, AppendError::Unanswered) {
            return Self::Busy;
        }
        error.into()
    }

    const fn name(self) -> &'static str {
        match self {
            Self::BadCredentials => "bad_credentials",
            Self::NotAuthorized => "not_authorized",
            Self::InvalidTopic => "invalid_topic",
            Self::Will => "will",
            Self::TooMany => "too_many",
            Self::InvalidPayload => "invalid_payload",
            Self::TooLarge => "too_large",
            Self::DomainFull => "domain_full",
            Self::LogFull => "log_full",
            Self::DiskLow => "disk_low",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BadCredentials => Self::BadCredentials,
            Refusal::Disabled => Self::NotAuthorized,
            Refusal::Unavailable => Self::Unavailable,
        }
    }
}

impl From<&Denial> for Refused {
    fn from(denial: &Denial) -> Self {
        match denial {
            Denial::InvalidTopic(_) => Self::InvalidTopic,
            Denial::NotAuthorized => Self::NotAuthorized,
            Denial::Unavailable => Self::Unavailable,
        }
    }
}

impl From<&AppendError> for Refused {
    fn from(error: &AppendError) -> Self {
        match error {
            AppendError::Full {
                quota: Quota::Domain, ..
            } => Self::DomainFull,
            AppendError::Full {
                quota: Quota::Total, ..
            } => Self::LogFull,
            AppendError::DiskLow { .. } => Self::DiskLow,
            AppendError::TooLarge { .. } => Self::TooLarge,
            AppendError::Unanswered | AppendError::Closed => Self::Unavailable,
        }
    }
}

/// A counter for each of some causes.
pub(crate) struct ByCause(Vec<(Refused, Counter)>);

impl ByCause {
    pub(super) fn of_connects(registry: &Registry) -> Self {
        let help = "MQTT clients that were not admitted, by cause";
        Self::new(
            registry,
            "trunkline_mqtt_connect_refused_total",
            help,
            &Refused::CONNECT,
        )
    }

    pub(super) fn of_publishes(registry: &Registry) -> Self {
        let help = "Messages of MQTT clients that were refused, by cause";
        Self::new(
            registry,
            "trunkline_mqtt_publish_refused_total",
            help,
            &Refused::PUBLISH,
        )
    }

    pub(super) fn of_drops(registry: &Registry) -> Self {
        let help = "QoS 0 messages of MQTT clients that the log did not take, by cause; what it takes and drops later, it counts";
        Self::new(
            registry,
            "trunkline_mqtt_publish_dropped_total",
            help,
            &Refused::DROPPED,
        )
    }

    pub(super) fn of_filters(registry: &Registry) -> Self {
        let help = "Filters of SUBSCRIBE packets that were refused, by cause";
        Self::new(
            registry,
            "trunkline_mqtt_subscribe_refused_total",
            help,
            &Refused::SUBSCRIBE,
        )
    }

    fn new(registry: &Registry, name: &'static str, help: &str, causes: &[Refused]) -> Self {
        let counter = |cause: &Refused| (*cause, registry.counter(name, help, &[("cause", cause.name())]));
        Self(causes.iter().map(counter).collect())
    }

    /// Counts one more of `cause`.
    pub(crate) fn count(&self, cause: impl Into<Refused>) {
        let cause = cause.into();
        let counted = self.0.iter().find(|(other, _)| *other == cause);
        debug_assert!(counted.is_some(), "{cause:?} is not counted here");
        if let Some((_, counter)) = counted {
            counter.increment();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_the_gate_and_the_log_refuse_has_a_cause() {
        let retry_after = Duration::ZERO;
        let full = |quota| AppendError::Full { quota, retry_after };
        let (bytes, bytes_max) = (2, 1);
        for (error, name) in [
            (full(Quota::Domain), "domain_full"),
            (full(Quota::Total), "log_full"),
            (AppendError::DiskLow { retry_after }, "disk_low"),
            (AppendError::TooLarge { bytes, bytes_max }, "too_large"),
            (AppendError::Unanswered, "unavailable"),
            (AppendError::Closed, "unavailable"),
        ] {
            let cause = Refused::from(&error);
            assert_eq!(cause.name(), name);
            assert!(Refused::PUBLISH.contains(&cause) && Refused::DROPPED.contains(&cause));
            let dropped = match error {
                AppendError::Unanswered => "busy",
                _ => name,
            };
            assert_eq!(Refused::of_drop(&error).name(), dropped);
        }
        for (refusal, name) in [
            (Refusal::BadCredentials, "bad_credentials"),
            (Refusal::Disabled, "not_authorized"),
            (Refusal::Unavailable, "unavailable"),
        ] {
            let cause = Refused::from(refusal);
            assert_eq!(cause.name(), name);
            assert!(Refused::CONNECT.contains(&cause));
        }
    }
}

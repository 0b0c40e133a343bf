//! What the adapter counts.

mod refused;

pub(crate) use refused::{ByCause, Refused};

use trunkline_mqtt_wire::QoS;
use trunkline_telemetry::{Counter, Gauge, Metrics as Registry};

use crate::machine::Cause;
use crate::reason::Feature;
use crate::shared::NotJoined;

/// The adapter's metrics, made once.
pub(crate) struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) refused_over_limit: Counter,
    pub(crate) handshakes_failed: Counter,
    pub(crate) published: [Counter; 3],
    pub(crate) connect_refused: ByCause,
    pub(crate) publish_refused: ByCause,
    pub(crate) publish_dropped: ByCause,
    pub(crate) subscribe_refused: ByCause,
    pub(crate) will_denied: Counter,
    pub(crate) will_refused: Counter,
    pub(crate) will_unknown: Counter,
    pub(crate) delivered: [Counter; 3],
    pub(crate) lost_full: Counter,
    pub(crate) lost_trimmed: Counter,
    pub(crate) lost_expired: Counter,
    pub(crate) lost_too_large: Counter,
    pub(crate) lost_revoked: Counter,
    pub(crate) subscriptions_denied: Counter,
    pub(crate) sessions_expired: Counter,
    pub(crate) retained_expired: Counter,
    pub(crate) shared_groups: Gauge,
    pub(crate) shared_again: Counter,
    shared_refused: [Counter; NotJoined::ALL.len()],
    closed: [Counter; Cause::ALL.len()],
    unsupported: [Counter; Feature::ALL.len()],
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let by_qos = |name, help| ["0", "1", "2"].map(|qos| registry.counter(name, help, &[("qos", qos)]));
        let lost = |cause| {
            let help = "Messages that a subscriber did not get, by cause";
            registry.counter("trunkline_mqtt_undelivered_total", help, &[("cause", cause)])
        };
        let will = |cause| {
            let help = "Wills of MQTT clients that were not published, by cause";
            registry.counter("trunkline_mqtt_wills_lost_total", help, &[("cause", cause)])
        };
        let count = |name, help| registry.counter(name, help, &[]);
        Self {
            connections: registry.gauge("trunkline_mqtt_connections", "Open MQTT connections", &[]),
            refused_over_limit: count(
                "trunkline_mqtt_connections_over_limit_total",
                "Connections closed at once because there were too many",
            ),
            handshakes_failed: count(
                "trunkline_mqtt_handshakes_failed_total",
                "Connections that ended in a handshake below MQTT, such as TLS",
            ),
            published: by_qos("trunkline_mqtt_published_total", "Messages taken from MQTT clients"),
            connect_refused: ByCause::of_connects(registry),
            publish_refused: ByCause::of_publishes(registry),
            publish_dropped: ByCause::of_drops(registry),
            subscribe_refused: ByCause::of_filters(registry),
            will_denied: will("denied"),
            will_refused: will("refused"),
            will_unknown: count(
                "trunkline_mqtt_wills_retried_total",
                "Attempts to publish a will that were not answered; each is followed by another",
            ),
            delivered: by_qos("trunkline_mqtt_delivered_total", "Messages sent to MQTT clients"),
            lost_full: lost("queue_full"),
            lost_trimmed: lost("trimmed"),
            lost_expired: lost("expired"),
            lost_too_large: lost("too_large"),
            lost_revoked: lost("revoked"),
            subscriptions_denied: count(
                "trunkline_mqtt_subscriptions_denied_total",
                "Subscriptions of MQTT sessions that were removed since their clients may not have them any more",
            ),
            sessions_expired: count(
                "trunkline_mqtt_sessions_expired_total",
                "MQTT sessions whose time was over",
            ),
            retained_expired: count(
                "trunkline_mqtt_retained_expired_total",
                "Retained messages whose time was over",
            ),
            shared_groups: registry.gauge("trunkline_mqtt_shared_groups", "Groups of shared subscriptions", &[]),
            shared_again: count(
                "trunkline_mqtt_shared_again_total",
                "Messages of shared subscriptions that a member left undone and another was to get",
            ),
            shared_refused: NotJoined::ALL.map(|cause| {
                let help = "Shared subscriptions that were refused, by cause";
                registry.counter("trunkline_mqtt_shared_refused_total", help, &[("cause", cause.name())])
            }),
            closed: Cause::ALL.map(|cause| {
                let help = "MQTT connections that ended, by cause";
                registry.counter("trunkline_mqtt_closed_total", help, &[("cause", cause.name())])
            }),
            unsupported: Feature::ALL.map(|feature| {
                let help = "Uses of features that are not offered";
                registry.counter("trunkline_mqtt_unsupported_total", help, &[("feature", feature.name())])
            }),
        }
    }

    pub(crate) fn closed(&self, cause: Cause) -> &Counter {
        &self.closed[Cause::ALL.iter().position(|other| *other == cause).unwrap_or_default()]
    }

    pub(crate) const fn shared_refused(&self, cause: NotJoined) -> &Counter {
        &self.shared_refused[cause as usize]
    }

    pub(crate) fn unsupported(&self, feature: Feature) -> &Counter {
        &self.unsupported[Feature::ALL
            .iter()
            .position(|other| *other == feature)
            .unwrap_or_default()]
    }
}

/// The counter of one QoS.
pub(crate) const fn of_qos(counters: &[Counter; 3], qos: QoS) -> &Counter {
    &counters[qos as usize]
}

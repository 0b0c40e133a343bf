//! What an operator may choose of a connection.

use trunkline_mqtt_wire::Limits;

use crate::config::{DeniedPublish, Refusals};
use crate::limits::{
    CONNECT_BYTES_MAX, KEEP_ALIVE_S_MAX, RECEIVE_MAX, SUBSCRIPTIONS_MAX, TOPIC_ALIASES_MAX, TOPIC_BYTES_MAX,
};

/// What an operator may choose.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Bytes of a message's payload.
    pub payload_bytes_max: usize,
    /// What is read at most, beside [`Limits::packet_bytes_max`], which follows from the payload.
    pub limits: Limits,
    /// Seconds of keep alive that are granted at most.
    pub keep_alive_s_max: u16,
    /// Messages at QoS 1 and 2 that a client may have under way to us, [`RECEIVE_MAX`] at most: the Receive Maximum that is announced.
    pub receive_max: u16,
    /// Topic aliases that an MQTT 5 client may give on a connection, [`TOPIC_ALIASES_MAX`] at most.
    pub topic_alias_max: u16,
    /// What becomes of a 3.1.1 client that publishes where it may not.
    pub denied_publish: DeniedPublish,
    /// How much is said of why something was refused.
    pub refusals: Refusals,
    /// Whether the publisher of a message at QoS 1 is told that nobody subscribed to its topic, neither when it came nor when the log had
    /// it: No Matching Subscribers (MQTT 5, 3.4.2.1). Only for a node that is alone and began without sessions; it tells nobody any more
    /// once it has kept a session, which may be away and subscribe. Off by default: what is stored was not published in vain.
    pub tells_unheard: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            payload_bytes_max: trunkline_bus::envelope::PAYLOAD_BYTES_DEFAULT,
            limits: Limits {
                connect_bytes_max: CONNECT_BYTES_MAX,
                topic_bytes_max: TOPIC_BYTES_MAX,
                subscriptions_max: u16::try_from(SUBSCRIPTIONS_MAX).unwrap_or(u16::MAX),
                ..Limits::default()
            },
            keep_alive_s_max: KEEP_ALIVE_S_MAX,
            receive_max: RECEIVE_MAX,
            topic_alias_max: TOPIC_ALIASES_MAX,
            denied_publish: DeniedPublish::default(),
            refusals: Refusals::default(),
            tells_unheard: false,
        }
    }
}

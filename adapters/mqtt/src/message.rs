//! A message on its way to subscribers: shared by all of them, with what they share encoded once.

use std::sync::{Arc, OnceLock};

use trunkline_core::{ChannelId, DomainId};
use trunkline_mqtt_wire::{
    PropertyId, PropertyOrder, PublishProperties, QoS, SharedProperties, UserProperty, Utf8Bytes,
};
use trunkline_proto::messages::v1::Envelope;

use crate::limits::{MESSAGE_OVERHEAD_BYTES, USER_PROPERTY_OVERHEAD_BYTES};

/// One message.
#[derive(Debug)]
pub(crate) struct Message {
    envelope: Arc<Envelope>,
    /// Its place in the log; `None` for one that is delivered before it is durable.
    sequence: Option<u64>,
    place: Option<(DomainId, ChannelId)>,
    bytes: usize,
    shared: OnceLock<SharedProperties>,
}

impl Message {
    pub(crate) fn new(envelope: Arc<Envelope>, sequence: Option<u64>) -> Self {
        let domain_id = DomainId::from_slice(&envelope.domain_id);
        Self {
            bytes: bytes_of(&envelope),
            place: domain_id.zip(ChannelId::from_slice(&envelope.channel_id)),
            envelope,
            sequence,
            shared: OnceLock::new(),
        }
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    pub(crate) const fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// Where it was published to.
    pub(crate) const fn place(&self) -> Option<(DomainId, ChannelId)> {
        self.place
    }

    /// QoS of a delivery by a subscription that was granted `granted`.
    pub(crate) fn qos_for(&self, granted: QoS) -> QoS {
        match self.envelope.qos {
            0 => QoS::AtMostOnce,
            1 => granted.min(QoS::AtLeastOnce),
            _ => granted,
        }
    }

    /// Bytes that it counts as in a queue.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The properties that every MQTT 5 subscriber gets. What MQTT cannot express, having come by another protocol, is left out.
    pub(crate) fn shared(&self) -> &SharedProperties {
        self.shared
            .get_or_init(|| SharedProperties::of(&properties(&self.envelope)).unwrap_or_default())
    }
}

/// What an envelope takes in memory, about: all that its publisher decides the size of, and what every one has.
fn bytes_of(envelope: &Envelope) -> usize {
    let user_properties = envelope.user_properties.iter();
    let user_properties = user_properties
        .map(|property| USER_PROPERTY_OVERHEAD_BYTES + property.name.len() + property.value.len())
        .sum::<usize>();
    MESSAGE_OVERHEAD_BYTES
        + envelope.payload.len()
        + envelope.subtopic.len()
        + envelope.content_type.len()
        + envelope.response_topic.len()
        + envelope.correlation_data.len()
        // Once as they came, and once more as every MQTT 5 subscriber gets them.
        + 2 * user_properties
}

fn properties(envelope: &Envelope) -> PublishProperties {
    let text = |text: &str| Utf8Bytes::try_from(text).ok();
    let user_property = |property: &trunkline_proto::messages::v1::UserProperty| {
        Some(UserProperty {
            name: Utf8Bytes::try_from(property.name.as_str()).ok()?,
            value: Utf8Bytes::try_from(property.value.as_str()).ok()?,
        })
    };
    let order = PropertyOrder::from_bytes(&envelope.property_order).unwrap_or_default();
    // What is empty was given where the order names it.
    let was_given = |is_empty: bool, id| !is_empty || order.names(id);
    let (content_type, correlation_data) = (&envelope.content_type, &envelope.correlation_data);
    PublishProperties {
        payload_is_utf8: was_given(!envelope.payload_is_text, PropertyId::PayloadFormatIndicator)
            .then_some(envelope.payload_is_text),
        content_type: text(content_type).filter(|text| was_given(text.is_empty(), PropertyId::ContentType)),
        response_topic: text(&envelope.response_topic).filter(|text| !text.is_empty()),
        correlation_data: was_given(correlation_data.is_empty(), PropertyId::CorrelationData)
            .then(|| correlation_data.clone()),
        user_properties: envelope.user_properties.iter().filter_map(user_property).collect(),
        order,
        ..PublishProperties::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_with_its_user_properties() {
        let property = trunkline_proto::messages::v1::UserProperty {
            name: "n".repeat(100),
            value: "v".repeat(900),
        };
        let envelope = Envelope {
            user_properties: vec![property; 50],
            ..Envelope::default()
        };
        assert!(Message::new(Arc::new(envelope), None).bytes() >= 50 * 1_000);
    }
}

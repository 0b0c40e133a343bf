//! The envelope of a message: what the publisher says of it, stamped with who published it, where and when.

use bytes::Bytes;
use trunkline_core::{Clock, MessageId};
use trunkline_proto::messages::v1::{Envelope, Protocol, Publisher, PublisherKind, UserProperty};

use crate::{Permit, Session};

/// A message as its publisher gave it. Nothing in it says who that is.
#[derive(Debug, Clone, Default)]
pub struct Publication {
    /// Protocol that it came by.
    pub protocol: Protocol,
    /// MQTT quality of service, or the one whose promise the protocol makes.
    pub qos: u8,
    /// Whether it is to be retained.
    pub retain: bool,
    /// Media type; empty when none was given.
    pub content_type: String,
    /// Seconds after which undelivered copies lapse.
    pub expires_after_s: Option<u32>,
    /// Topic for an answer; empty when there is none.
    pub response_topic: String,
    /// Correlation data of a request.
    pub correlation_data: Bytes,
    /// User properties in their order.
    pub user_properties: Vec<UserProperty>,
    /// Whether the payload was declared to be UTF-8 text.
    pub payload_is_text: bool,
    /// Where MQTT's properties stood among the user properties, as the envelope has it.
    pub property_order: Bytes,
    /// The message itself.
    pub payload: Bytes,
}

/// The envelope of `publication` by `session`, admitted now to `topic` by `permit`. It is not traced yet: that is [`PublishTrace`]'s to say.
///
/// [`PublishTrace`]: crate::PublishTrace
pub fn stamp(session: &Session, permit: &Permit, topic: &str, publication: Publication, clock: &dyn Clock) -> Envelope {
    let received_at = clock.now_ns();
    let expires_at = publication.expires_after_s.map_or(0, |after_s| {
        received_at.saturating_add(i64::from(after_s) * 1_000_000_000).max(1)
    });
    let publisher_id = Bytes::copy_from_slice(session.client_id().as_bytes());
    Envelope {
        id: Bytes::copy_from_slice(MessageId::new().as_bytes()),
        domain_id: Bytes::copy_from_slice(permit.domain_id().as_bytes()),
        channel_id: Bytes::copy_from_slice(permit.channel_id().as_bytes()),
        subtopic: permit.subtopic(topic).to_owned(),
        publisher: Some(Publisher {
            kind: PublisherKind::Client.into(),
            id: publisher_id.clone(),
            credential_id: Bytes::copy_from_slice(session.credential_id().as_bytes()),
        }),
        device_id: publisher_id,
        session_id: Bytes::copy_from_slice(session.id().as_bytes()),
        protocol: publication.protocol.into(),
        content_type: publication.content_type,
        received_at,
        qos: publication.qos.into(),
        retain: publication.retain,
        expires_at,
        response_topic: publication.response_topic,
        correlation_data: publication.correlation_data,
        user_properties: publication.user_properties,
        traceparent: String::new(),
        cause: None,
        payload: publication.payload,
        payload_is_text: publication.payload_is_text,
        property_order: publication.property_order,
    }
}

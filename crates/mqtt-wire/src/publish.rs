//! PUBLISH on the wire, and the short way to send one message to many.

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};

use crate::decoder::Context;
use crate::encoder::packet_bytes;
use crate::reader::Reader;
use crate::slot::{Block, Slot};
use crate::writer::{Measure, Sink};
use crate::{
    DecodeError, EncodeError, PacketId, PacketType, PropertyId, Publish, PublishProperties, QoS, Role, SubscriptionId,
    Utf8Bytes, Version, topic,
};

const TOPIC: &str = "the topic";
const DUP: u8 = 1 << 3;
const QOS_SHIFT: u8 = 1;
const RETAIN: u8 = 1;

impl Publish {
    pub(crate) fn read(mut reader: Reader, context: &Context<'_>) -> Result<Self, DecodeError> {
        let qos = QoS::from_u8(context.flags >> QOS_SHIFT & 3).ok_or(DecodeError::PublishQos)?;
        let topic = read_topic(&mut reader, context)?;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id(context.packet)?),
        };
        let properties = match context.version {
            Version::V3 => None,
            Version::V5 => read_properties(&mut reader, context)?,
        };
        if topic.is_empty()
            && properties
                .as_ref()
                .is_none_or(|properties| properties.topic_alias.is_none())
        {
            return Err(DecodeError::TopicMissing);
        }
        Ok(Self {
            dup: context.flags & DUP != 0,
            qos,
            retain: context.flags & RETAIN != 0,
            topic,
            packet_id,
            properties,
            payload: reader.rest(),
        })
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        let has_alias = self
            .properties
            .as_ref()
            .is_some_and(|properties| properties.topic_alias.is_some());
        check_topic(&self.topic, has_alias && version == Version::V5, sink);
        write_head(&self.topic, self.qos, self.packet_id, sink);
        if version == Version::V5 {
            match &self.properties {
                Some(properties) => properties.write(sink),
                None => sink.u8(0),
            }
        }
        sink.raw(&self.payload);
    }

    pub(crate) fn flags(&self) -> u8 {
        flags(self.dup, self.qos, self.retain)
    }
}

/// A message on its way to one of many subscribers: what they share is encoded once, what differs is put around it.
///
/// Nothing is allocated but the room in the buffer.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Whether this may have been sent before.
    pub dup: bool,
    /// The QoS of this delivery.
    pub qos: QoS,
    /// The retain flag of this delivery.
    pub retain: bool,
    /// The topic; empty where the alias stands for it.
    pub topic: &'a str,
    /// Needed at QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// What is left of the message's life, in seconds.
    pub message_expiry_s: Option<u32>,
    /// The alias on this connection.
    pub topic_alias: Option<NonZeroU16>,
    /// The subscriptions of this client that matched.
    pub subscription_ids: &'a [SubscriptionId],
    /// The properties that all subscribers get.
    pub shared: &'a SharedProperties,
    /// The application's bytes.
    pub payload: &'a [u8],
}

/// Encoded properties of a message that are the same for every subscriber. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedProperties(Bytes);

impl SharedProperties {
    /// Encodes payload format, response topic, correlation data, user properties and content type, in their order. Expiry, alias and
    /// subscription identifiers belong to a delivery and are left to [`Outgoing`].
    ///
    /// # Errors
    /// A value that cannot be encoded.
    pub fn of(properties: &PublishProperties) -> Result<Self, EncodeError> {
        let mut measure = Measure::default();
        write_shared(properties, &mut measure);
        let mut block = BytesMut::with_capacity(measure.finish()? as usize);
        write_shared(properties, &mut block);
        Ok(Self(block.freeze()))
    }
}

impl Outgoing<'_> {
    /// Appends the packet and tells how many bytes it took.
    ///
    /// # Errors
    /// The packet breaks a rule of the standard. The buffer is as it was.
    pub fn encode(&self, version: Version, buffer: &mut BytesMut) -> Result<usize, EncodeError> {
        let remaining = self.remaining(version)?;
        let bytes = packet_bytes(remaining);
        buffer.reserve(bytes);
        self.write_front(version, remaining, buffer);
        buffer.raw(self.payload);
        Ok(bytes)
    }

    /// Appends all but the payload, for a caller that sends the payload from where it lies; tells the bytes of the
    /// whole packet.
    ///
    /// # Errors
    /// The packet breaks a rule of the standard. The buffer is as it was.
    pub fn encode_front(&self, version: Version, buffer: &mut BytesMut) -> Result<usize, EncodeError> {
        let remaining = self.remaining(version)?;
        let bytes = packet_bytes(remaining);
        buffer.reserve(bytes - self.payload.len());
        self.write_front(version, remaining, buffer);
        Ok(bytes)
    }

    /// How many bytes the packet takes, to be held against the peer's Maximum Packet Size.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn encoded_bytes(&self, version: Version) -> Result<usize, EncodeError> {
        self.remaining(version).map(packet_bytes)
    }

    fn remaining(&self, version: Version) -> Result<u32, EncodeError> {
        let mut measure = Measure::default();
        check_topic(
            self.topic,
            self.topic_alias.is_some() && version == Version::V5,
            &mut measure,
        );
        self.write_variable_header(version, &mut measure);
        measure.raw(self.payload);
        measure.finish()
    }

    fn write_front(&self, version: Version, remaining: u32, buffer: &mut BytesMut) {
        buffer.u8((PacketType::Publish as u8) << 4 | flags(self.dup, self.qos, self.retain));
        buffer.varint(remaining);
        self.write_variable_header(version, buffer);
    }

    fn write_variable_header<S: Sink>(&self, version: Version, sink: &mut S) {
        write_head(self.topic, self.qos, self.packet_id, sink);
        if version == Version::V3 {
            return;
        }
        let mut own = Measure::default();
        self.write_own(&mut own);
        own.raw(&self.shared.0);
        match own.finish() {
            Ok(length) => sink.varint(length),
            Err(fault) => sink.check(Err(fault)),
        }
        self.write_own(sink);
        sink.raw(&self.shared.0);
    }

    fn write_own<S: Sink>(&self, sink: &mut S) {
        self.message_expiry_s.write(PropertyId::MessageExpiryInterval, sink);
        self.topic_alias.write(PropertyId::TopicAlias, sink);
        for id in self.subscription_ids {
            sink.u8(PropertyId::SubscriptionIdentifier as u8);
            sink.varint(id.get());
        }
    }
}

fn read_topic(reader: &mut Reader, context: &Context<'_>) -> Result<Utf8Bytes, DecodeError> {
    match context.version {
        // An alias, which comes later, may stand for it.
        Version::V5 if reader.is_next_empty() => reader.text(TOPIC),
        Version::V3 | Version::V5 => reader.topic_name(TOPIC, context.limits),
    }
}

/// The most frequent block is the empty one: no struct is made for it.
fn read_properties(reader: &mut Reader, context: &Context<'_>) -> Result<Option<Box<PublishProperties>>, DecodeError> {
    if reader.skip_empty_block() {
        return Ok(None);
    }
    let properties = PublishProperties::read(reader, context.limits)?;
    if context.role == Role::Server && !properties.subscription_ids.is_empty() {
        return Err(DecodeError::PropertyDirection(PropertyId::SubscriptionIdentifier));
    }
    Ok(Some(Box::new(properties)))
}

fn check_topic<S: Sink>(name: &str, has_alias: bool, sink: &mut S) {
    sink.check(match name.is_empty() {
        true if has_alias => Ok(()),
        true => Err(EncodeError::TopicMissing),
        false => topic::valid_name(name).map_err(|cause| EncodeError::Topic { field: TOPIC, cause }),
    });
}

/// Topic and packet identifier; at QoS 0 there is none, whatever the caller has.
fn write_head<S: Sink>(topic: &str, qos: QoS, packet_id: Option<PacketId>, sink: &mut S) {
    sink.binary(topic.as_bytes(), TOPIC);
    if qos != QoS::AtMostOnce {
        match packet_id {
            Some(id) => sink.u16(id.get()),
            None => sink.check(Err(EncodeError::PacketIdMissing)),
        }
    }
}

fn write_shared<S: Sink>(properties: &PublishProperties, sink: &mut S) {
    properties
        .order
        .write_travelling(properties, &properties.user_properties, sink);
}

fn flags(dup: bool, qos: QoS, retain: bool) -> u8 {
    let mut flags = (qos as u8) << QOS_SHIFT;
    if dup && qos != QoS::AtMostOnce {
        flags |= DUP;
    }
    if retain {
        flags |= RETAIN;
    }
    flags
}

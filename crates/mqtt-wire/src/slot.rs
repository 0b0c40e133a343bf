//! How one property is read into its field and written from it, and how a block of them is.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;

use crate::property::{PropertyId, SubscriptionId, UserProperty};
use crate::reader::Reader;
use crate::writer::{Measure, Sink};
use crate::{DecodeError, EncodeError, Limits, QoS, Secret, Utf8Bytes, topic};

/// The properties of one packet.
pub(crate) trait Block: Default {
    /// Reads the value of this property into its field.
    fn read_one(&mut self, id: PropertyId, reader: &mut Reader, limits: &Limits) -> Result<(), DecodeError>;

    /// Writes this property where it is present.
    fn write_one<S: Sink>(&self, id: PropertyId, sink: &mut S);

    /// Writes all that are present, as they are listed.
    fn write_listed<S: Sink>(&self, sink: &mut S);

    /// Everything was read.
    fn settle(&mut self) {}

    /// Writes all that are present.
    fn write_all<S: Sink>(&self, sink: &mut S) {
        self.write_listed(sink);
    }

    /// Reads a whole block with its length.
    fn read(reader: &mut Reader, limits: &Limits) -> Result<Self, DecodeError> {
        let length = reader.varint("the property length")?;
        let mut block = reader.block(length, "the property block")?;
        let mut properties = Self::default();
        while !block.is_empty() {
            let value = block.varint("a property identifier")?;
            let id = PropertyId::from_u32(value).ok_or(DecodeError::PropertyUnknown(value))?;
            properties.read_one(id, &mut block, limits)?;
        }
        properties.settle();
        Ok(properties)
    }

    /// Writes a whole block with its length.
    fn write<S: Sink>(&self, sink: &mut S) {
        let mut measure = Measure::default();
        self.write_all(&mut measure);
        match measure.finish() {
            Ok(length) => sink.varint(length),
            Err(fault) => sink.check(Err(fault)),
        }
        self.write_all(sink);
    }
}

/// The field of a property: absent or present once, or a list for those that may repeat.
pub(crate) trait Slot {
    fn read(&mut self, id: PropertyId, reader: &mut Reader, limits: &Limits) -> Result<(), DecodeError>;
    fn write<S: Sink>(&self, id: PropertyId, sink: &mut S);
}

impl<T: Value> Slot for Option<T> {
    fn read(&mut self, id: PropertyId, reader: &mut Reader, _: &Limits) -> Result<(), DecodeError> {
        if self.is_some() {
            return Err(DecodeError::PropertyTwice(id));
        }
        *self = Some(T::read(id, reader)?);
        Ok(())
    }

    fn write<S: Sink>(&self, id: PropertyId, sink: &mut S) {
        if let Some(value) = self
            && value.is_sayable()
        {
            sink.u8(id as u8);
            value.write(id, sink);
        }
    }
}

impl Slot for Vec<UserProperty> {
    fn read(&mut self, id: PropertyId, reader: &mut Reader, limits: &Limits) -> Result<(), DecodeError> {
        if self.len() >= usize::from(limits.user_properties_max) {
            return Err(DecodeError::TooManyUserProperties(limits.user_properties_max));
        }
        self.push(UserProperty {
            name: reader.text(id.name())?,
            value: reader.text(id.name())?,
        });
        Ok(())
    }

    fn write<S: Sink>(&self, _: PropertyId, sink: &mut S) {
        for property in self {
            write_user_property(property, sink);
        }
    }
}

pub(crate) fn write_user_property<S: Sink>(property: &UserProperty, sink: &mut S) {
    let id = PropertyId::UserProperty;
    sink.u8(id as u8);
    sink.binary(property.name.as_bytes(), id.name());
    sink.binary(property.value.as_bytes(), id.name());
}

impl Slot for Vec<SubscriptionId> {
    /// Bounded by the packet: two bytes of it make four here. A server refuses the property altogether.
    fn read(&mut self, id: PropertyId, reader: &mut Reader, _: &Limits) -> Result<(), DecodeError> {
        self.push(SubscriptionId::read(id, reader)?);
        Ok(())
    }

    fn write<S: Sink>(&self, id: PropertyId, sink: &mut S) {
        for subscription in self {
            sink.u8(id as u8);
            subscription.write(id, sink);
        }
    }
}

/// The value of a property.
pub(crate) trait Value: Sized {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, DecodeError>;
    fn write<S: Sink>(&self, id: PropertyId, sink: &mut S);

    /// Whether the wire has a form for it; else it is said by absence.
    fn is_sayable(&self) -> bool {
        true
    }
}

impl Value for bool {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, DecodeError> {
        match reader.u8(id.name())? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::PropertyValue(id)),
        }
    }

    fn write<S: Sink>(&self, _: PropertyId, sink: &mut S) {
        sink.u8(u8::from(*self));
    }
}

impl Value for QoS {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, DecodeError> {
        match reader.u8(id.name())? {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            _ => Err(DecodeError::PropertyValue(id)),
        }
    }

    fn write<S: Sink>(&self, _: PropertyId, sink: &mut S) {
        sink.u8(*self as u8);
    }

    fn is_sayable(&self) -> bool {
        *self != Self::ExactlyOnce
    }
}

impl Value for u16 {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, DecodeError> {
        reader.u16(id.name())
    }

    fn write<S: Sink>(&self, _: PropertyId, sink: &mut S) {
        sink.u16(*self);
    }
}

impl Value for u32 {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, DecodeError> {
        reader.u32(id.name())
    }

    fn write<S: Sink>(&self, _: PropertyId, sink: &mut S) {
        sink.u32(*self);
    }
}

impl Value for NonZeroU16 {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, DecodeError> {
        Self::new(reader.u16(id.name())?).ok_or(DecodeError::PropertyValue(id))
    }

    fn write<S: Sink>(&self, _: PropertyId, sink: &mut S) {
        sink.u16(self.get());
    }
}

impl Value for NonZeroU32 {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, DecodeError> {
        Self::new(reader.u32(id.name())?).ok_or(DecodeError::PropertyValue(id))
    }

    fn write<S: Sink>(&self, _: PropertyId, sink: &mut S) {
        sink.u32(self.get());
    }
}

impl Value for SubscriptionId {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, DecodeError> {
        Self::new(reader.varint(id.name())?).ok_or(DecodeError::PropertyValue(id))
    }

    fn write<S: Sink>(&self, _: PropertyId, sink: &mut S) {
        sink.varint(self.get());
    }
}

impl Value for Utf8Bytes {
    /// A response topic is the only text with a rule of its own: it is a topic name ([MQTT-3.3.2-14]).
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, DecodeError> {
        let text = reader.text(id.name())?;
        if id == PropertyId::ResponseTopic {
            topic::valid_name(&text).map_err(|cause| DecodeError::Topic {
                field: id.name(),
                cause,
            })?;
        }
        Ok(text)
    }

    fn write<S: Sink>(&self, id: PropertyId, sink: &mut S) {
        if id == PropertyId::ResponseTopic {
            let field = id.name();
            sink.check(topic::valid_name(self).map_err(|cause| EncodeError::Topic { field, cause }));
        }
        sink.binary(self.as_bytes(), id.name());
    }
}

impl Value for Bytes {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, DecodeError> {
        reader.binary(id.name())
    }

    fn write<S: Sink>(&self, id: PropertyId, sink: &mut S) {
        sink.binary(self, id.name());
    }
}

impl Value for Secret {
    fn read(id: PropertyId, reader: &mut Reader) -> Result<Self, DecodeError> {
        reader.binary(id.name()).map(Self::from)
    }

    fn write<S: Sink>(&self, id: PropertyId, sink: &mut S) {
        sink.binary(self.reveal(), id.name());
    }
}

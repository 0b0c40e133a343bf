//! Packets that are mostly a reason: PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT and AUTH on the wire.
//!
//! Their short forms are used whenever they say the same.

use crate::decoder::Context;
use crate::reader::Reader;
use crate::slot::Block;
use crate::writer::Sink;
use crate::{
    Ack, AckProperties, Auth, AuthProperties, DecodeError, Disconnect, DisconnectProperties, EncodeError, PacketType,
    PropertyId, ReasonCode, Role, Version,
};

impl Ack {
    pub(crate) fn read(mut reader: Reader, context: &Context<'_>) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id(context.packet)?;
        let mut ack = Self::success(packet_id);
        if context.version == Version::V5 && !reader.is_empty() {
            ack.reason = reader.reason(context.packet)?;
            if !reader.is_empty() {
                ack.properties = AckProperties::read(&mut reader, context.limits)?;
            }
        }
        reader.end(context.packet)?;
        Ok(ack)
    }

    pub(crate) fn write<S: Sink>(&self, packet: PacketType, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        check_reason(packet, self.reason, sink);
        match version {
            Version::V3 if matches!(packet, PacketType::PubAck | PacketType::PubRec) && self.reason.is_error() => {
                sink.check(Err(EncodeError::RefusalInV3(self.reason)));
            }
            Version::V3 => {}
            Version::V5 => write_tail(self.reason, &self.properties, sink),
        }
    }
}

impl Disconnect {
    pub(crate) fn read(mut reader: Reader, context: &Context<'_>) -> Result<Self, DecodeError> {
        let mut disconnect = Self::default();
        if context.version == Version::V5 && !reader.is_empty() {
            disconnect.reason = reader.reason(context.packet)?;
            if !reader.is_empty() {
                disconnect.properties = DisconnectProperties::read(&mut reader, context.limits)?;
            }
        }
        if context.role == Role::Client && disconnect.properties.session_expiry_s.is_some() {
            return Err(DecodeError::PropertyDirection(PropertyId::SessionExpiryInterval));
        }
        reader.end(context.packet)?;
        Ok(disconnect)
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        if version == Version::V5 {
            check_reason(PacketType::Disconnect, self.reason, sink);
            write_tail(self.reason, &self.properties, sink);
        }
    }
}

impl Auth {
    pub(crate) fn read(mut reader: Reader, context: &Context<'_>) -> Result<Self, DecodeError> {
        if reader.is_empty() {
            return Ok(Self::default());
        }
        let reason = reader.reason(context.packet)?;
        let properties = AuthProperties::read(&mut reader, context.limits)?;
        if properties.authentication_method.is_none() {
            return Err(DecodeError::AuthenticationMethodMissing);
        }
        reader.end(context.packet)?;
        Ok(Self { reason, properties })
    }

    pub(crate) fn write<S: Sink>(&self, sink: &mut S) {
        if *self == Self::default() {
            return;
        }
        if self.properties.authentication_method.is_none() {
            sink.check(Err(EncodeError::AuthenticationMethodMissing));
        }
        check_reason(PacketType::Auth, self.reason, sink);
        sink.u8(self.reason as u8);
        self.properties.write(sink);
    }
}

fn check_reason<S: Sink>(packet: PacketType, reason: ReasonCode, sink: &mut S) {
    if !reason.is_allowed_in(packet) {
        sink.check(Err(EncodeError::Reason { packet, reason }));
    }
}

/// Reason and properties, each left out where all that follows is the default.
fn write_tail<S: Sink, B: Block + PartialEq>(reason: ReasonCode, properties: &B, sink: &mut S) {
    let has_properties = *properties != B::default();
    if reason != ReasonCode::Success || has_properties {
        sink.u8(reason as u8);
    }
    if has_properties {
        properties.write(sink);
    }
}

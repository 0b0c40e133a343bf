//! CONNECT and CONNACK on the wire.

use crate::decoder::Context;
use crate::protocol::Protocol;
use crate::reader::Reader;
use crate::slot::Block;
use crate::writer::Sink;
use crate::{
    ConnAck, ConnAckProperties, Connect, ConnectProperties, ConnectReturnCode, DecodeError, EncodeError, PacketType,
    QoS, Secret, Utf8Bytes, Version, Will, WillProperties, topic,
};

const CLEAN_START: u8 = 1 << 1;
const WILL: u8 = 1 << 2;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_RETAIN: u8 = 1 << 5;
const PASSWORD: u8 = 1 << 6;
const USER_NAME: u8 = 1 << 7;

impl Connect {
    /// Reads what follows protocol name and level.
    pub(crate) fn read(mut reader: Reader, protocol: Protocol, context: &Context<'_>) -> Result<Self, DecodeError> {
        let flags = reader.u8("the connect flags")?;
        check_flags(flags, context.version)?;
        let keep_alive_s = reader.u16("the keep alive")?;
        let properties = match context.version {
            Version::V3 => ConnectProperties::default(),
            Version::V5 => ConnectProperties::read(&mut reader, context.limits)?,
        };
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(DecodeError::AuthenticationMethodMissing);
        }
        let clean_start = flags & CLEAN_START != 0;
        let client_id = client_id(&mut reader, context)?;
        if client_id.is_empty() && protocol.needs_client_id(clean_start) {
            return Err(DecodeError::ClientIdMissing);
        }
        let will = match flags & WILL {
            0 => None,
            _ => Some(Will::read(&mut reader, flags, context)?),
        };
        let user_name = match flags & USER_NAME {
            0 => None,
            _ => Some(reader.text("the user name")?),
        };
        let password = match flags & PASSWORD {
            0 => None,
            _ => Some(Secret::from(reader.binary("the password")?)),
        };
        reader.end(context.packet)?;
        Ok(Self {
            is_3_1: protocol.is_3_1,
            is_bridge: protocol.is_bridge,
            clean_start,
            keep_alive_s,
            client_id,
            will,
            user_name,
            password,
            properties,
        })
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.check(self.is_valid(version));
        self.protocol(version).write(sink);
        sink.u8(self.flags());
        sink.u16(self.keep_alive_s);
        if version == Version::V5 {
            self.properties.write(sink);
        }
        sink.binary(self.client_id.as_bytes(), "the client identifier");
        if let Some(will) = &self.will {
            will.write(version, sink);
        }
        if let Some(user_name) = &self.user_name {
            sink.binary(user_name.as_bytes(), "the user name");
        }
        if let Some(password) = &self.password {
            sink.binary(password.reveal(), "the password");
        }
    }

    const fn protocol(&self, version: Version) -> Protocol {
        Protocol {
            version,
            is_3_1: self.is_3_1,
            is_bridge: self.is_bridge,
        }
    }

    fn is_valid(&self, version: Version) -> Result<(), EncodeError> {
        let has_lone_password = self.password.is_some() && self.user_name.is_none();
        let protocol = self.protocol(version);
        let has_no_session_name = self.client_id.is_empty() && protocol.needs_client_id(self.clean_start);
        match version {
            Version::V5 if self.is_3_1 || self.is_bridge => Err(EncodeError::ConnectInV5),
            Version::V3 if has_lone_password || has_no_session_name => Err(EncodeError::ConnectInV3),
            Version::V5
                if self.properties.authentication_data.is_some() && self.properties.authentication_method.is_none() =>
            {
                Err(EncodeError::AuthenticationMethodMissing)
            }
            Version::V3 | Version::V5 => Ok(()),
        }
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= WILL | (will.qos as u8) << WILL_QOS_SHIFT;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        if self.user_name.is_some() {
            flags |= USER_NAME;
        }
        flags
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    let will_qos = flags >> WILL_QOS_SHIFT & 3;
    if flags & 1 != 0 {
        return Err(DecodeError::ConnectFlagReserved);
    }
    if flags & WILL == 0 && (will_qos != 0 || flags & WILL_RETAIN != 0) {
        return Err(DecodeError::WillFlagsWithoutWill);
    }
    if will_qos == 3 {
        return Err(DecodeError::WillQos);
    }
    if version == Version::V3 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    Ok(())
}

fn client_id(reader: &mut Reader, context: &Context<'_>) -> Result<Utf8Bytes, DecodeError> {
    let client_id = reader.text("the client identifier")?;
    let bytes_max = context.limits.client_id_bytes_max;
    if client_id.len() > usize::from(bytes_max) {
        return Err(DecodeError::ClientIdTooLong {
            bytes: client_id.len(),
            bytes_max,
        });
    }
    Ok(client_id)
}

impl Will {
    fn read(reader: &mut Reader, flags: u8, context: &Context<'_>) -> Result<Self, DecodeError> {
        let properties = match context.version {
            Version::V3 => WillProperties::default(),
            Version::V5 => WillProperties::read(reader, context.limits)?,
        };
        Ok(Self {
            qos: QoS::from_u8(flags >> WILL_QOS_SHIFT & 3).ok_or(DecodeError::WillQos)?,
            retain: flags & WILL_RETAIN != 0,
            topic: reader.topic_name("the will topic", context.limits)?,
            payload: reader.binary("the will payload")?,
            properties,
        })
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        let field = "the will topic";
        sink.check(topic::valid_name(&self.topic).map_err(|cause| EncodeError::Topic { field, cause }));
        if version == Version::V5 {
            self.properties.write(sink);
        }
        sink.binary(self.topic.as_bytes(), field);
        sink.binary(&self.payload, "the will payload");
    }
}

impl ConnAck {
    pub(crate) fn read(mut reader: Reader, context: &Context<'_>) -> Result<Self, DecodeError> {
        let flags = reader.u8("the acknowledge flags")?;
        let (reason, properties) = match context.version {
            Version::V3 => (return_code(&mut reader)?.into(), ConnAckProperties::default()),
            Version::V5 => (
                reader.reason(context.packet)?,
                ConnAckProperties::read(&mut reader, context.limits)?,
            ),
        };
        if flags > 1 || (flags == 1 && reason.is_error()) {
            return Err(DecodeError::ConnAckFlags(flags));
        }
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(DecodeError::AuthenticationMethodMissing);
        }
        reader.end(context.packet)?;
        Ok(Self {
            session_present: flags == 1,
            reason,
            properties,
        })
    }

    pub(crate) fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        let (packet, reason) = (PacketType::ConnAck, self.reason);
        if !reason.is_allowed_in(packet) {
            sink.check(Err(EncodeError::Reason { packet, reason }));
        }
        if self.properties.authentication_data.is_some() && self.properties.authentication_method.is_none() {
            sink.check(Err(EncodeError::AuthenticationMethodMissing));
        }
        sink.u8(u8::from(self.session_present && !reason.is_error()));
        match version {
            Version::V3 => sink.u8(ConnectReturnCode::from(reason) as u8),
            Version::V5 => {
                sink.u8(reason as u8);
                self.properties.write(sink);
            }
        }
    }
}

fn return_code(reader: &mut Reader) -> Result<ConnectReturnCode, DecodeError> {
    let code = reader.u8("the return code")?;
    ConnectReturnCode::from_u8(code).ok_or(DecodeError::Reason {
        packet: PacketType::ConnAck,
        code,
    })
}

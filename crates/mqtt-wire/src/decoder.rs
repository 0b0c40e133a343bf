//! From received bytes to packets: the fixed header, then the body by its type.

use bytes::{Buf, Bytes, BytesMut};

use crate::protocol::Protocol;
use crate::reader::{self, Reader};
use crate::{
    Ack, Auth, ConnAck, Connect, DecodeError, Disconnect, Limits, Packet, PacketId, PacketType, Publish, QoS, Role,
    SubAck, Subscribe, Unsubscribe, Version,
};

/// Decodes the packets of one connection, in their order.
///
/// It holds no bytes. An error is final: the connection cannot go on, and what the decoder says afterwards means
/// nothing.
#[derive(Debug, Clone)]
pub struct Decoder {
    role: Role,
    version: Option<Version>,
    is_3_1: bool,
    has_connected: bool,
    limits: Limits,
}

/// What the body of a packet is read with.
pub(crate) struct Context<'a> {
    pub(crate) packet: PacketType,
    pub(crate) flags: u8,
    pub(crate) version: Version,
    pub(crate) role: Role,
    pub(crate) limits: &'a Limits,
}

/// A fixed header that may be here.
struct Header {
    packet: PacketType,
    flags: u8,
    /// Bytes of the header itself, 2 to 5.
    header_bytes: usize,
    /// Bytes of header and body.
    packet_bytes: usize,
}

impl Decoder {
    /// For a server: the version is learned from the CONNECT, which must come first.
    #[must_use]
    pub const fn server(limits: Limits) -> Self {
        Self {
            role: Role::Server,
            version: None,
            is_3_1: false,
            has_connected: false,
            limits,
        }
    }

    /// For a client, which knows the version that it asked for.
    #[must_use]
    pub const fn client(version: Version, limits: Limits) -> Self {
        Self {
            role: Role::Client,
            version: Some(version),
            is_3_1: false,
            has_connected: true,
            limits,
        }
    }

    /// The version spoken. At a server it is known as soon as a CONNECT was read, refused ones included, so that a
    /// CONNACK can say why; after [`DecodeError::ProtocolLevel`] it is the version nearest to what the client asked for.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// The limits in force.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes the next packet off the front of the buffer; `None` while it is incomplete. While it is, only the header
    /// is read again by the next call, and nothing is reserved for what is still to come.
    ///
    /// # Errors
    /// The bytes are no packet that may be here.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        let Some(header) = self.header(buffer)? else {
            return Ok(None);
        };
        if buffer.len() < header.packet_bytes {
            return Ok(None);
        }
        if let Some(ack) = bare_ack(&header, buffer)? {
            buffer.advance(header.packet_bytes);
            return Ok(Some(ack));
        }
        let mut frame = buffer.split_to(header.packet_bytes).freeze();
        frame.advance(header.header_bytes);
        self.body(&header, frame).map(Some)
    }

    /// Reads the fixed header; `None` while it is incomplete. The first byte is judged without waiting for the second.
    fn header(&self, buffer: &[u8]) -> Result<Option<Header>, DecodeError> {
        let Some((&first, rest)) = buffer.split_first() else {
            return Ok(None);
        };
        let (kind, flags) = (first >> 4, first & 0x0F);
        let packet = PacketType::from_u8(kind).ok_or(DecodeError::ReservedType(kind))?;
        self.may_arrive(packet)?;
        check_flags(packet, flags, self.is_3_1)?;
        let Some((length, length_bytes)) = reader::varint(rest, "the remaining length")? else {
            return Ok(None);
        };
        let header_bytes = 1 + length_bytes;
        let bytes = length + header_bytes as u32;
        let bytes_max = match packet {
            PacketType::Connect => self.limits.connect_bytes_max,
            _ => self.limits.packet_bytes_max,
        };
        if bytes > bytes_max {
            return Err(DecodeError::PacketTooLarge {
                packet,
                bytes,
                bytes_max,
            });
        }
        Ok(Some(Header {
            packet,
            flags,
            header_bytes,
            packet_bytes: bytes as usize,
        }))
    }

    /// Direction, and the place of CONNECT.
    fn may_arrive(&self, packet: PacketType) -> Result<(), DecodeError> {
        let is_v3 = self.version == Some(Version::V3);
        match (packet, self.role) {
            (PacketType::Auth, _) if is_v3 => Err(DecodeError::ReservedType(packet as u8)),
            (PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp, Role::Server)
            | (
                PacketType::Connect | PacketType::Subscribe | PacketType::Unsubscribe | PacketType::PingReq,
                Role::Client,
            ) => Err(DecodeError::Direction(packet)),
            (PacketType::Disconnect, Role::Client) if is_v3 => Err(DecodeError::Direction(packet)),
            (PacketType::Connect, Role::Server) if self.has_connected => Err(DecodeError::SecondConnect),
            (PacketType::Connect, Role::Server) => Ok(()),
            (_, Role::Server) if !self.has_connected => Err(DecodeError::ConnectExpected(packet)),
            _ => Ok(()),
        }
    }

    fn body(&mut self, header: &Header, body: Bytes) -> Result<Packet, DecodeError> {
        if header.packet == PacketType::Connect {
            return self.connect(header, Reader::new(body));
        }
        let reader = Reader::new(body);
        let version = self.version.ok_or(DecodeError::ConnectExpected(header.packet))?;
        let context = self.context(header, version);
        Ok(match header.packet {
            PacketType::Connect => return Err(DecodeError::SecondConnect),
            PacketType::ConnAck => Packet::ConnAck(Box::new(ConnAck::read(reader, &context)?)),
            PacketType::Publish => Packet::Publish(Publish::read(reader, &context)?),
            PacketType::PubAck => Packet::PubAck(Ack::read(reader, &context)?),
            PacketType::PubRec => Packet::PubRec(Ack::read(reader, &context)?),
            PacketType::PubRel => Packet::PubRel(Ack::read(reader, &context)?),
            PacketType::PubComp => Packet::PubComp(Ack::read(reader, &context)?),
            PacketType::Subscribe => Packet::Subscribe(Subscribe::read(reader, &context)?),
            PacketType::SubAck => Packet::SubAck(SubAck::read(reader, &context)?),
            PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe::read(reader, &context)?),
            PacketType::UnsubAck => Packet::UnsubAck(SubAck::read(reader, &context)?),
            PacketType::PingReq => reader.end(header.packet).map(|()| Packet::PingReq)?,
            PacketType::PingResp => reader.end(header.packet).map(|()| Packet::PingResp)?,
            PacketType::Disconnect => Packet::Disconnect(Box::new(Disconnect::read(reader, &context)?)),
            PacketType::Auth => Packet::Auth(Box::new(Auth::read(reader, &context)?)),
        })
    }

    /// CONNECT decides what is spoken from then on.
    fn connect(&mut self, header: &Header, mut reader: Reader) -> Result<Packet, DecodeError> {
        self.has_connected = true;
        let protocol = Protocol::read(&mut reader).map_err(|(error, nearest)| {
            self.version = nearest;
            error
        })?;
        self.version = Some(protocol.version);
        self.is_3_1 = protocol.is_3_1;
        let context = self.context(header, protocol.version);
        Ok(Packet::Connect(Box::new(Connect::read(reader, protocol, &context)?)))
    }

    fn context(&self, header: &Header, version: Version) -> Context<'_> {
        Context {
            packet: header.packet,
            flags: header.flags,
            version,
            role: self.role,
            limits: &self.limits,
        }
    }
}

fn check_flags(packet: PacketType, flags: u8, is_3_1: bool) -> Result<(), DecodeError> {
    let wanted = match packet {
        PacketType::Publish => {
            let qos = QoS::from_u8(flags >> 1 & 3).ok_or(DecodeError::PublishQos)?;
            return match flags & 0b1000 != 0 && qos == QoS::AtMostOnce {
                true => Err(DecodeError::PublishDup),
                false => Ok(()),
            };
        }
        // What is repeated has DUP at 3.1.
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe if is_3_1 => 0b0010 | flags & 0b1000,
        PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
        _ => 0,
    };
    match flags == wanted {
        true => Ok(()),
        false => Err(DecodeError::Flags { packet, flags }),
    }
}

/// An acknowledgement that is nothing but a packet identifier, as nearly all are: read in place, without a frame.
fn bare_ack(header: &Header, buffer: &[u8]) -> Result<Option<Packet>, DecodeError> {
    let wrap = match header.packet {
        PacketType::PubAck => Packet::PubAck,
        PacketType::PubRec => Packet::PubRec,
        PacketType::PubRel => Packet::PubRel,
        PacketType::PubComp => Packet::PubComp,
        _ => return Ok(None),
    };
    let &[_, 2, high, low, ..] = buffer else {
        return Ok(None);
    };
    let id = PacketId::new(u16::from_be_bytes([high, low])).ok_or(DecodeError::PacketIdZero(header.packet))?;
    Ok(Some(wrap(Ack::success(id))))
}

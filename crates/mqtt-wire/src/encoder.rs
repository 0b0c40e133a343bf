//! From packets to bytes.

use bytes::BytesMut;

use crate::writer::{Measure, Sink, varint_bytes};
use crate::{EncodeError, Packet, PacketType, ReasonCode, Version};

/// Appends a packet and tells how many bytes it took.
///
/// What 3.1.1 has no place for is left out; of an AUTH, or of a DISCONNECT that is not the normal one, nothing is left
/// and 0 is returned. The direction is not checked: a server never sends a 3.1.1 DISCONNECT.
///
/// # Errors
/// The packet breaks a rule of the standard. The buffer is as it was.
pub fn encode(packet: &Packet, version: Version, buffer: &mut BytesMut) -> Result<usize, EncodeError> {
    if is_unknown_to(packet, version) {
        return Ok(0);
    }
    let mut measure = Measure::default();
    packet.write_body(version, &mut measure);
    let remaining = measure.finish()?;
    let bytes = packet_bytes(remaining);
    buffer.reserve(bytes);
    buffer.u8(first_byte(packet));
    buffer.varint(remaining);
    packet.write_body(version, buffer);
    Ok(bytes)
}

/// How many bytes [`encode`] would append, to be held against the peer's Maximum Packet Size.
///
/// # Errors
/// Those of [`encode`].
pub fn encoded_bytes(packet: &Packet, version: Version) -> Result<usize, EncodeError> {
    if is_unknown_to(packet, version) {
        return Ok(0);
    }
    let mut measure = Measure::default();
    packet.write_body(version, &mut measure);
    measure.finish().map(packet_bytes)
}

/// The size of a packet with this remaining length.
pub(crate) const fn packet_bytes(remaining: u32) -> usize {
    1 + varint_bytes(remaining) + remaining as usize
}

fn is_unknown_to(packet: &Packet, version: Version) -> bool {
    version == Version::V3
        && match packet {
            Packet::Auth(_) => true,
            Packet::Disconnect(disconnect) => disconnect.reason != ReasonCode::NORMAL_DISCONNECTION,
            _ => false,
        }
}

fn first_byte(packet: &Packet) -> u8 {
    let flags = match packet {
        Packet::Publish(publish) => publish.flags(),
        Packet::PubRel(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) => 0b0010,
        _ => 0,
    };
    (packet.packet_type() as u8) << 4 | flags
}

impl Packet {
    fn write_body<S: Sink>(&self, version: Version, sink: &mut S) {
        match self {
            Self::Connect(connect) => connect.write(version, sink),
            Self::ConnAck(connack) => connack.write(version, sink),
            Self::Publish(publish) => publish.write(version, sink),
            Self::PubAck(ack) => ack.write(PacketType::PubAck, version, sink),
            Self::PubRec(ack) => ack.write(PacketType::PubRec, version, sink),
            Self::PubRel(ack) => ack.write(PacketType::PubRel, version, sink),
            Self::PubComp(ack) => ack.write(PacketType::PubComp, version, sink),
            Self::Subscribe(subscribe) => subscribe.write(version, sink),
            Self::SubAck(suback) => suback.write(PacketType::SubAck, version, sink),
            Self::Unsubscribe(unsubscribe) => unsubscribe.write(version, sink),
            Self::UnsubAck(unsuback) => unsuback.write(PacketType::UnsubAck, version, sink),
            Self::PingReq | Self::PingResp => {}
            Self::Disconnect(disconnect) => disconnect.write(version, sink),
            Self::Auth(auth) => auth.write(sink),
        }
    }
}

//! The packets of both versions.
//!
//! Fields that only MQTT 5 has are empty after decoding 3.1.1 and are left out when encoding it.

use std::fmt;
use std::num::NonZeroU16;

use bytes::Bytes;

use crate::property::{
    AckProperties, AuthProperties, ConnAckProperties, ConnectProperties, DisconnectProperties, PublishProperties,
    SubscribeProperties, UnsubscribeProperties, WillProperties,
};
use crate::{ReasonCode, Secret, Utf8Bytes};

/// A packet identifier; zero is none ([MQTT-2.2.1-3]).
pub type PacketId = NonZeroU16;

/// A control packet, of either version and direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// The first packet of a client.
    Connect(Box<Connect>),
    /// The server's answer to it.
    ConnAck(Box<ConnAck>),
    /// An application message, either way.
    Publish(Publish),
    /// Ends a QoS 1 publication.
    PubAck(Ack),
    /// First answer to a QoS 2 publication.
    PubRec(Ack),
    /// Releases a QoS 2 publication.
    PubRel(Ack),
    /// Ends a QoS 2 publication.
    PubComp(Ack),
    /// Asks for messages.
    Subscribe(Subscribe),
    /// Answers each filter of a SUBSCRIBE.
    SubAck(SubAck),
    /// Asks for no more messages.
    Unsubscribe(Unsubscribe),
    /// Answers each filter of an UNSUBSCRIBE.
    UnsubAck(SubAck),
    /// A client shows that it is there.
    PingReq,
    /// The server does.
    PingResp,
    /// The last packet.
    Disconnect(Box<Disconnect>),
    /// A step of enhanced authentication, MQTT 5 only.
    Auth(Box<Auth>),
}

impl Packet {
    /// The type of this packet.
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

/// The type of a control packet, as the upper half of its first byte has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the variants are documented at `Packet`")]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The type of this value; `None` for 0 and above 15.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The name as the standard writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How often a message arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: once or never.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: once or more.
    AtLeastOnce = 1,
    /// QoS 2: once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS of this value; `None` above 2.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// CONNECT. The version is not in it: [`Decoder::version`](crate::Decoder::version) tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connect {
    /// Of MQTT 3.1: spoken as 3.1.1, but a client needs a name, CONNACK does not tell whether a session was there, and
    /// DUP may stand wherever something is repeated.
    pub is_3_1: bool,
    /// A bridge, which Mosquitto's tell by the highest bit of the level where there are no subscription options: it
    /// wants nothing back that it published, and retain as it was published. Never at MQTT 5.
    pub is_bridge: bool,
    /// Start without an older session (Clean Session in 3.1.1).
    pub clean_start: bool,
    /// The longest silence the client will keep, in seconds; 0 is no limit.
    pub keep_alive_s: u16,
    /// The client identifier; empty asks the server for one.
    pub client_id: Utf8Bytes,
    /// What the server publishes when the client is gone.
    pub will: Option<Will>,
    /// The user name.
    pub user_name: Option<Utf8Bytes>,
    /// The password; 3.1.1 allows one only with a user name ([MQTT-3.1.2-22]).
    pub password: Option<Secret>,
    /// Properties of MQTT 5.
    pub properties: ConnectProperties,
}

/// The will in a CONNECT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Will {
    /// QoS of the publication.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// Where it is published; a valid topic name.
    pub topic: Utf8Bytes,
    /// What is published, at most 65,535 bytes.
    pub payload: Bytes,
    /// Properties of MQTT 5.
    pub properties: WillProperties,
}

/// CONNACK.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnAck {
    /// Whether an older session goes on; never with a failure ([MQTT-3.2.2-6]).
    pub session_present: bool,
    /// The answer; 3.1.1 carries the nearest [`ConnectReturnCode`](crate::ConnectReturnCode).
    pub reason: ReasonCode,
    /// Properties of MQTT 5.
    pub properties: ConnAckProperties,
}

/// PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publish {
    /// Whether this may have been sent before; never at QoS 0 ([MQTT-3.3.1-2]).
    pub dup: bool,
    /// How often it may arrive.
    pub qos: QoS,
    /// Towards the server: keep it. Towards the client: it was kept.
    pub retain: bool,
    /// A valid topic name; empty only where a topic alias stands for it.
    pub topic: Utf8Bytes,
    /// Present at QoS 1 and 2, and only there ([MQTT-2.2.1-2]).
    pub packet_id: Option<PacketId>,
    /// Properties of MQTT 5; `None` where there are none, which costs nothing.
    pub properties: Option<Box<PublishProperties>>,
    /// The application's bytes.
    pub payload: Bytes,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The publication it speaks of.
    pub packet_id: PacketId,
    /// The answer; 3.1.1 knows success only.
    pub reason: ReasonCode,
    /// Properties of MQTT 5.
    pub properties: AckProperties,
}

impl Ack {
    /// An acknowledgement of success without properties.
    #[must_use]
    pub fn success(packet_id: PacketId) -> Self {
        Self::with_reason(packet_id, ReasonCode::Success)
    }

    /// An acknowledgement with this reason and no properties.
    #[must_use]
    pub fn with_reason(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self {
            packet_id,
            reason,
            properties: AckProperties::default(),
        }
    }
}

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Named again by the SUBACK.
    pub packet_id: PacketId,
    /// At least one ([MQTT-3.8.3-2]).
    pub filters: Vec<SubscribeFilter>,
    /// Properties of MQTT 5.
    pub properties: SubscribeProperties,
}

/// One filter of a SUBSCRIBE and its options.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscribeFilter {
    /// A valid topic filter; at MQTT 5 a `$share/` one is well formed.
    pub filter: Utf8Bytes,
    /// The highest QoS wanted.
    pub qos: QoS,
    /// Do not send back what this client publishes; MQTT 5 only.
    pub no_local: bool,
    /// Keep the retain flag as it was published; MQTT 5 only.
    pub retain_as_published: bool,
    /// Which retained messages to send; MQTT 5 only.
    pub retain_handling: RetainHandling,
}

/// When a subscription is answered with retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// Whenever it is made.
    #[default]
    Send = 0,
    /// Only if it was not there before.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// SUBACK or UNSUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// The request it answers.
    pub packet_id: PacketId,
    /// One per filter, in the order of the request. A 3.1.1 UNSUBACK has none.
    pub reasons: Vec<ReasonCode>,
    /// Properties of MQTT 5.
    pub properties: AckProperties,
}

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Named again by the UNSUBACK.
    pub packet_id: PacketId,
    /// At least one ([MQTT-3.10.3-2]).
    pub filters: Vec<Utf8Bytes>,
    /// Properties of MQTT 5.
    pub properties: UnsubscribeProperties,
}

/// DISCONNECT. In 3.1.1 only a client sends it, and without content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// Properties of MQTT 5.
    pub properties: DisconnectProperties,
}

/// AUTH, MQTT 5 only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// Success, continue or re-authenticate.
    pub reason: ReasonCode,
    /// The method is missing only in the short form of success.
    pub properties: AuthProperties,
}

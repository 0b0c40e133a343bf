//! What can be wrong with bytes that were received, or with a packet that shall be sent.

use crate::property::PropertyId;
use crate::{ConnectReturnCode, PacketType, ReasonCode, TextError, TopicError};

/// Why bytes are no packet that may be here. The connection ends; [`reason`](Self::reason) is what to tell the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The packet type is 0, or AUTH in 3.1.1.
    #[error("packet type {0} is reserved")]
    ReservedType(u8),
    /// The lower half of the first byte is not what this type demands.
    #[error("{packet} has flags {flags:#06b} [MQTT-2.1.3-1]")]
    Flags {
        /// The type.
        packet: PacketType,
        /// The lower four bits.
        flags: u8,
    },
    /// The packet goes the other way only.
    #[error("{0} never goes in this direction")]
    Direction(PacketType),
    /// A client must begin with CONNECT.
    #[error("the first packet is {0}, not CONNECT [MQTT-3.1.0-1]")]
    ConnectExpected(PacketType),
    /// A client must not CONNECT twice.
    #[error("a second CONNECT [MQTT-3.1.0-2]")]
    SecondConnect,
    /// The packet is larger than the limit of the receiver.
    #[error("{packet} of {bytes} bytes exceeds {bytes_max} [MQTT-3.2.2-15]")]
    PacketTooLarge {
        /// The type.
        packet: PacketType,
        /// Its size, fixed header included.
        bytes: u32,
        /// The limit that it exceeds.
        bytes_max: u32,
    },
    /// A variable byte integer of more than four bytes.
    #[error("{0} is a variable byte integer of more than four bytes")]
    VarintTooLong(&'static str),
    /// A variable byte integer in more bytes than it needs.
    #[error("{0} is not in the least number of bytes [MQTT-1.5.5-1]")]
    VarintNotMinimal(&'static str),
    /// A field runs over the end of its packet or property block.
    #[error("{0} runs over the end")]
    Truncated(&'static str),
    /// Something follows the last field.
    #[error("{bytes} bytes follow the end of {packet}")]
    TrailingBytes {
        /// The type.
        packet: PacketType,
        /// How many.
        bytes: usize,
    },
    /// A string is none.
    #[error("{field} {cause}")]
    Text {
        /// Which.
        field: &'static str,
        /// Why.
        cause: TextError,
    },
    /// The protocol name is neither "MQTT" nor that of 3.1.
    #[error("the protocol name is not MQTT [MQTT-3.1.2-1]")]
    ProtocolName,
    /// The protocol level is not spoken here.
    #[error("protocol level {0} is not supported [MQTT-3.1.2-2]")]
    ProtocolLevel(u8),
    /// The lowest connect flag is set.
    #[error("the reserved connect flag is set [MQTT-3.1.2-3]")]
    ConnectFlagReserved,
    /// Will QoS or will retain without a will.
    #[error("will QoS or will retain is set without a will [MQTT-3.1.2-11]")]
    WillFlagsWithoutWill,
    /// Will QoS 3.
    #[error("the will has QoS 3 [MQTT-3.1.2-12]")]
    WillQos,
    /// A 3.1.1 client may not have a password alone.
    #[error("a password without a user name [MQTT-3.1.2-22 of 3.1.1]")]
    PasswordWithoutUserName,
    /// A 3.1.1 client without identifier must ask for a clean session; one of 3.1 must have an identifier.
    #[error("an empty client identifier, at 3.1.1 without clean session [MQTT-3.1.3-8 of 3.1.1]")]
    ClientIdMissing,
    /// The client identifier is over the limit.
    #[error("a client identifier of {bytes} bytes, at most {bytes_max} are accepted")]
    ClientIdTooLong {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: u16,
    },
    /// The acknowledge flags of CONNACK are over 1, or 1 with a failure.
    #[error("the acknowledge flags of CONNACK are {0:#04x} [MQTT-3.2.2-1]")]
    ConnAckFlags(u8),
    /// QoS 3.
    #[error("PUBLISH has QoS 3 [MQTT-3.3.1-4]")]
    PublishQos,
    /// DUP at QoS 0.
    #[error("PUBLISH has DUP at QoS 0 [MQTT-3.3.1-2]")]
    PublishDup,
    /// A packet identifier of zero.
    #[error("{0} has packet identifier 0 [MQTT-2.2.1-3]")]
    PacketIdZero(PacketType),
    /// A topic name or filter breaks the rules of the standard.
    #[error("{field} {cause}")]
    Topic {
        /// Which.
        field: &'static str,
        /// Why.
        cause: TopicError,
    },
    /// A topic name is over the limit in bytes or levels.
    #[error("{0} has too many bytes or levels")]
    TopicNameTooLong(&'static str),
    /// A topic filter is over the limit in bytes or levels.
    #[error("a topic filter has too many bytes or levels")]
    TopicFilterTooLong,
    /// PUBLISH without topic and without alias.
    #[error("PUBLISH has neither topic nor topic alias [MQTT-3.3.2-8]")]
    TopicMissing,
    /// SUBSCRIBE, UNSUBSCRIBE or an answer to them with an empty list.
    #[error("{0} has an empty list [MQTT-3.8.3-2]")]
    EmptyList(PacketType),
    /// More filters in one packet than the limit.
    #[error("{packet} has more than {count_max} filters")]
    TooManyFilters {
        /// The type.
        packet: PacketType,
        /// The limit.
        count_max: u16,
    },
    /// Reserved bits of the subscription options.
    #[error("reserved bits in subscription options {0:#04x} [MQTT-3.8.3-5]")]
    SubscriptionOptionsReserved(u8),
    /// A subscription option with a value of 3.
    #[error("QoS or retain handling is 3 in subscription options {0:#04x}")]
    SubscriptionOptions(u8),
    /// No Local on a shared subscription.
    #[error("no local on a shared subscription [MQTT-3.8.3-4]")]
    NoLocalShared,
    /// A reason code that the standard does not list for this packet.
    #[error("{packet} has reason code {code:#04x}")]
    Reason {
        /// The type.
        packet: PacketType,
        /// The code.
        code: u8,
    },
    /// An identifier that no property has.
    #[error("property identifier {0:#04x} is unknown")]
    PropertyUnknown(u32),
    /// A property that this packet may not have.
    #[error("{0} is not allowed here")]
    PropertyNotAllowed(PropertyId),
    /// A property that goes the other way only.
    #[error("{0} never goes in this direction")]
    PropertyDirection(PropertyId),
    /// A property that may be there once.
    #[error("{0} is there twice")]
    PropertyTwice(PropertyId),
    /// A value outside of the property's range.
    #[error("{0} has a value that it may not have")]
    PropertyValue(PropertyId),
    /// More user properties than the limit.
    #[error("more than {0} user properties")]
    TooManyUserProperties(u16),
    /// Authentication data without a method, or AUTH without one.
    #[error("the authentication method is missing")]
    AuthenticationMethodMissing,
}

impl DecodeError {
    /// The return code for the CONNACK that answers a refused CONNECT of 3.1.1; `None` where that standard wants the
    /// connection closed without one ([MQTT-3.1.4-1]).
    #[must_use]
    pub const fn return_code(&self) -> Option<ConnectReturnCode> {
        match self.reason() {
            ReasonCode::UnsupportedProtocolVersion => Some(ConnectReturnCode::UnacceptableProtocolVersion),
            ReasonCode::ClientIdentifierNotValid => Some(ConnectReturnCode::IdentifierRejected),
            _ => None,
        }
    }

    /// The reason code for the CONNACK or DISCONNECT of MQTT 5 that answers it.
    #[must_use]
    pub const fn reason(&self) -> ReasonCode {
        match self {
            Self::ReservedType(_)
            | Self::Flags { .. }
            | Self::VarintTooLong(_)
            | Self::VarintNotMinimal(_)
            | Self::Truncated(_)
            | Self::TrailingBytes { .. }
            | Self::Text { .. }
            | Self::ConnectFlagReserved
            | Self::WillFlagsWithoutWill
            | Self::WillQos
            | Self::PasswordWithoutUserName
            | Self::PublishQos
            | Self::PublishDup
            | Self::Topic { .. }
            | Self::SubscriptionOptionsReserved(_)
            | Self::Reason { .. }
            | Self::PropertyUnknown(_)
            | Self::PropertyNotAllowed(_) => ReasonCode::MalformedPacket,
            Self::Direction(_)
            | Self::ConnectExpected(_)
            | Self::SecondConnect
            | Self::ConnAckFlags(_)
            | Self::PacketIdZero(_)
            | Self::TopicMissing
            | Self::EmptyList(_)
            | Self::SubscriptionOptions(_)
            | Self::NoLocalShared
            | Self::PropertyDirection(_)
            | Self::PropertyTwice(_)
            | Self::PropertyValue(_)
            | Self::AuthenticationMethodMissing => ReasonCode::ProtocolError,
            Self::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::ProtocolName | Self::ProtocolLevel(_) => ReasonCode::UnsupportedProtocolVersion,
            Self::ClientIdMissing | Self::ClientIdTooLong { .. } => ReasonCode::ClientIdentifierNotValid,
            Self::TopicNameTooLong(_) => ReasonCode::TopicNameInvalid,
            Self::TopicFilterTooLong => ReasonCode::TopicFilterInvalid,
            Self::TooManyFilters { .. } | Self::TooManyUserProperties(_) => ReasonCode::QuotaExceeded,
        }
    }
}

/// Why a packet cannot be sent. Nothing was written; the caller made a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The packet is larger than the standard can express.
    #[error("the packet exceeds 268,435,455 bytes")]
    PacketTooLarge,
    /// Binary data is longer than 65,535 bytes.
    #[error("{0} exceeds 65,535 bytes")]
    BinaryTooLong(&'static str),
    /// A topic name or filter breaks the rules of the standard.
    #[error("{field} {cause}")]
    Topic {
        /// Which.
        field: &'static str,
        /// Why.
        cause: TopicError,
    },
    /// PUBLISH without topic and without alias.
    #[error("the topic is missing")]
    TopicMissing,
    /// PUBLISH at QoS 1 or 2 without packet identifier.
    #[error("the packet identifier is missing")]
    PacketIdMissing,
    /// A list that needs an entry.
    #[error("the list is empty")]
    EmptyList,
    /// No Local on a shared subscription.
    #[error("no local on a shared subscription")]
    NoLocalShared,
    /// The standard does not list this reason code for this packet.
    #[error("{reason} is not allowed in {packet}")]
    Reason {
        /// The type.
        packet: PacketType,
        /// The reason.
        reason: ReasonCode,
    },
    /// A refusal that 3.1.1 cannot say; dropping it would say the contrary.
    #[error("3.1.1 cannot say {0} here")]
    RefusalInV3(ReasonCode),
    /// A 3.1.1 CONNECT has a password without user name, or no identifier without clean session.
    #[error("3.1.1 does not allow this combination in CONNECT")]
    ConnectInV3,
    /// What a CONNECT of MQTT 5 cannot say: that it is of 3.1, or of a bridge.
    #[error("MQTT 5 has no CONNECT of 3.1 and no bridges")]
    ConnectInV5,
    /// Authentication data without a method, or AUTH without one.
    #[error("the authentication method is missing")]
    AuthenticationMethodMissing,
}

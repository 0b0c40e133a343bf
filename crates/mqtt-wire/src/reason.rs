//! What a packet answers: the reason codes of MQTT 5 and the return codes of a 3.1.1 CONNACK.
//!
//! Everything in this crate speaks [`ReasonCode`]; a [`ConnectReturnCode`] exists only while it crosses the wire.

use std::fmt;

use crate::PacketType;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $words:literal;)*) => {
        /// A reason code of MQTT 5 (section 2.4); from 0x80 on it tells of a failure.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        #[repr(u8)]
        pub enum ReasonCode { $($(#[$doc])* $name = $value,)* }

        impl ReasonCode {
            /// All codes, in the order of their values.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code of this value; `None` where the standard has none.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }

            const fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

reason_codes! {
    /// Success; also Normal disconnection and Granted QoS 0.
    #[default]
    Success = 0x00, "success";
    /// The subscription was granted at QoS 1.
    GrantedQos1 = 0x01, "granted QoS 1";
    /// The subscription was granted at QoS 2.
    GrantedQos2 = 0x02, "granted QoS 2";
    /// The client leaves and wants its will published.
    DisconnectWithWill = 0x04, "disconnect with will message";
    /// Accepted, and nobody subscribes to the topic.
    NoMatchingSubscribers = 0x10, "no matching subscribers";
    /// There was no such subscription to remove.
    NoSubscriptionExisted = 0x11, "no subscription existed";
    /// The authentication exchange goes on.
    ContinueAuthentication = 0x18, "continue authentication";
    /// The client starts an authentication anew.
    ReAuthenticate = 0x19, "re-authenticate";
    /// The sender does not want to say why.
    UnspecifiedError = 0x80, "unspecified error";
    /// The packet cannot be parsed.
    MalformedPacket = 0x81, "malformed packet";
    /// The packet may not come here, or not with this content.
    ProtocolError = 0x82, "protocol error";
    /// Valid, but not accepted by this implementation.
    ImplementationSpecificError = 0x83, "implementation specific error";
    /// The server does not speak this protocol or level.
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version";
    /// The client identifier is valid and refused.
    ClientIdentifierNotValid = 0x85, "client identifier not valid";
    /// Wrong user name or password.
    BadUserNameOrPassword = 0x86, "bad user name or password";
    /// The client may not do this.
    NotAuthorized = 0x87, "not authorized";
    /// The server is not there for this client.
    ServerUnavailable = 0x88, "server unavailable";
    /// The server is busy: try again later.
    ServerBusy = 0x89, "server busy";
    /// The client is banned by an operator.
    Banned = 0x8A, "banned";
    /// The server is about to stop.
    ServerShuttingDown = 0x8B, "server shutting down";
    /// The authentication method is not offered, or is not the one in use.
    BadAuthenticationMethod = 0x8C, "bad authentication method";
    /// Nothing was heard for one and a half keep alive periods.
    KeepAliveTimeout = 0x8D, "keep alive timeout";
    /// Another connection took this session.
    SessionTakenOver = 0x8E, "session taken over";
    /// The topic filter is well formed and refused.
    TopicFilterInvalid = 0x8F, "topic filter invalid";
    /// The topic name is well formed and refused.
    TopicNameInvalid = 0x90, "topic name invalid";
    /// The packet identifier is in use.
    PacketIdentifierInUse = 0x91, "packet identifier in use";
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92, "packet identifier not found";
    /// More publications are unacknowledged than Receive Maximum allows.
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded";
    /// The topic alias is above Topic Alias Maximum, or unknown.
    TopicAliasInvalid = 0x94, "topic alias invalid";
    /// The packet is larger than Maximum Packet Size.
    PacketTooLarge = 0x95, "packet too large";
    /// Publications come faster than allowed.
    MessageRateTooHigh = 0x96, "message rate too high";
    /// A limit of the implementation or of an administrator is exceeded.
    QuotaExceeded = 0x97, "quota exceeded";
    /// An administrator ended the connection.
    AdministrativeAction = 0x98, "administrative action";
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99, "payload format invalid";
    /// Retained messages are not offered.
    RetainNotSupported = 0x9A, "retain not supported";
    /// The QoS is above Maximum QoS.
    QosNotSupported = 0x9B, "QoS not supported";
    /// Use another server for now.
    UseAnotherServer = 0x9C, "use another server";
    /// Use another server for good.
    ServerMoved = 0x9D, "server moved";
    /// Shared subscriptions are not offered.
    SharedSubscriptionsNotSupported = 0x9E, "shared subscriptions not supported";
    /// Connections come faster than allowed.
    ConnectionRateExceeded = 0x9F, "connection rate exceeded";
    /// The longest time authorized for a connection is over.
    MaximumConnectTime = 0xA0, "maximum connect time";
    /// Subscription identifiers are not offered.
    SubscriptionIdentifiersNotSupported = 0xA1, "subscription identifiers not supported";
    /// Wildcard subscriptions are not offered.
    WildcardSubscriptionsNotSupported = 0xA2, "wildcard subscriptions not supported";
}

impl ReasonCode {
    /// The name of 0x00 in a DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// The name of 0x00 in a SUBACK.
    pub const GRANTED_QOS0: Self = Self::Success;

    /// Whether it tells of a failure (0x80 and above).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// Whether the standard lists it for this packet (table 2-6), whoever sends that packet.
    #[must_use]
    pub const fn is_allowed_in(self, packet: PacketType) -> bool {
        let code = self as u8;
        match packet {
            PacketType::ConnAck => matches!(
                code,
                0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F
            ),
            PacketType::PubAck | PacketType::PubRec => {
                matches!(code, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            PacketType::PubRel | PacketType::PubComp => matches!(code, 0x00 | 0x92),
            PacketType::SubAck => matches!(
                code,
                0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2
            ),
            PacketType::UnsubAck => matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
            PacketType::Disconnect => matches!(
                code,
                0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2
            ),
            PacketType::Auth => matches!(code, 0x00 | 0x18 | 0x19),
            PacketType::Connect
            | PacketType::Publish
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::PingReq
            | PacketType::PingResp => false,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (0x{:02X})", self.words(), *self as u8)
    }
}

/// The return code of a 3.1.1 CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectReturnCode {
    /// The connection is accepted.
    Accepted = 0,
    /// The server does not speak this protocol level.
    UnacceptableProtocolVersion = 1,
    /// The client identifier is refused.
    IdentifierRejected = 2,
    /// The server cannot serve now, for any reason that has no code of its own.
    ServerUnavailable = 3,
    /// Wrong user name or password.
    BadUserNameOrPassword = 4,
    /// The client may not connect.
    NotAuthorized = 5,
}

impl ConnectReturnCode {
    /// The code of this value; `None` where the standard has none.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Accepted),
            1 => Some(Self::UnacceptableProtocolVersion),
            2 => Some(Self::IdentifierRejected),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl From<ConnectReturnCode> for ReasonCode {
    fn from(code: ConnectReturnCode) -> Self {
        match code {
            ConnectReturnCode::Accepted => Self::Success,
            ConnectReturnCode::UnacceptableProtocolVersion => Self::UnsupportedProtocolVersion,
            ConnectReturnCode::IdentifierRejected => Self::ClientIdentifierNotValid,
            ConnectReturnCode::ServerUnavailable => Self::ServerUnavailable,
            ConnectReturnCode::BadUserNameOrPassword => Self::BadUserNameOrPassword,
            ConnectReturnCode::NotAuthorized => Self::NotAuthorized,
        }
    }
}

impl From<ReasonCode> for ConnectReturnCode {
    /// The nearest return code: a failure without one of its own is "server unavailable".
    fn from(reason: ReasonCode) -> Self {
        match reason {
            ReasonCode::UnsupportedProtocolVersion => Self::UnacceptableProtocolVersion,
            ReasonCode::ClientIdentifierNotValid => Self::IdentifierRejected,
            ReasonCode::BadUserNameOrPassword => Self::BadUserNameOrPassword,
            ReasonCode::NotAuthorized | ReasonCode::Banned => Self::NotAuthorized,
            other if other.is_error() => Self::ServerUnavailable,
            _ => Self::Accepted,
        }
    }
}

//! The properties of MQTT 5, one struct per packet that has them.
//!
//! Each struct is also the list of what its packet allows: any other identifier is refused. An absent property is
//! `None` (or an empty list); the defaults that the standard gives to absent ones are applied by whoever uses them.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;

use crate::reader::Reader;
use crate::slot::{Block, Slot};
use crate::writer::Sink;
use crate::{DecodeError, Limits, PropertyOrder, QoS, Secret, Utf8Bytes};

macro_rules! property_ids {
    ($($name:ident = $value:literal, $words:literal;)*) => {
        /// The identifier of a property (table 2-4).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "the names are those of the standard")]
        pub enum PropertyId { $($name = $value,)* }

        impl PropertyId {
            /// The identifier of this value; `None` where there is none.
            #[must_use]
            pub const fn from_u32(value: u32) -> Option<Self> {
                match value { $($value => Some(Self::$name),)* _ => None }
            }

            /// The name as the standard writes it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

property_ids! {
    PayloadFormatIndicator = 0x01, "Payload Format Indicator";
    MessageExpiryInterval = 0x02, "Message Expiry Interval";
    ContentType = 0x03, "Content Type";
    ResponseTopic = 0x08, "Response Topic";
    CorrelationData = 0x09, "Correlation Data";
    SubscriptionIdentifier = 0x0B, "Subscription Identifier";
    SessionExpiryInterval = 0x11, "Session Expiry Interval";
    AssignedClientIdentifier = 0x12, "Assigned Client Identifier";
    ServerKeepAlive = 0x13, "Server Keep Alive";
    AuthenticationMethod = 0x15, "Authentication Method";
    AuthenticationData = 0x16, "Authentication Data";
    RequestProblemInformation = 0x17, "Request Problem Information";
    WillDelayInterval = 0x18, "Will Delay Interval";
    RequestResponseInformation = 0x19, "Request Response Information";
    ResponseInformation = 0x1A, "Response Information";
    ServerReference = 0x1C, "Server Reference";
    ReasonString = 0x1F, "Reason String";
    ReceiveMaximum = 0x21, "Receive Maximum";
    TopicAliasMaximum = 0x22, "Topic Alias Maximum";
    TopicAlias = 0x23, "Topic Alias";
    MaximumQos = 0x24, "Maximum QoS";
    RetainAvailable = 0x25, "Retain Available";
    UserProperty = 0x26, "User Property";
    MaximumPacketSize = 0x27, "Maximum Packet Size";
    WildcardSubscriptionAvailable = 0x28, "Wildcard Subscription Available";
    SubscriptionIdentifierAvailable = 0x29, "Subscription Identifier Available";
    SharedSubscriptionAvailable = 0x2A, "Shared Subscription Available";
}

impl fmt::Display for PropertyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name and a value of the application's own; names may repeat and keep their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserProperty {
    /// The name.
    pub name: Utf8Bytes,
    /// The value.
    pub value: Utf8Bytes,
}

/// A subscription identifier, 1 to 268,435,455.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    /// The largest one.
    pub const MAX: u32 = 268_435_455;

    /// The identifier of this value; `None` for 0 and above [`MAX`](Self::MAX).
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(id) if value <= Self::MAX => Some(Self(id)),
            _ => None,
        }
    }

    /// Its value.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// One struct per packet: its fields, how one is read and how all are written, in one table. Those of a message also have its order.
macro_rules! properties {
    ($(
        $(#[$meta:meta])*
        $packet:ident $(in $order:ident)? { $( $(#[$doc:meta])* $field:ident: $type:ty = $id:ident, )* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct $packet {
            $( $(#[$doc])* pub $field: $type, )*
            $(
                /// The order in which the publisher gave what travels with the message.
                pub $order: PropertyOrder,
            )?
        }

        impl Block for $packet {
            fn read_one(&mut self, id: PropertyId, reader: &mut Reader, limits: &Limits) -> Result<(), DecodeError> {
                $(self.$order.note(id, self.user_properties.len());)?
                match id {
                    $(PropertyId::$id => self.$field.read(id, reader, limits),)*
                    other => Err(DecodeError::PropertyNotAllowed(other)),
                }
            }

            fn write_one<S: Sink>(&self, id: PropertyId, sink: &mut S) {
                match id {
                    $(PropertyId::$id => self.$field.write(id, sink),)*
                    _ => {}
                }
            }

            fn write_listed<S: Sink>(&self, sink: &mut S) {
                $(self.$field.write(PropertyId::$id, sink);)*
            }

            $(
                fn settle(&mut self) {
                    self.$order.settle(self.user_properties.len());
                }

                fn write_all<S: Sink>(&self, sink: &mut S) {
                    self.$order.write_all(self, &self.user_properties, sink);
                }
            )?
        }
    )*};
}

properties! {
    /// Properties of CONNECT.
    ConnectProperties {
        /// How long the session outlives the connection, in seconds; `u32::MAX` is for ever.
        session_expiry_s: Option<u32> = SessionExpiryInterval,
        /// How many QoS 1 and 2 publications the client takes at a time.
        receive_maximum: Option<NonZeroU16> = ReceiveMaximum,
        /// The largest packet that the client takes.
        maximum_packet_bytes: Option<NonZeroU32> = MaximumPacketSize,
        /// The highest topic alias that the client takes.
        topic_alias_maximum: Option<u16> = TopicAliasMaximum,
        /// Whether the client wants response information.
        request_response_information: Option<bool> = RequestResponseInformation,
        /// Whether the client wants reason strings and user properties with failures.
        request_problem_information: Option<bool> = RequestProblemInformation,
        /// The application's own.
        user_properties: Vec<UserProperty> = UserProperty,
        /// The method of enhanced authentication.
        authentication_method: Option<Utf8Bytes> = AuthenticationMethod,
        /// What the method needs.
        authentication_data: Option<Secret> = AuthenticationData,
    }

    /// Properties of the will in a CONNECT.
    WillProperties in order {
        /// How long the server waits before it publishes, in seconds.
        will_delay_s: Option<u32> = WillDelayInterval,
        /// Whether the payload says that it is UTF-8.
        payload_is_utf8: Option<bool> = PayloadFormatIndicator,
        /// How long the message is of use, in seconds; 0 is legal.
        message_expiry_s: Option<u32> = MessageExpiryInterval,
        /// What the payload is.
        content_type: Option<Utf8Bytes> = ContentType,
        /// Where an answer goes; a valid topic name.
        response_topic: Option<Utf8Bytes> = ResponseTopic,
        /// What an answer repeats.
        correlation_data: Option<Bytes> = CorrelationData,
        /// The application's own.
        user_properties: Vec<UserProperty> = UserProperty,
    }

    /// Properties of CONNACK.
    ConnAckProperties {
        /// The highest topic alias that the server takes.
        topic_alias_maximum: Option<u16> = TopicAliasMaximum,
        /// The session expiry in force instead of the one asked for, in seconds.
        session_expiry_s: Option<u32> = SessionExpiryInterval,
        /// The highest QoS taken, 0 or 1; 2 is said by absence, and encoded so.
        maximum_qos: Option<QoS> = MaximumQos,
        /// Whether retained messages are offered.
        retain_available: Option<bool> = RetainAvailable,
        /// The largest packet that the server takes.
        maximum_packet_bytes: Option<NonZeroU32> = MaximumPacketSize,
        /// The identifier given to a client that came without one.
        assigned_client_id: Option<Utf8Bytes> = AssignedClientIdentifier,
        /// Words for a human.
        reason_string: Option<Utf8Bytes> = ReasonString,
        /// The application's own.
        user_properties: Vec<UserProperty> = UserProperty,
        /// Whether wildcard subscriptions are offered.
        wildcard_subscription_available: Option<bool> = WildcardSubscriptionAvailable,
        /// Whether subscription identifiers are offered.
        subscription_id_available: Option<bool> = SubscriptionIdentifierAvailable,
        /// Whether shared subscriptions are offered.
        shared_subscription_available: Option<bool> = SharedSubscriptionAvailable,
        /// The keep alive in force instead of the client's, in seconds.
        server_keep_alive_s: Option<u16> = ServerKeepAlive,
        /// From what the client may build response topics.
        response_information: Option<Utf8Bytes> = ResponseInformation,
        /// Another server to use.
        server_reference: Option<Utf8Bytes> = ServerReference,
        /// The method of enhanced authentication.
        authentication_method: Option<Utf8Bytes> = AuthenticationMethod,
        /// What the method needs.
        authentication_data: Option<Secret> = AuthenticationData,
        /// How many QoS 1 and 2 publications the server takes at a time.
        receive_maximum: Option<NonZeroU16> = ReceiveMaximum,
    }

    /// Properties of PUBLISH.
    PublishProperties in order {
        /// Whether the payload says that it is UTF-8.
        payload_is_utf8: Option<bool> = PayloadFormatIndicator,
        /// How long the message is of use, in seconds; 0 is legal.
        message_expiry_s: Option<u32> = MessageExpiryInterval,
        /// A number that stands for the topic on this connection.
        topic_alias: Option<NonZeroU16> = TopicAlias,
        /// Where an answer goes; a valid topic name.
        response_topic: Option<Utf8Bytes> = ResponseTopic,
        /// What an answer repeats.
        correlation_data: Option<Bytes> = CorrelationData,
        /// The application's own.
        user_properties: Vec<UserProperty> = UserProperty,
        /// Of the subscriptions that matched; never towards a server ([MQTT-3.3.4-6]).
        subscription_ids: Vec<SubscriptionId> = SubscriptionIdentifier,
        /// What the payload is.
        content_type: Option<Utf8Bytes> = ContentType,
    }

    /// Properties of PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    AckProperties {
        /// Words for a human.
        reason_string: Option<Utf8Bytes> = ReasonString,
        /// The application's own.
        user_properties: Vec<UserProperty> = UserProperty,
    }

    /// Properties of SUBSCRIBE.
    SubscribeProperties {
        /// Comes back with what matches these filters.
        subscription_id: Option<SubscriptionId> = SubscriptionIdentifier,
        /// The application's own.
        user_properties: Vec<UserProperty> = UserProperty,
    }

    /// Properties of UNSUBSCRIBE.
    UnsubscribeProperties {
        /// The application's own.
        user_properties: Vec<UserProperty> = UserProperty,
    }

    /// Properties of DISCONNECT.
    DisconnectProperties {
        /// The session expiry from now on, in seconds; never from a server ([MQTT-3.14.2-2]).
        session_expiry_s: Option<u32> = SessionExpiryInterval,
        /// Words for a human.
        reason_string: Option<Utf8Bytes> = ReasonString,
        /// The application's own.
        user_properties: Vec<UserProperty> = UserProperty,
        /// Another server to use.
        server_reference: Option<Utf8Bytes> = ServerReference,
    }

    /// Properties of AUTH.
    AuthProperties {
        /// The method of enhanced authentication.
        authentication_method: Option<Utf8Bytes> = AuthenticationMethod,
        /// What the method needs.
        authentication_data: Option<Secret> = AuthenticationData,
        /// Words for a human.
        reason_string: Option<Utf8Bytes> = ReasonString,
        /// The application's own.
        user_properties: Vec<UserProperty> = UserProperty,
    }
}

//! The codec of MQTT 3.1.1 and 5.0, and of 3.1 as a dialect: bytes to packets and packets to bytes, for both ends of a connection.
//!
//! It owns the grammar of a packet and nothing of a session: whether a packet identifier is in use, a topic may be
//! published to, or a feature is offered is decided above. What decodes satisfies every rule that one packet alone can
//! break; what encodes does too.
//!
//! **Invariant:** no input makes it panic, and no length that a peer claims makes it allocate. Type, flags, direction
//! and size are refused from the header, before the body arrives.
//!
//! **Invariant:** text and payload of a decoded packet are slices of the frame; nothing is copied. The frame lives as
//! long as any of them, so what is kept is detached.
//!
//! **Invariant:** an encoder writes a whole valid packet or nothing.
//!
//! **Invariant:** there is no socket, no clock and no buffer of its own here.

mod ack;
mod connect;
mod decoder;
mod encoder;
mod error;
mod limits;
mod order;
mod packet;
mod property;
mod protocol;
mod publish;
mod reader;
mod reason;
mod slot;
mod subscription;
mod text;
mod writer;

pub mod topic;

pub use decoder::Decoder;
pub use encoder::{encode, encoded_bytes};
pub use error::{DecodeError, EncodeError};
pub use limits::{Limits, Role, Version};
pub use order::PropertyOrder;
pub use packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, PacketType, Publish, QoS, RetainHandling, SubAck,
    Subscribe, SubscribeFilter, Unsubscribe, Will,
};
pub use property::{
    AckProperties, AuthProperties, ConnAckProperties, ConnectProperties, DisconnectProperties, PropertyId,
    PublishProperties, SubscribeProperties, SubscriptionId, UnsubscribeProperties, UserProperty, WillProperties,
};
pub use publish::{Outgoing, SharedProperties};
pub use reason::{ConnectReturnCode, ReasonCode};
pub use text::{Secret, TextError, Utf8Bytes};
pub use topic::TopicError;

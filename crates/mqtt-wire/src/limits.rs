//! Who reads, which protocol, and how much of it at most.

/// The protocol spoken on a connection, told by the level in its CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4, and 3.1, level 3 under another name: see
    /// [`Connect::is_3_1`](crate::Connect::is_3_1).
    V3,
    /// MQTT 5.0, protocol level 5.
    V5,
}

impl Version {
    /// The protocol level as CONNECT carries it.
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::V3 => 4,
            Self::V5 => 5,
        }
    }
}

/// The side that decodes. It decides which packets may arrive at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads what clients send.
    Server,
    /// Reads what servers send.
    Client,
}

/// What a decoder accepts at most. All are checked before anything is allocated for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a CONNECT, fixed header included: all that a stranger can make the server hold.
    pub connect_bytes_max: u32,
    /// Bytes of any other packet, fixed header included (Maximum Packet Size of our CONNACK).
    pub packet_bytes_max: u32,
    /// Bytes of a client identifier.
    pub client_id_bytes_max: u16,
    /// Bytes of a topic name or filter.
    pub topic_bytes_max: u16,
    /// Levels of a topic name or filter.
    pub topic_levels_max: u16,
    /// User properties in one packet; a will counts its own.
    pub user_properties_max: u16,
    /// Filters in one SUBSCRIBE or UNSUBSCRIBE.
    pub subscriptions_max: u16,
}

impl Limits {
    /// The largest packet that the standard can express: a remaining length of 268,435,455 and five bytes of header.
    pub const STANDARD_PACKET_BYTES_MAX: u32 = 268_435_455 + 5;

    /// No limit but those of the standard, for test tools that decode what they asked for.
    pub const STANDARD: Self = Self {
        connect_bytes_max: Self::STANDARD_PACKET_BYTES_MAX,
        packet_bytes_max: Self::STANDARD_PACKET_BYTES_MAX,
        client_id_bytes_max: u16::MAX,
        topic_bytes_max: u16::MAX,
        topic_levels_max: u16::MAX,
        user_properties_max: u16::MAX,
        subscriptions_max: u16::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_bytes_max: 32 * 1024,
            packet_bytes_max: 272 * 1024,
            client_id_bytes_max: 1024,
            topic_bytes_max: 1024,
            topic_levels_max: 32,
            user_properties_max: 64,
            subscriptions_max: 100,
        }
    }
}

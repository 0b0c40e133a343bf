//! A stored record, and the message it came in.

use std::sync::Arc;

use trunkline_core::{ChannelId, DomainId, MessageId};
use uuid::Uuid;

/// A place in one shard of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    /// Which log: the sequences of another one mean nothing here.
    pub incarnation: i64,
    /// Sequence of an entry within the shard.
    pub sequence: u64,
}

/// What the records of one message have in common: everything that the platform knows of the message itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Domain of the channel.
    pub domain_id: DomainId,
    /// Channel that it was published to.
    pub channel_id: ChannelId,
    /// The message.
    pub message_id: MessageId,
    /// Levels below the channel joined by `/`; empty when there are none.
    pub subtopic: String,
    /// Who published.
    pub publisher_id: Uuid,
    /// What kind of principal that is.
    pub publisher_kind: PublisherKind,
    /// Device that it comes from, when that is known.
    pub device_id: Option<Uuid>,
    /// Protocol that it arrived by.
    pub protocol: Protocol,
    /// Media type as it was given; empty when none was.
    pub content_type: String,
    /// Time of admission in nanoseconds since the Unix epoch.
    pub received_at: i64,
    /// Shard of the log that it was read from.
    pub log_shard: u16,
    /// Where in that shard.
    pub log_position: LogPosition,
}

/// One record: a measurement, or a whole payload.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// The message that it came in.
    pub origin: Arc<Origin>,
    /// Time of the measurement in nanoseconds since the Unix epoch; the time of admission where there is none.
    pub time: i64,
    /// Place in its pack, counted from 0.
    pub pack_index: u32,
    /// Name of the sensor or parameter.
    pub name: Option<String>,
    /// Unit of the value.
    pub unit: Option<String>,
    /// Numeric value.
    pub value: Option<f64>,
    /// Text value.
    pub string_value: Option<String>,
    /// Boolean value.
    pub bool_value: Option<bool>,
    /// Binary value in base64.
    pub data_value: Option<String>,
    /// Integral of the value over time.
    pub sum: Option<f64>,
    /// Longest time in nanoseconds until the next reading.
    pub update_time: Option<i64>,
    /// A JSON object, as it was written.
    pub payload: Option<String>,
    /// Why the record is kept undecoded.
    pub decode_error: Option<String>,
}

impl StoredRecord {
    /// A record with nothing in it yet but where and when it belongs.
    pub fn new(origin: Arc<Origin>, time: i64, pack_index: u32) -> StoredRecord {
        StoredRecord {
            origin,
            time,
            pack_index,
            name: None,
            unit: None,
            value: None,
            string_value: None,
            bool_value: None,
            data_value: None,
            sum: None,
            update_time: None,
            payload: None,
            decode_error: None,
        }
    }

    /// Bytes of its texts, by which pages and batches are measured.
    pub fn text_bytes(&self) -> usize {
        let texts = [
            &self.name,
            &self.unit,
            &self.string_value,
            &self.data_value,
            &self.payload,
            &self.decode_error,
        ];
        let own: usize = texts.into_iter().flatten().map(String::len).sum();
        own + self.origin.subtopic.len() + self.origin.content_type.len()
    }
}

/// An entry of the log that could not be read, noted for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableEntry {
    /// Shard of the log.
    pub log_shard: u16,
    /// Where in that shard.
    pub log_position: LogPosition,
    /// Why it could not be read.
    pub error: String,
}

macro_rules! closed_set {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// The word that stands for it in stored rows and in answers.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }

            /// The one that a word stands for.
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

closed_set! {
    /// The kinds of principal that publish.
    PublisherKind {
        /// A device or an application.
        Client = "client",
        /// A person.
        User = "user",
        /// The rules engine.
        Rule = "rule",
        /// One that only another version of the platform knows.
        Unknown = "unknown",
    }
}

closed_set! {
    /// The protocols that messages arrive by.
    Protocol {
        /// MQTT, also over WebSocket.
        Mqtt = "mqtt",
        /// HTTP publish.
        Http = "http",
        /// WebSocket frames that are not MQTT.
        Ws = "ws",
        /// CoAP.
        Coap = "coap",
        /// gRPC publish.
        Grpc = "grpc",
        /// Made inside the platform.
        Internal = "internal",
        /// One that only another version of the platform knows.
        Unknown = "unknown",
    }
}

//! The ledger: what was sent and what was promised, kept outside the system that is judged.
//!
//! A file of lines, one event each, so that a run can be judged long after it. It is not a log of the platform: nothing that the
//! platform says gets in but acknowledgements and refusals as the generator received them.

mod book;
mod file;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use book::{Book, Entry, Outcome};
pub use file::Ledger;

/// In this time a message at QoS 1 or 2 is answered, or its connection is closed.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// How a producer speaks to the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// MQTT 3.1.1.
    Mqtt3,
    /// MQTT 5.
    Mqtt5,
    /// HTTP.
    Http,
}

impl Protocol {
    /// The name that stored records have for it.
    #[must_use]
    pub const fn stored_as(self) -> &'static str {
        match self {
            Self::Mqtt3 | Self::Mqtt5 => "mqtt",
            Self::Http => "http",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Mqtt3 => "mqtt3",
            Self::Mqtt5 => "mqtt5",
            Self::Http => "http",
        })
    }
}

impl FromStr for Protocol {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, anyhow::Error> {
        match text {
            "mqtt3" => Ok(Self::Mqtt3),
            "mqtt5" => Ok(Self::Mqtt5),
            "http" => Ok(Self::Http),
            other => Err(anyhow::anyhow!("`{other}` is no protocol")),
        }
    }
}

/// Who sends: one publisher on one connection at a time, to one channel, at one QoS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Its number in this ledger.
    pub id: u32,
    /// How it speaks.
    pub protocol: Protocol,
    /// MQTT quality of service; 1 for HTTP.
    pub qos: u8,
    /// Where its messages belong.
    pub place: crate::Place,
    /// The client's id.
    pub publisher: String,
}

/// What the platform answered to one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It promised to keep the message, at this tier.
    Kept(String),
    /// It said that it does not keep the message, for this reason.
    Refused(String),
    /// It said something that leaves it open, such as 503.
    Unclear(String),
}

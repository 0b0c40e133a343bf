//! Messages that could not be stored, kept in a log of their own until an operator has seen to them.
//!
//! The writer gives a message up only after it was accepted here. Nothing is trimmed before the operator committed it: when
//! the log is full, it accepts no more, and the writer must wait.

use std::sync::Arc;

use prost::Message as _;
use trunkline_proto::messages::v1::{Envelope, UserProperty};

use crate::envelope::{NewEntry, PAYLOAD_BYTES_MAX, StoredEntry};
use crate::log::{AppendError, Log, LogError};

/// The group of whoever looks after dead letters: required, so nothing goes before it was seen to.
pub const OPERATOR_GROUP: &str = "operator";
/// The user property that says why a message is here. It comes last.
pub const REASON_PROPERTY: &str = "trunkline-dead-letter-reason";
/// The user property that says where in the message log it was: `<incarnation>/<shard>/<sequence>`. It comes before the reason.
pub const PLACE_PROPERTY: &str = "trunkline-dead-letter-place";
/// Longest reason kept, in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;

/// Dead letters over a log that holds nothing else. Cheap to clone.
#[derive(Clone)]
pub struct DeadLetters {
    log: Arc<dyn Log>,
}

impl DeadLetters {
    /// Dead letters kept in `log`.
    ///
    /// # Errors
    /// The log fails.
    pub async fn open(log: Arc<dyn Log>) -> Result<Self, LogError> {
        log.join(OPERATOR_GROUP, true).await?;
        Ok(Self { log })
    }

    /// Keeps `entry` and `reason`; returns once that is durable. The same message again changes nothing.
    ///
    /// # Errors
    /// It is not kept, so the entry must not be given up.
    pub async fn accept(&self, entry: &StoredEntry, reason: &str) -> Result<(), AppendError> {
        let letter = letter(entry, reason);
        let bytes = letter.encoded_len();
        let sealed = NewEntry::seal(letter, PAYLOAD_BYTES_MAX).or_else(|_| {
            // Too much around the payload to add to: it goes as it came, and the reason is in the writer's log alone.
            NewEntry::seal(entry.envelope.as_ref().clone(), PAYLOAD_BYTES_MAX)
        });
        let sealed = sealed.map_err(|_| AppendError::TooLarge {
            bytes,
            bytes_max: PAYLOAD_BYTES_MAX,
        })?;
        self.log.append(sealed).await?.await.map(drop)
    }

    /// The log behind it, to read letters from and to commit those that were seen to as [`OPERATOR_GROUP`].
    pub const fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }
}

fn letter(entry: &StoredEntry, reason: &str) -> Envelope {
    let mut envelope = entry.envelope.as_ref().clone();
    let place = format!("{}/{}/{}", entry.incarnation.0, entry.shard, entry.sequence);
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    for (name, value) in [(PLACE_PROPERTY, place.as_str()), (REASON_PROPERTY, reason)] {
        envelope.user_properties.push(UserProperty {
            name: name.to_owned(),
            value: value.to_owned(),
        });
    }
    envelope
}

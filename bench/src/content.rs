//! What a generated message says: one SenML record that names its run, producer and sequence, so that a stored row can be matched.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// SHA-256 of what a reader must give back.
pub type Hash = [u8; 32];

/// Hexadecimal digits at the start of the text that tell when the message was due.
const DUE_DIGITS: usize = 16;

/// The content of a message: a name that identifies it and a text that fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// `<run>/<producer>/<sequence>`.
    pub name: String,
    /// When the message was due, then digits that differ from message to message.
    pub text: String,
}

impl Content {
    /// The content of one message whose payload has `payload_bytes` bytes, or a few more where the name leaves no room.
    #[must_use]
    pub fn new(run: &str, producer: u32, sequence: u64, due_ns: u64, payload_bytes: usize) -> Self {
        let name = format!("{run}/{producer}/{sequence}");
        let text_bytes = payload_bytes.saturating_sub(name.len() + FRAME_BYTES).max(DUE_DIGITS);
        let mut text = String::with_capacity(text_bytes + DUE_DIGITS);
        let mut state = due_ns;
        // A `String` takes whatever is written to it.
        let _ = write!(text, "{due_ns:016x}");
        while text.len() < text_bytes {
            state = mixed(state ^ sequence.rotate_left(32) ^ u64::from(producer));
            let _ = write!(text, "{state:016x}");
        }
        text.truncate(text_bytes);
        Self { name, text }
    }

    /// The bytes to publish: a SenML pack of one record.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        format!("[{{\"n\":\"{}\",\"vs\":\"{}\"}}]", self.name, self.text).into_bytes()
    }

    /// What identifies the content, whatever form it is given back in.
    #[must_use]
    pub fn hash(&self) -> Hash {
        hash(&self.name, &self.text)
    }
}

/// Bytes of a payload around name and text.
const FRAME_BYTES: usize = r#"[{"n":"","vs":""}]"#.len();

/// The hash of a name and a text.
pub(crate) fn hash(name: &str, text: &str) -> Hash {
    Sha256::new()
        .chain_update(name)
        .chain_update([0])
        .chain_update(text)
        .finalize()
        .into()
}

/// Run, producer and sequence of a name; `None` if no generator made it.
pub(crate) fn identity(name: &str) -> Option<(&str, u32, u64)> {
    let mut parts = name.rsplitn(3, '/');
    let sequence = parts.next()?.parse().ok()?;
    let producer = parts.next()?.parse().ok()?;
    Some((parts.next()?, producer, sequence))
}

/// When a received payload was due, in nanoseconds since the Unix epoch, with its producer and sequence.
pub(crate) fn received(payload: &[u8]) -> Option<(u32, u64, u64)> {
    let text = std::str::from_utf8(payload).ok()?;
    let (name, rest) = text.strip_prefix(r#"[{"n":""#)?.split_once('"')?;
    let due = rest.strip_prefix(r#","vs":""#)?.get(..DUE_DIGITS)?;
    let (_, producer, sequence) = identity(name)?;
    Some((producer, sequence, u64::from_str_radix(due, 16).ok()?))
}

/// Spreads the bits of a number (the finaliser of splitmix64).
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_the_size_asked_for_and_tells_whose_it_is() {
        let content = Content::new("run", 7, 12_345, 99, 256);
        let payload = content.payload();
        assert_eq!(payload.len(), 256);
        assert_eq!(received(&payload), Some((7, 12_345, 99)));
        assert_eq!(identity(&content.name), Some(("run", 7, 12_345)));
    }

    #[test]
    fn contents_of_neighbours_differ_beyond_their_names() {
        let [one, two] = [1, 2].map(|sequence| Content::new("run", 0, sequence, 5, 256));
        assert_ne!(one.text, two.text);
        assert_ne!(one.hash(), two.hash());
    }

    #[test]
    fn what_no_generator_made_has_no_identity() {
        for name in ["", "temperature", "a/b/c", "run/1", "run/-1/2"] {
            assert_eq!(identity(name), None, "{name}");
        }
    }
}

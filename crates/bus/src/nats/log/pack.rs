//! Packs: one message of the server with several entries of one domain, since its work is by message and not by byte.
//!
//! A message with one entry is the envelope alone. With more, a header says how many there are, and each is preceded by its length in
//! four bytes, the most significant first.

use async_nats::HeaderMap;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::places::PACK_ENTRIES_MAX;

/// Header of a message with more than one entry: how many it has.
const ENTRIES: &str = "Trunkline-Entries";
/// Bytes that stand before each entry of such a message.
const LENGTH_BYTES: usize = 4;
/// Bytes of a message with more than one entry, at most.
pub(super) const PACK_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a message with `entries` entries of `bytes` in all.
pub(super) const fn bytes_of(entries: usize, bytes: usize) -> usize {
    match entries {
        0 | 1 => bytes,
        _ => bytes + entries * LENGTH_BYTES,
    }
}

/// The payload of a message with `entries`, and what its headers must say besides.
pub(super) fn encode(entries: &[Bytes], headers: &mut HeaderMap) -> Bytes {
    if let [entry] = entries {
        return entry.clone();
    }
    headers.insert(ENTRIES, entries.len().to_string());
    let bytes = entries.iter().map(Bytes::len).sum();
    let mut payload = BytesMut::with_capacity(bytes_of(entries.len(), bytes));
    for entry in entries {
        payload.put_u32(u32::try_from(entry.len()).unwrap_or(u32::MAX));
        payload.put_slice(entry);
    }
    payload.freeze()
}

/// How many entries a message with `headers` has, as it says itself, within what it may say.
pub(super) fn count(headers: &HeaderMap) -> usize {
    said(headers).clamp(1, PACK_ENTRIES_MAX)
}

fn said(headers: &HeaderMap) -> usize {
    let said = headers.get(ENTRIES).and_then(|count| count.as_str().parse().ok());
    said.unwrap_or(1)
}

/// The entries of a message; `None` when it is damaged. Each of several is copied out, so that who keeps one does not keep all.
pub(super) fn decode(headers: &HeaderMap, mut payload: Bytes) -> Option<Vec<Bytes>> {
    let count = said(headers);
    if headers.get(ENTRIES).is_none() {
        return Some(vec![payload]);
    }
    let mut entries = Vec::with_capacity(count.min(PACK_ENTRIES_MAX));
    while payload.has_remaining() && entries.len() < count {
        let length = usize::try_from(payload.try_get_u32().ok()?).ok()?;
        entries.push(Bytes::copy_from_slice(payload.get(..length)?));
        payload.advance(length);
    }
    let is_whole = entries.len() == count && payload.is_empty() && (1..=PACK_ENTRIES_MAX).contains(&count);
    is_whole.then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(entries: &[Bytes]) -> (HeaderMap, Bytes) {
        let mut headers = HeaderMap::new();
        let payload = encode(entries, &mut headers);
        (headers, payload)
    }

    #[test]
    fn entries_come_out_of_a_message_as_they_went_in() {
        let one = Bytes::from_static(b"one");
        let several = [one.clone(), Bytes::new(), Bytes::from(vec![7; 1_000])];
        for entries in [&several[..1], &several[..2], &several[..]] {
            let (headers, payload) = packed(entries);
            let bytes = entries.iter().map(Bytes::len).sum();
            assert_eq!(payload.len(), bytes_of(entries.len(), bytes));
            assert_eq!(count(&headers), entries.len());
            assert_eq!(decode(&headers, payload).as_deref(), Some(entries));
        }
        let (_, payload) = packed(&several[..1]);
        assert_eq!(payload, one, "an entry alone is the message");
    }

    #[test]
    fn what_was_cut_or_added_to_is_damaged() {
        let (headers, payload) = packed(&["one".into(), "two".into()]);
        for length in 0..payload.len() {
            assert_eq!(decode(&headers, payload.slice(..length)), None);
        }
        assert_eq!(decode(&headers, [payload.as_ref(), b"x"].concat().into()), None);
        let mut lying = HeaderMap::new();
        for count in ["0", "1", "3", "65", "18446744073709551615", "-1", "two"] {
            lying.insert(ENTRIES, count);
            assert_eq!(decode(&lying, payload.clone()), None, "{count}");
            assert!((1..=PACK_ENTRIES_MAX).contains(&self::count(&lying)), "{count}");
        }
    }
}

//! Places in a shard: the server numbers messages, and a message holds up to [`PACK_ENTRIES_MAX`] entries.
//!
//! The last entry of message `n` is at `(n + 1) * 64 - 1`, the one before it a place earlier. So the place after the last entry of a
//! message belongs to the next one, and a position at the last entry says that the whole message is done with.

/// Entries that one message holds at most. Part of the format: it never changes.
pub(super) const PACK_ENTRIES_MAX: usize = 64;

const PLACES: u64 = PACK_ENTRIES_MAX as u64;

/// The place of the last entry of `message`; 0 when that is 0, before the first.
pub(super) const fn last_of(message: u64) -> u64 {
    match message {
        0 => 0,
        _ => message * PLACES + (PLACES - 1),
    }
}

/// The place of entry `index` of the `count` that `message` holds.
pub(super) const fn place_in(message: u64, index: usize, count: usize) -> u64 {
    last_of(message) + 1 + index as u64 - count as u64
}

/// The message that an entry at `place` is in: 1 for those before the first.
pub(super) const fn message_at(place: u64) -> u64 {
    match place / PLACES {
        0 => 1,
        message => message,
    }
}

/// The last message all of whose entries are at `place` or before it; 0 when there is none.
pub(super) const fn whole_to(place: u64) -> u64 {
    (place.saturating_add(1) / PLACES).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_rise_through_a_message_and_on_to_the_next() {
        assert_eq!((last_of(0), whole_to(0), message_at(0), message_at(1)), (0, 0, 1, 1));
        for message in [1, 2, 1_000_000] {
            let last = last_of(message);
            for count in [1, 2, PACK_ENTRIES_MAX] {
                assert_eq!(place_in(message, count - 1, count), last);
                let first = place_in(message, 0, count);
                assert_eq!(last - first + 1, count as u64);
                assert!(first > last_of(message - 1));
                assert_eq!((message_at(first), message_at(last)), (message, message));
                let is_alone = count == 1;
                assert_eq!(whole_to(first), if is_alone { message } else { message - 1 });
            }
            assert_eq!(whole_to(last), message);
            assert_eq!(message_at(last + 1), message + 1);
        }
    }
}

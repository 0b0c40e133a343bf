//! Room for messages that were admitted and are not yet among what their domain retains: without it, whoever publishes faster than that is
//! kept would go past the quota.

use std::collections::HashMap;

use bytes::Bytes;
use trunkline_core::DomainId;

use super::index::Need;
use crate::limits::{RETAINED_DOMAIN_BYTES_MAX, RETAINED_DOMAIN_ENTRIES_MAX};

/// Messages and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

/// What was admitted, by domain. No domain has more of it than it may retain.
#[derive(Debug, Default)]
pub(super) struct Admitted(HashMap<DomainId, Domain>);

#[derive(Debug, Default)]
struct Domain {
    /// By the id of the message: what it takes, and when it was admitted.
    messages: HashMap<Bytes, (Room, i64)>,
    /// What all of them take.
    sum: Room,
}

impl Admitted {
    /// Admits the message `id` if there is room for what it needs. It has that until [`Admitted::remove`] or [`Admitted::lapse`].
    pub(super) fn admit(&mut self, domain_id: DomainId, id: &Bytes, need: Need, now_ns: i64) -> bool {
        let Need { more, used } = need;
        // What takes no more than is there is admitted whatever else is.
        if more == Room::default() {
            return true;
        }
        self.remove(domain_id, id);
        let domain = self.0.entry(domain_id).or_default();
        let is_within = used.entries + domain.sum.entries + more.entries <= RETAINED_DOMAIN_ENTRIES_MAX
            && used.bytes + domain.sum.bytes + more.bytes <= RETAINED_DOMAIN_BYTES_MAX;
        if is_within {
            domain.sum.entries += more.entries;
            domain.sum.bytes += more.bytes;
            domain.messages.insert(id.clone(), (more, now_ns));
        }
        is_within
    }

    /// A message is there, or will not be.
    pub(super) fn remove(&mut self, domain_id: DomainId, id: &Bytes) {
        let Some(domain) = self.0.get_mut(&domain_id) else {
            return;
        };
        if let Some((room, _)) = domain.messages.remove(id) {
            domain.sum.entries -= room.entries;
            domain.sum.bytes -= room.bytes;
        }
        if domain.messages.is_empty() {
            self.0.remove(&domain_id);
        }
    }

    /// Gives up the room of messages that were admitted before `before_ns`: the log did not take them.
    pub(super) fn lapse(&mut self, before_ns: i64) {
        self.0.retain(|_, domain| {
            let sum = &mut domain.sum;
            domain.messages.retain(|_, (room, at_ns)| {
                let is_kept = *at_ns >= before_ns;
                if !is_kept {
                    sum.entries -= room.entries;
                    sum.bytes -= room.bytes;
                }
                is_kept
            });
            !domain.messages.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> Bytes {
        Bytes::from(number.to_string())
    }

    /// What a message of one byte needs that is the first of its subtopic, where so much is retained.
    fn need(entries: usize) -> Need {
        Need {
            more: Room { entries: 1, bytes: 1 },
            used: Room {
                entries,
                bytes: entries,
            },
        }
    }

    #[test]
    fn what_was_admitted_counts_until_it_is_there() {
        let (mut admitted, domain_id) = (Admitted::default(), DomainId::new());
        let used = RETAINED_DOMAIN_ENTRIES_MAX - 2;
        assert!(admitted.admit(domain_id, &id(0), need(used), 0));
        assert!(admitted.admit(domain_id, &id(1), need(used), 0));
        assert!(!admitted.admit(domain_id, &id(2), need(used), 0));
        assert!(admitted.admit(domain_id, &id(1), need(used), 0), "it is admitted again");
        assert!(admitted.admit(DomainId::new(), &id(2), need(used), 0), "another domain");
        let of_no_more = Need {
            more: Room::default(),
            ..need(used)
        };
        assert!(
            admitted.admit(domain_id, &id(2), of_no_more, 0),
            "it takes the place of another"
        );
        admitted.remove(domain_id, &id(2));
        admitted.remove(domain_id, &id(0));
        assert!(
            !admitted.admit(domain_id, &id(2), need(used + 1), 0),
            "the other is not there yet"
        );
        admitted.remove(domain_id, &id(1));
        assert!(admitted.admit(domain_id, &id(2), need(used + 1), 0));
        assert!(!admitted.admit(domain_id, &id(3), need(used + 2), 0));
    }

    #[test]
    fn bytes_are_bounded_as_messages_are() {
        let (mut admitted, domain_id) = (Admitted::default(), DomainId::new());
        let of_bytes = |bytes| Need {
            more: Room { entries: 1, bytes },
            used: Room::default(),
        };
        assert!(admitted.admit(domain_id, &id(0), of_bytes(RETAINED_DOMAIN_BYTES_MAX - 1), 0));
        assert!(!admitted.admit(domain_id, &id(1), of_bytes(2), 0));
        assert!(admitted.admit(domain_id, &id(1), of_bytes(1), 0));
    }

    #[test]
    fn what_never_comes_has_room_for_a_while_whatever_else_comes() {
        let (mut admitted, domain_id) = (Admitted::default(), DomainId::new());
        let used = RETAINED_DOMAIN_ENTRIES_MAX - 2;
        assert!(admitted.admit(domain_id, &id(0), need(used), 1));
        assert!(admitted.admit(domain_id, &id(1), need(used), 2));
        admitted.lapse(2);
        assert!(admitted.admit(domain_id, &id(2), need(used), 3));
        assert!(!admitted.admit(domain_id, &id(3), need(used), 3));
        admitted.lapse(4);
        assert!(admitted.0.is_empty());
    }
}

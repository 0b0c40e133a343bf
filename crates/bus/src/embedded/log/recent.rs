//! De-duplication without touching the disk: the newest message ids and where they are.
//!
//! Only ids that may come again are remembered. Message ids rise with time: one above every id that left this memory cannot be in the
//! log, and only others must be looked up.

use std::collections::{HashMap, VecDeque};

use trunkline_core::MessageId;

/// Ids remembered per log.
pub(super) const RECENT_IDS_MAX: usize = 16_384;

/// What is known about an id without asking the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It is in the log, at this sequence.
    At(u64),
    /// It is not in the log.
    New,
    /// The disk knows.
    Unknown,
}

/// The newest ids of one shard.
#[derive(Debug)]
pub(super) struct Recent {
    sequences: HashMap<MessageId, u64>,
    order: VecDeque<MessageId>,
    ids_max: usize,
    /// No id above this one is in the log but those remembered.
    forgotten_max: Option<MessageId>,
}

impl Recent {
    /// Remembers nothing; the highest id in the log is `id_max`.
    pub(super) fn new(id_max: Option<MessageId>, ids_max: usize) -> Self {
        Self {
            sequences: HashMap::new(),
            order: VecDeque::new(),
            ids_max,
            forgotten_max: id_max,
        }
    }

    pub(super) fn look_up(&self, id: MessageId) -> Known {
        match self.sequences.get(&id) {
            Some(sequence) => Known::At(*sequence),
            None if self.forgotten_max.is_none_or(|max| id > max) => Known::New,
            None => Known::Unknown,
        }
    }

    pub(super) fn remember(&mut self, id: MessageId, sequence: u64) {
        self.sequences.insert(id, sequence);
        self.order.push_back(id);
        if self.order.len() > self.ids_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.sequences.remove(&oldest);
            self.forgotten_max = self.forgotten_max.max(Some(oldest));
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::MessageId;
    use uuid::Uuid;

    use super::*;

    fn id(number: u128) -> MessageId {
        MessageId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn only_ids_below_a_forgotten_one_must_be_looked_up() {
        let mut recent = Recent::new(Some(id(5)), 2);
        assert_eq!(recent.look_up(id(5)), Known::Unknown);
        assert_eq!(recent.look_up(id(6)), Known::New);
        for number in [9, 7, 8] {
            recent.remember(id(number), u64::try_from(number).unwrap());
        }
        assert_eq!(recent.look_up(id(7)), Known::At(7));
        assert_eq!(recent.look_up(id(9)), Known::Unknown);
        assert_eq!(recent.look_up(id(10)), Known::New);
    }
}

//! What can be asked of the store, and the page that answers.
//!
//! Records of a channel are totally ordered by (time, message id, index in pack). A page is a stretch of that order between two keys,
//! which is why a cursor costs nothing however far it reaches, while an offset costs as many rows as it skips.

use trunkline_core::{ChannelId, DomainId, MessageId};
use uuid::Uuid;

use crate::{Protocol, StoredRecord};

/// Matches that are counted exactly; beyond, the total is this number and says that it is capped.
pub const TOTAL_MAX: u64 = 10_000;

/// A request for a page of one channel's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Domain of the channel.
    pub domain_id: DomainId,
    /// The channel.
    pub channel_id: ChannelId,
    /// Which of its records.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// Where to go on, exclusively.
    pub after: Option<Cursor>,
    /// Records to skip from there.
    pub offset: u64,
    /// Records to return at most.
    pub limit: PageLimit,
}

impl Query {
    /// The latest records of a channel.
    pub fn latest(domain_id: DomainId, channel_id: ChannelId) -> Query {
        Query {
            domain_id,
            channel_id,
            filter: Filter::default(),
            order: Order::Descending,
            after: None,
            offset: 0,
            limit: PageLimit::default(),
        }
    }
}

/// Which records of a channel; what is `None` does not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Earliest time in nanoseconds since the Unix epoch, inclusive.
    pub from: Option<i64>,
    /// Latest time in nanoseconds since the Unix epoch, exclusive.
    pub to: Option<i64>,
    /// Exactly this subtopic; empty means records without one.
    pub subtopic: Option<String>,
    /// Published by this principal.
    pub publisher_id: Option<Uuid>,
    /// Arrived by this protocol.
    pub protocol: Option<Protocol>,
    /// Exactly this name.
    pub name: Option<String>,
}

/// The order of a page by time; message id and index in pack decide between equal times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Latest first.
    #[default]
    Descending,
    /// Earliest first.
    Ascending,
}

/// The number of records that a page may have: 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit(u16);

/// A page limit beyond [`PageLimit::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a page has at most {} records", PageLimit::MAX)]
pub struct LimitOutOfRange;

impl PageLimit {
    /// The most records of a page.
    pub const MAX: u16 = 1000;

    /// The limit that a number asks for; 0 asks for the default of 10.
    ///
    /// # Errors
    /// When it is beyond [`PageLimit::MAX`].
    pub fn parse(number: u64) -> Result<PageLimit, LimitOutOfRange> {
        match u16::try_from(number) {
            Ok(0) => Ok(PageLimit::default()),
            Ok(limit) if limit <= PageLimit::MAX => Ok(PageLimit(limit)),
            _ => Err(LimitOutOfRange),
        }
    }

    /// The number.
    pub const fn count(self) -> usize {
        self.0 as usize
    }
}

impl Default for PageLimit {
    fn default() -> PageLimit {
        PageLimit(10)
    }
}

/// The place of a record in the order of its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Time of the record.
    pub time: i64,
    /// Message of the record.
    pub message_id: MessageId,
    /// Place in its pack.
    pub pack_index: u32,
}

impl Cursor {
    const FIRST: Cursor = Cursor::first_at(i64::MIN);
    /// Above every record that exists: no pack has that many records.
    const LAST: Cursor = Cursor {
        time: i64::MAX,
        message_id: MessageId::from_uuid(Uuid::max()),
        pack_index: u32::MAX,
    };

    /// The place of a record.
    pub fn of(record: &StoredRecord) -> Cursor {
        Cursor {
            time: record.time,
            message_id: record.origin.message_id,
            pack_index: record.pack_index,
        }
    }

    const fn first_at(time: i64) -> Cursor {
        Cursor {
            time,
            message_id: MessageId::from_uuid(Uuid::nil()),
            pack_index: 0,
        }
    }

    const fn successor(self) -> Cursor {
        Cursor {
            pack_index: self.pack_index.saturating_add(1),
            ..self
        }
    }
}

/// A stretch of a channel's order: from `start`, inclusive, to `end`, exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) start: Cursor,
    pub(crate) end: Cursor,
}

impl KeyRange {
    /// All that the filter's times allow.
    pub(crate) fn of_filter(filter: &Filter) -> KeyRange {
        KeyRange {
            start: filter.from.map_or(Cursor::FIRST, Cursor::first_at),
            end: filter.to.map_or(Cursor::LAST, Cursor::first_at),
        }
    }

    /// What of it is still to come after a cursor.
    pub(crate) fn after(self, cursor: Cursor, order: Order) -> KeyRange {
        match order {
            Order::Descending => KeyRange {
                end: self.end.min(cursor),
                ..self
            },
            Order::Ascending => KeyRange {
                start: self.start.max(cursor.successor()),
                ..self
            },
        }
    }
}

/// A page of records.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The records, in the order asked for. Fewer than the limit when they are large or the last ones.
    pub records: Vec<StoredRecord>,
    /// Records that match the filter, whatever the offset and cursor; at most [`TOTAL_MAX`].
    pub total: u64,
    /// Whether there are more than `total`.
    pub is_total_capped: bool,
    /// Where the next page begins; `None` when this one is the last.
    pub next: Option<Cursor>,
}

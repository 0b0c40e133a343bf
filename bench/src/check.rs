//! The checker: holds what a destination gives back against the ledger.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use crate::ledger::{ANSWER_TIME_MAX, Book, Entry, Outcome, Producer};
use crate::row::Row;

/// Findings of one kind that are described; the others are only counted.
const EXAMPLES_MAX: u64 = 5;

/// What was found. Everything below `refused` must be zero, except what says that it is allowed or unknown.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Messages sent.
    pub sent: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages refused.
    pub refused: u64,
    /// Acknowledged and not there.
    pub lost: u64,
    /// There, and never sent, or refused.
    pub phantom: u64,
    /// There with another content, channel, publisher or protocol.
    pub corrupted: u64,
    /// There in another domain than its own.
    pub leaked: u64,
    /// Sent after a message of the same producer that stands behind it.
    pub reordered: u64,
    /// There more than once, because it was sent more than once for want of an answer.
    pub duplicated_allowed: u64,
    /// There more often than it was sent, or two records under one message id.
    pub duplicated_forbidden: u64,
    /// Neither answered nor cut off within [`ANSWER_TIME_MAX`].
    pub late: u64,
    /// Not answered, and there.
    pub unknown_present: u64,
    /// Not answered, and not there.
    pub unknown_absent: u64,
    /// The first findings of each forbidden kind, in words.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether no promise was broken.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.forbidden().iter().all(|(_, count)| *count == 0)
    }

    fn forbidden(&self) -> [(&'static str, u64); 7] {
        [
            ("lost", self.lost),
            ("phantom", self.phantom),
            ("corrupted", self.corrupted),
            ("leaked", self.leaked),
            ("reordered", self.reordered),
            ("duplicated (forbidden)", self.duplicated_forbidden),
            ("late", self.late),
        ]
    }

    fn find(&mut self, count: fn(&mut Self) -> &mut u64, words: impl FnOnce() -> String) {
        *count(self) += 1;
        if *count(self) <= EXAMPLES_MAX {
            self.examples.push(words());
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = [
            ("sent", self.sent),
            ("acknowledged", self.acknowledged),
            ("refused", self.refused),
        ];
        let unknown = [
            ("duplicated (allowed)", self.duplicated_allowed),
            ("unknown present", self.unknown_present),
            ("unknown absent", self.unknown_absent),
        ];
        for (name, count) in open.into_iter().chain(self.forbidden()).chain(unknown) {
            writeln!(formatter, "{name:24}{count:>12}")?;
        }
        for example in &self.examples {
            writeln!(formatter, "  {example}")?;
        }
        write!(
            formatter,
            "ledger: {}",
            if self.is_clean() { "clean" } else { "BROKEN" }
        )
    }
}

/// Judges `rows`, which are all rows of the book's channels in the order in which they stand at their destination.
#[must_use]
pub fn check(book: &Book, rows: &[Row]) -> Verdict {
    let mut check = Check {
        book,
        verdict: Verdict::default(),
        seen: book.entries.iter().map(|entries| vec![0; entries.len()]).collect(),
        latest: vec![None; book.producers.len()],
        message_ids: HashSet::with_capacity(rows.len()),
    };
    for row in rows {
        check.row(row);
    }
    check.entries();
    check.verdict
}

struct Check<'a> {
    book: &'a Book,
    verdict: Verdict,
    /// How often each message was found.
    seen: Vec<Vec<u32>>,
    latest: Vec<Option<u64>>,
    message_ids: HashSet<(uuid::Uuid, u32)>,
}

impl Check<'_> {
    fn row(&mut self, row: &Row) {
        let Some((producer, sequence, entry)) = sent(self.book, row) else {
            let words = || format!("phantom: `{}` in {} was never sent", row.name, row.place.channel);
            return self.verdict.find(|verdict| &mut verdict.phantom, words);
        };
        let name = &row.name;
        if producer.place.domain != row.place.domain {
            let words = || {
                format!(
                    "leaked: {name} of domain {} is in {}",
                    producer.place.domain, row.place.domain
                )
            };
            return self.verdict.find(|verdict| &mut verdict.leaked, words);
        }
        if let Some(difference) = difference(row, producer, entry) {
            // It is there, if damaged, and so not lost as well.
            self.seen[producer.id as usize][sequence as usize] += 1;
            let words = || format!("corrupted: {name} has another {difference}");
            return self.verdict.find(|verdict| &mut verdict.corrupted, words);
        }
        if !self.message_ids.insert((row.message_id, row.pack_index)) {
            let words = || format!("duplicated: {name} is there twice as message {}", row.message_id);
            return self.verdict.find(|verdict| &mut verdict.duplicated_forbidden, words);
        }
        let seen = &mut self.seen[producer.id as usize][sequence as usize];
        *seen += 1;
        match (*seen, entry.sends) {
            (1, 1) => self.order(producer, sequence, row),
            (1, _) => {}
            // At QoS 2 a message that is sent again is the same one.
            (times, sends) if times <= sends && producer.qos < 2 => self.verdict.duplicated_allowed += 1,
            (times, sends) => {
                let words = || format!("duplicated: {name} was sent {sends} and is there {times} times");
                self.verdict.find(|verdict| &mut verdict.duplicated_forbidden, words);
            }
        }
    }

    /// A message that was repeated may stand anywhere; the others stand as they were sent.
    fn order(&mut self, producer: &Producer, sequence: u64, row: &Row) {
        let latest = &mut self.latest[producer.id as usize];
        match *latest {
            Some(before) if before > sequence => {
                let words = || format!("reordered: {} stands behind {before}", row.name);
                self.verdict.find(|verdict| &mut verdict.reordered, words);
            }
            _ => *latest = Some(sequence),
        }
    }

    fn entries(&mut self) {
        for (producer, entries) in self.book.entries.iter().enumerate() {
            for (sequence, entry) in entries.iter().enumerate() {
                self.entry(
                    &format_args!("{}/{producer}/{sequence}", self.book.run),
                    entry,
                    self.seen[producer][sequence],
                );
            }
        }
    }

    fn entry(&mut self, name: &fmt::Arguments<'_>, entry: &Entry, seen: u32) {
        let verdict = &mut self.verdict;
        verdict.sent += 1;
        let waited = Duration::from_nanos(entry.waited_ns);
        if waited >= ANSWER_TIME_MAX {
            verdict.find(
                |verdict| &mut verdict.late,
                || format!("late: {name} waited for {waited:?}"),
            );
        }
        match (entry.outcome, seen) {
            (Outcome::Kept, 0) => {
                verdict.acknowledged += 1;
                verdict.find(|verdict| &mut verdict.lost, || format!("lost: {name} was acknowledged"));
            }
            (Outcome::Kept, _) => verdict.acknowledged += 1,
            (Outcome::Refused, 0) => verdict.refused += 1,
            (Outcome::Refused, _) => {
                verdict.refused += 1;
                verdict.find(
                    |verdict| &mut verdict.phantom,
                    || format!("phantom: {name} was refused"),
                );
            }
            (Outcome::Unknown, 0) => verdict.unknown_absent += 1,
            (Outcome::Unknown, _) => verdict.unknown_present += 1,
        }
    }
}

/// The message that a row says to be, with its producer; `None` if none such was sent.
fn sent<'book>(book: &'book Book, row: &Row) -> Option<(&'book Producer, u64, &'book Entry)> {
    let (run, producer, sequence) = row.identity()?;
    let entry = book
        .entries
        .get(producer as usize)?
        .get(usize::try_from(sequence).ok()?)?;
    (run == book.run).then_some((&book.producers[producer as usize], sequence, entry))
}

/// What of a row is not as it was sent.
fn difference(row: &Row, producer: &Producer, entry: &Entry) -> Option<&'static str> {
    let is_equal = [
        ("content", row.hash() == entry.hash),
        ("channel", row.place.channel == producer.place.channel),
        ("publisher", row.publisher == producer.publisher),
        ("protocol", row.protocol == producer.protocol.stored_as()),
        ("place in its pack", row.pack_index == 0),
    ];
    is_equal.iter().find(|(_, is_equal)| !is_equal).map(|(name, _)| *name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

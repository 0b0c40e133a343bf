//! Reading the ledger back.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::str::{FromStr, SplitWhitespace};

use anyhow::{Context as _, Result, bail, ensure};

use super::Producer;
use crate::{Hash, Place};

/// A whole ledger.
#[derive(Debug, Default, Clone)]
pub struct Book {
    /// Its run.
    pub run: String,
    /// Its producers; their number is their place.
    pub producers: Vec<Producer>,
    /// The messages of each producer; their sequence is their place.
    pub entries: Vec<Vec<Entry>>,
    /// What each producer waits for, and since when: messages by their sequence.
    waiting: Vec<HashMap<usize, u64>>,
    /// When the last of all this happened.
    last_ns: u64,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What must be given back.
    pub hash: Hash,
    /// How often it was sent.
    pub sends: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// When it was first sent, in nanoseconds since the Unix epoch.
    pub sent_ns: u64,
    /// When it was answered.
    pub answered_ns: Option<u64>,
    /// Longest time in nanoseconds for which it waited for an answer over one connection; 0 at QoS 0, which has none.
    pub waited_ns: u64,
}

/// What is known of a message's fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: it may be there or not.
    Unknown,
    /// It was acknowledged and must be there.
    Kept,
    /// It was refused and must not be there.
    Refused,
}

impl Book {
    /// Reads a ledger. A last line without an end was being written when its generator died and is left out.
    ///
    /// # Errors
    /// When the file cannot be read or a line cannot be understood, by its number.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("the ledger {} cannot be opened", path.display()))?;
        let (mut reader, mut book, mut line) = (BufReader::new(file), Self::default(), String::new());
        for number in 1_u64.. {
            line.clear();
            reader.read_line(&mut line)?;
            let Some(whole) = line.strip_suffix('\n') else { break };
            book.take(whole)
                .with_context(|| format!("{}, line {number}: `{whole}`", path.display()))?;
        }
        ensure!(!book.run.is_empty(), "{} is no ledger", path.display());
        for producer in 0..book.producers.len() {
            book.closed(producer, book.last_ns);
        }
        Ok(book)
    }

    /// Every channel that something was sent to.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let places: HashSet<&Place> = self.producers.iter().map(|producer| &producer.place).collect();
        let mut places: Vec<Place> = places.into_iter().cloned().collect();
        places.sort();
        places
    }

    /// Messages that were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let entries = self.entries.iter().flatten();
        entries.filter(|entry| entry.outcome == Outcome::Kept).count() as u64
    }

    fn take(&mut self, line: &str) -> Result<()> {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("run") => self.run = word(&mut words)?,
            Some("producer") => self.take_producer(&mut words)?,
            Some("sent") => self.take_sent(&mut words)?,
            Some("again") => {
                let (id, at_ns) = self.message(&mut words)?;
                self.entry(id).sends += 1;
                self.waits(id, at_ns);
            }
            Some(kind @ ("kept" | "refused" | "unclear")) => {
                let (id, at_ns) = self.message(&mut words)?;
                self.waits_no_more(id, at_ns);
                let entry = self.entry(id);
                entry.answered_ns = Some(at_ns);
                entry.outcome = match kind {
                    "kept" => Outcome::Kept,
                    // A refused attempt says nothing of an earlier one without an answer.
                    "refused" if entry.sends == 1 => Outcome::Refused,
                    _ => Outcome::Unknown,
                };
            }
            Some("closed") => {
                let (producer, at_ns) = (word(&mut words)?, word(&mut words)?);
                ensure!(producer < self.producers.len(), "the producer is not known");
                self.closed(producer, at_ns);
            }
            _ => bail!("what this line says is not known"),
        }
        Ok(())
    }

    fn take_producer(&mut self, words: &mut SplitWhitespace<'_>) -> Result<()> {
        let id: u32 = word(words)?;
        ensure!(id as usize == self.producers.len(), "producers are numbered in order");
        self.producers.push(Producer {
            id,
            protocol: word(words)?,
            qos: word(words)?,
            place: Place {
                domain: word(words)?,
                channel: word(words)?,
            },
            publisher: word(words)?,
        });
        self.entries.push(Vec::new());
        self.waiting.push(HashMap::new());
        Ok(())
    }

    fn take_sent(&mut self, words: &mut SplitWhitespace<'_>) -> Result<()> {
        let (producer, sequence): (usize, usize) = (word(words)?, word(words)?);
        let sent_ns = word(words)?;
        let entries = self.entries.get_mut(producer).context("the producer is not known")?;
        ensure!(sequence == entries.len(), "sequences are sent in order");
        entries.push(Entry {
            hash: hash(&word::<String>(words)?)?,
            sends: 1,
            outcome: Outcome::Unknown,
            sent_ns,
            answered_ns: None,
            waited_ns: 0,
        });
        self.waits((producer, sequence), sent_ns);
        Ok(())
    }

    /// A message that was sent, by its producer and sequence, and a time.
    fn message(&self, words: &mut SplitWhitespace<'_>) -> Result<((usize, usize), u64)> {
        let (producer, sequence): (usize, usize) = (word(words)?, word(words)?);
        let entries = self.entries.get(producer).context("the producer is not known")?;
        ensure!(sequence < entries.len(), "the message was not sent");
        Ok(((producer, sequence), word(words)?))
    }

    fn entry(&mut self, (producer, sequence): (usize, usize)) -> &mut Entry {
        &mut self.entries[producer][sequence]
    }

    /// A message is sent, and is to be answered.
    fn waits(&mut self, (producer, sequence): (usize, usize), at_ns: u64) {
        self.last_ns = self.last_ns.max(at_ns);
        if self.producers[producer].qos > 0 {
            self.waiting[producer].insert(sequence, at_ns);
        }
    }

    /// It was answered, or its connection is closed.
    fn waits_no_more(&mut self, (producer, sequence): (usize, usize), at_ns: u64) {
        self.last_ns = self.last_ns.max(at_ns);
        if let Some(since_ns) = self.waiting[producer].remove(&sequence) {
            let entry = self.entry((producer, sequence));
            entry.waited_ns = entry.waited_ns.max(at_ns.saturating_sub(since_ns));
        }
    }

    /// The connection of a producer is over.
    fn closed(&mut self, producer: usize, at_ns: u64) {
        let waiting: Vec<usize> = self.waiting[producer].keys().copied().collect();
        for sequence in waiting {
            self.waits_no_more((producer, sequence), at_ns);
        }
    }
}

fn word<Value: FromStr>(words: &mut SplitWhitespace<'_>) -> Result<Value> {
    let word = words.next().context("a word is missing")?;
    word.parse().ok().with_context(|| format!("`{word}` cannot be here"))
}

fn hash(text: &str) -> Result<Hash> {
    let digits: Option<Vec<u8>> = (0..text.len() / 2)
        .map(|i| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok())
        .collect();
    digits
        .and_then(|digits| digits.try_into().ok())
        .context("the hash has 64 hexadecimal digits")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Answer, Ledger, Protocol};
    use super::*;

    fn producer() -> Producer {
        Producer {
            id: 0,
            protocol: Protocol::Mqtt5,
            qos: 1,
            place: Place {
                domain: "d".into(),
                channel: "c".into(),
            },
            publisher: "p".into(),
        }
    }

    #[test]
    fn a_ledger_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let ledger = Ledger::create(&path, "run").unwrap();
        let id = ledger.producer(&producer());
        for sequence in 0..4 {
            ledger.sent(id, sequence, 10 + sequence, &[sequence as u8; 32]);
        }
        ledger.answered(id, 0, 20, &Answer::Kept("synced".into()));
        ledger.answered(id, 1, 21, &Answer::Refused("0x97".into()));
        ledger.again(id, 2, 22);
        ledger.answered(id, 2, 23, &Answer::Refused("0x97".into()));
        ledger.close().unwrap();

        let book = Book::read(&path).unwrap();
        assert_eq!((book.run.as_str(), &book.producers[..]), ("run", &[producer()][..]));
        let outcomes: Vec<_> = book.entries[0].iter().map(|entry| entry.outcome).collect();
        let (kept, refused, unknown) = (Outcome::Kept, Outcome::Refused, Outcome::Unknown);
        assert_eq!(outcomes, [kept, refused, unknown, unknown]);
        let third = &book.entries[0][2];
        assert_eq!((third.hash, third.sends, third.sent_ns), ([2; 32], 2, 12));
        assert_eq!(book.acknowledged(), 1);
    }

    #[test]
    fn a_message_waits_until_it_is_answered_or_its_connection_is_closed_or_the_ledger_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let ledger = Ledger::create(&path, "run").unwrap();
        let id = ledger.producer(&producer());
        let quiet = ledger.producer(&Producer { qos: 0, ..producer() });
        for sequence in 0..4 {
            ledger.sent(id, sequence, 10, &[0; 32]);
        }
        ledger.sent(quiet, 0, 10, &[0; 32]);
        ledger.answered(id, 0, 15, &Answer::Kept("synced".into()));
        ledger.closed(id, 30);
        // Nobody waits while there is no connection.
        ledger.again(id, 1, 100);
        ledger.again(id, 2, 100);
        ledger.answered(id, 1, 150, &Answer::Unclear("503".into()));
        ledger.answered(id, 1, 170, &Answer::Kept("synced".into()));
        ledger.close().unwrap();

        let waited = |producer: &[Entry]| producer.iter().map(|entry| entry.waited_ns).collect::<Vec<_>>();
        let book = Book::read(&path).unwrap();
        assert_eq!(waited(&book.entries[0]), [5, 50, 70, 20]);
        assert_eq!(waited(&book.entries[1]), [0], "nothing is promised at QoS 0");
    }

    #[test]
    fn a_line_that_was_not_finished_is_left_out_and_a_wrong_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        std::fs::write(&path, "run r\nproducer 0 http 1 d c p\nsent 0 0 1 00").unwrap();
        assert!(Book::read(&path).unwrap().entries[0].is_empty());
        std::fs::write(&path, "run r\nkept 0 0 1 synced\n").unwrap();
        let error = format!("{:#}", Book::read(&path).unwrap_err());
        assert!(
            error.contains("line 2") && error.contains("producer is not known"),
            "{error}"
        );
    }

    #[test]
    fn a_ledger_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        Ledger::create(&path, "one").unwrap().close().unwrap();
        assert!(Ledger::create(&path, "two").is_err());
    }
}

//! What is acknowledged first: a file of fixed size that is written in order and from the front again.
//!
//! The database is the log; the journal is what makes an acknowledgement cheap. A commit of SQLite writes whole pages of a table and of
//! an index, and waits for them; a record here is one write of the entries alone, and one sync of it where the tier asks for that. The
//! entries are in an open transaction of the database meanwhile, which is committed before the journal begins anew. Whoever opens the
//! log after a crash puts into the database what the journal holds beyond it.
//!
//! **Invariants:** a record is whole by its checksum or it does not count, nor does any after it; records of one lap carry one salt, drawn
//! anew for each lap, so that nothing of a lap before is taken for one of this; a lap ends only when all its entries are committed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crc::{CRC_32_ISCSI, Crc, Table};
use trunkline_core::{DomainId, MessageId};
use uuid::Uuid;

use super::store::NewRow;
use crate::log::{Incarnation, Shard, Tier};

/// Bytes of the file. All of them are written when it is made, so that later writes find their blocks, and a sync only data.
pub(super) const JOURNAL_BYTES: usize = 1024 * 1024;
/// Salt, incarnation, bytes of the body, checksum of these and of the body.
const HEADER_BYTES: usize = 8 + 8 + 4 + 4;
/// Shard, sequence, whether it may repeat, id, domain, time, bytes of the envelope.
const ROW_BYTES: usize = 2 + 8 + 1 + 16 + 16 + 8 + 4;
/// Zeros that a new file is written with, some at a time.
const ZEROS: &[u8] = &[0; 64 * 1024];
const CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Rows by shard, whose sequences rise.
pub(super) type Rows = BTreeMap<Shard, Vec<NewRow>>;

/// The file, which only the owner of the log writes.
pub(super) struct Journal {
    file: File,
    is_synced: bool,
    incarnation: Incarnation,
    salt: u64,
    /// Where the next record goes.
    end: usize,
    buffer: Vec<u8>,
}

impl Journal {
    /// Opens the journal at `path`, making it if there is none, of the log of `incarnation`. With [`Tier::Synced`] every record is synced.
    pub(super) fn open(path: &Path, incarnation: Incarnation, tier: Tier) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut written = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        while written < JOURNAL_BYTES {
            let zeros = &ZEROS[..ZEROS.len().min(JOURNAL_BYTES - written)];
            file.write_all_at(zeros, written as u64)?;
            written += zeros.len();
        }
        // Each time, since an end may have come between the making and this.
        file.sync_all()?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self {
            file,
            is_synced: tier == Tier::Synced,
            incarnation,
            salt: new_salt(),
            end: 0,
            buffer: Vec::new(),
        })
    }

    /// Whether `rows` go into what is left of this lap.
    pub(super) fn has_room(&self, rows: &Rows) -> bool {
        let body: usize = rows.values().flatten().map(|row| ROW_BYTES + row.envelope.len()).sum();
        self.end + HEADER_BYTES + body <= JOURNAL_BYTES
    }

    /// Writes `rows`, which there is room for. They are as durable as the tier says when this returns.
    ///
    /// # Errors
    /// Of the file. After a failed write the place is taken by the next record; a failed sync must end the log.
    pub(super) fn append(&mut self, rows: &Rows) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.salt.to_le_bytes());
        self.buffer.extend_from_slice(&self.incarnation.0.to_le_bytes());
        self.buffer.extend_from_slice(&[0; 8]);
        for (shard, rows) in rows {
            for row in rows {
                put(&mut self.buffer, *shard, row);
            }
        }
        let body = u32::try_from(self.buffer.len() - HEADER_BYTES).unwrap_or(u32::MAX);
        self.buffer[16..20].copy_from_slice(&body.to_le_bytes());
        let checksum = checksum(&self.buffer);
        self.buffer[20..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        self.file.write_all_at(&self.buffer, self.end as u64)?;
        if self.is_synced {
            // Never for want of room, which could be mended: the record is there, and whether it lasts nobody knows (reliability.md B4-13).
            self.file.sync_data().map_err(io::Error::other)?;
        }
        self.end += self.buffer.len();
        Ok(())
    }

    /// Begins a new lap: all that was appended is committed elsewhere.
    pub(super) fn rewind(&mut self) {
        self.end = 0;
        self.salt = new_salt();
    }

    /// The rows of the last lap that was begun, in their order.
    pub(super) fn rows(&self) -> io::Result<Rows> {
        let (mut place, mut rows, mut salt) = (0, Rows::new(), None);
        while let Some(record) = self.record(place)? {
            let (found, incarnation) = (u64_at(&record, 0), u64_at(&record, 8).cast_signed());
            if found != *salt.get_or_insert(found) || incarnation != self.incarnation.0 {
                break;
            }
            let mut body = &record[HEADER_BYTES..];
            while let Some((shard, row, after)) = take(body) {
                rows.entry(shard).or_default().push(row);
                body = after;
            }
            place += record.len();
        }
        Ok(rows)
    }

    /// The record that begins at `place`, if it is whole. It is read alone, since mostly there is none.
    fn record(&self, place: usize) -> io::Result<Option<Vec<u8>>> {
        if place + HEADER_BYTES > JOURNAL_BYTES {
            return Ok(None);
        }
        let mut record = vec![0; HEADER_BYTES];
        self.file.read_exact_at(&mut record, place as u64)?;
        let body = usize::try_from(u32_at(&record, 16)).unwrap_or(usize::MAX);
        if body == 0 || body > JOURNAL_BYTES - place - HEADER_BYTES {
            return Ok(None);
        }
        record.resize(HEADER_BYTES + body, 0);
        self.file
            .read_exact_at(&mut record[HEADER_BYTES..], (place + HEADER_BYTES) as u64)?;
        Ok((checksum(&record) == u32_at(&record, 20)).then_some(record))
    }

    /// Leaves nothing behind, once all is committed elsewhere.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.rewind();
        self.file.write_all_at(&[0; HEADER_BYTES], 0)
    }
}

fn new_salt() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}

/// The checksum of a record, in which its own place is passed over.
fn checksum(record: &[u8]) -> u32 {
    let mut digest = CHECKSUM.digest();
    digest.update(&record[..20]);
    digest.update(&record[HEADER_BYTES..]);
    digest.finalize()
}

fn put(buffer: &mut Vec<u8>, shard: Shard, row: &NewRow) {
    buffer.extend_from_slice(&shard.0.to_le_bytes());
    buffer.extend_from_slice(&row.sequence.to_le_bytes());
    buffer.push(u8::from(row.may_repeat));
    buffer.extend_from_slice(row.id.as_bytes());
    buffer.extend_from_slice(row.domain.as_bytes());
    buffer.extend_from_slice(&row.appended_at.to_le_bytes());
    // An envelope is far below 4 GiB; one that were not would not have room here.
    let envelope_bytes = u32::try_from(row.envelope.len()).unwrap_or(u32::MAX);
    buffer.extend_from_slice(&envelope_bytes.to_le_bytes());
    buffer.extend_from_slice(&row.envelope);
}

/// The row that `body` begins with, and what comes after it.
fn take(body: &[u8]) -> Option<(Shard, NewRow, &[u8])> {
    let (row, rest) = body.split_at_checked(ROW_BYTES)?;
    let shard = Shard(u16::from_le_bytes([row[0], row[1]]));
    let (envelope, rest) = rest.split_at_checked(usize::try_from(u32_at(row, 51)).ok()?)?;
    let row = NewRow {
        sequence: u64_at(row, 2),
        may_repeat: row[10] != 0,
        id: MessageId::from_slice(&row[11..27])?,
        domain: DomainId::from_slice(&row[27..43])?,
        appended_at: u64_at(row, 43).cast_signed(),
        envelope: envelope.to_vec(),
    };
    Some((shard, row, rest))
}

/// The number that begins at `place`, which is within `bytes`.
fn u64_at(bytes: &[u8], place: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[place..place + 8]);
    u64::from_le_bytes(number)
}

fn u32_at(bytes: &[u8], place: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[place..place + 4]);
    u32::from_le_bytes(number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const INCARNATION: Incarnation = Incarnation(7);

    fn row(sequence: u64, envelope_bytes: usize) -> NewRow {
        NewRow {
            sequence,
            id: MessageId::new(),
            may_repeat: sequence.is_multiple_of(2),
            domain: DomainId::new(),
            appended_at: -5,
            envelope: vec![9; envelope_bytes],
        }
    }

    fn rows_of(sequences: std::ops::Range<u64>, envelope_bytes: usize) -> Rows {
        let rows = sequences.map(|sequence| row(sequence, envelope_bytes));
        Rows::from([(Shard(3), rows.collect())])
    }

    fn sequences(journal: &Journal) -> Vec<u64> {
        let rows = journal.rows().unwrap();
        rows.values().flatten().map(|row| row.sequence).collect()
    }

    fn opened(dir: &Path) -> Journal {
        Journal::open(&dir.join("journal"), INCARNATION, Tier::Synced).unwrap()
    }

    #[test]
    fn what_was_appended_is_found_again_by_who_opens_it_next() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = opened(dir.path());
        assert_eq!(sequences(&journal), [0; 0]);
        let rows = rows_of(1..3, 40);
        journal.append(&rows).unwrap();
        journal.append(&rows_of(3..4, 0)).unwrap();
        let again = opened(dir.path());
        assert_eq!(sequences(&again), [1, 2, 3]);
        let found = again.rows().unwrap();
        for (found, row) in found[&Shard(3)].iter().zip(&rows[&Shard(3)]) {
            assert_eq!(
                (found.id, found.domain, found.may_repeat),
                (row.id, row.domain, row.may_repeat)
            );
            assert_eq!((found.appended_at, &found.envelope), (row.appended_at, &row.envelope));
        }
    }

    #[test]
    fn nothing_of_a_lap_before_is_taken_for_one_of_this() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = opened(dir.path());
        for sequence in 1..4 {
            journal.append(&rows_of(sequence..sequence + 1, 10)).unwrap();
        }
        journal.rewind();
        journal.append(&rows_of(4..5, 10)).unwrap();
        assert_eq!(sequences(&opened(dir.path())), [4]);
        journal.clear().unwrap();
        assert_eq!(sequences(&opened(dir.path())), [0; 0]);
    }

    #[test]
    fn a_record_that_is_not_whole_ends_what_counts() {
        for broken in [0, 17, 21, HEADER_BYTES + 3] {
            let dir = tempfile::tempdir().unwrap();
            let mut journal = opened(dir.path());
            journal.append(&rows_of(1..2, 10)).unwrap();
            let second = journal.end;
            journal.append(&rows_of(2..3, 10)).unwrap();
            journal.append(&rows_of(3..4, 10)).unwrap();
            let mut byte = [0];
            let place = (second + broken) as u64;
            journal.file.read_exact_at(&mut byte, place).unwrap();
            journal.file.write_all_at(&[!byte[0]], place).unwrap();
            assert_eq!(
                sequences(&opened(dir.path())),
                [1],
                "byte {broken} of the second record is broken"
            );
        }
    }

    #[test]
    fn the_journal_of_another_log_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        opened(dir.path()).append(&rows_of(1..2, 10)).unwrap();
        let other = Journal::open(&dir.path().join("journal"), Incarnation(8), Tier::Synced).unwrap();
        assert_eq!(sequences(&other), [0; 0]);
    }

    #[test]
    fn a_lap_has_room_for_as_much_as_the_file_has_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = opened(dir.path());
        let (full, more) = (JOURNAL_BYTES - HEADER_BYTES - ROW_BYTES, rows_of(2..3, 0));
        assert!(!journal.has_room(&rows_of(1..2, full + 1)));
        let largest = rows_of(1..2, full);
        assert!(journal.has_room(&largest));
        journal.append(&largest).unwrap();
        assert!(!journal.has_room(&more));
        assert_eq!(sequences(&opened(dir.path())), [1]);
        journal.rewind();
        assert!(journal.has_room(&more));
    }
}

//! The log's SQL: one table per shard, so that every insert goes to the right edge of a tree. No decisions.
//!
//! Calls block. The owner makes its own on its thread, where a statement costs no change of threads; `read` and `copy` run on others.

use std::ops::RangeInclusive;
use std::path::Path;

use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, params};
use trunkline_core::{DomainId, MessageId};

use crate::log::{ReadLimit, Shard, Tier};

pub(super) use rusqlite::Error;

/// The format of a new file: a journal is beside it.
pub(super) const FORMAT: i64 = 3;
/// The formats before that, which become [`FORMAT`] when they are opened.
pub(super) const FORMATS_BEFORE: std::ops::RangeInclusive<i64> = FORMAT_ALL_IDS..=2;
/// The first format: its index has the ids of all entries, and goes on as it is.
const FORMAT_ALL_IDS: i64 = 1;
/// Statements kept prepared.
const STATEMENTS_MAX: usize = 512;

const META: &str = "
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS recorded (shard INTEGER PRIMARY KEY, head INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS held (
    shard INTEGER NOT NULL,
    domain BLOB NOT NULL,
    entries INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    first INTEGER NOT NULL,
    PRIMARY KEY (shard, domain)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS groups (name TEXT PRIMARY KEY, is_required INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS positions (
    name TEXT NOT NULL,
    shard INTEGER NOT NULL,
    committed INTEGER NOT NULL,
    PRIMARY KEY (name, shard)
) STRICT, WITHOUT ROWID;
";

/// One row of a shard's table.
pub(super) struct NewRow {
    pub(super) sequence: u64,
    pub(super) id: MessageId,
    /// Whether the same id may be appended again.
    pub(super) may_repeat: bool,
    pub(super) domain: DomainId,
    pub(super) appended_at: i64,
    pub(super) envelope: Vec<u8>,
}

/// One row that was removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Removed {
    pub(super) sequence: u64,
    pub(super) domain: DomainId,
    pub(super) bytes: u64,
}

/// What one domain holds in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    /// No entry of the domain has a lower sequence.
    pub(super) first: u64,
}

/// The connection that commits. There is one: SQLite allows one writer.
pub(super) struct Store {
    connection: Connection,
    /// Whether entries that cannot come again are found by their ids, too.
    has_all_ids: bool,
}

fn number(value: u64) -> i64 {
    i64::try_from(value).expect("sequences and byte counts stay below 2^63")
}

fn unsigned(row: &Row<'_>, column: usize) -> Result<u64, Error> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

fn domain_of(row: &Row<'_>, column: usize) -> Result<DomainId, Error> {
    let bytes = row.get_ref(column)?.as_blob()?;
    DomainId::from_slice(bytes).ok_or_else(|| {
        let cause = "a domain has 16 bytes".into();
        Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, cause)
    })
}

impl Store {
    /// Opens the file, making what is missing but the shards' tables. Commits are synced until [`Self::set_tier`].
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.pragma_update(None, "page_size", 4_096)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "cache_size", -2_000)?;
        connection.pragma_update(None, "temp_store", "memory")?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.execute_batch(META)?;
        Ok(Self {
            connection,
            has_all_ids: false,
        })
    }

    /// From now on commits are as durable as `tier` says.
    pub(super) fn set_tier(&mut self, tier: Tier) -> Result<(), Error> {
        let synchronous = match tier {
            Tier::Synced => "FULL",
            Tier::None | Tier::Written => "NORMAL",
        };
        self.connection.pragma_update(None, "synchronous", synchronous)
    }

    /// The format of the file, which is [`FORMAT`] when it is new.
    pub(super) fn format(&mut self) -> Result<i64, Error> {
        self.meta("format", FORMAT)
    }

    /// Makes a file of `format`, which is one of [`FORMATS_BEFORE`] or [`FORMAT`], one of [`FORMAT`].
    pub(super) fn adopt(&mut self, format: i64) -> Result<(), Error> {
        self.has_all_ids = self.meta("all_ids", i64::from(format == FORMAT_ALL_IDS))? != 0;
        let sql = "UPDATE meta SET value = ? WHERE name = 'format' AND value <> ?";
        self.connection.execute(sql, [FORMAT, FORMAT])?;
        Ok(())
    }

    /// Makes the tables of `shards` shards where they are missing. An entry that cannot come again has an empty id, which its index leaves
    /// out: that is a page less to be written by most commits. A file that began as the first format keeps its index of all entries.
    pub(super) fn make_shards(&mut self, shards: u16) -> Result<(), Error> {
        for shard in 0..shards {
            self.connection.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS log_{shard} (
                    sequence INTEGER PRIMARY KEY, id BLOB NOT NULL, domain BLOB NOT NULL, appended_at INTEGER NOT NULL,
                    envelope BLOB NOT NULL
                ) STRICT;
                CREATE UNIQUE INDEX IF NOT EXISTS log_{shard}_id ON log_{shard} (id) WHERE id <> x'';"
            ))?;
        }
        Ok(())
    }

    /// A number that was kept under `name`; when there is none, keeps `fresh`.
    pub(super) fn meta(&mut self, name: &str, fresh: i64) -> Result<i64, Error> {
        self.connection.execute(
            "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
            params![name, fresh],
        )?;
        let sql = "SELECT value FROM meta WHERE name = ?";
        self.connection.query_row(sql, [name], |row| row.get(0))
    }

    /// The head of `shard` when holdings were recorded last.
    pub(super) fn recorded_head(&mut self, shard: Shard) -> Result<u64, Error> {
        let head = self
            .prepare("SELECT head FROM recorded WHERE shard = ?")?
            .query_row([shard.0], |row| unsigned(row, 0))
            .optional()?;
        Ok(head.unwrap_or(0))
    }

    /// What the domains of `shard` held when that was recorded last.
    pub(super) fn recorded_held(&mut self, shard: Shard) -> Result<Vec<(DomainId, Held)>, Error> {
        self.prepare("SELECT domain, entries, bytes, first FROM held WHERE shard = ?")?
            .query_map([shard.0], held_of)?
            .collect()
    }

    /// What entries after `sequence` add per domain, and the last of them.
    pub(super) fn held_after(&mut self, shard: Shard, sequence: u64) -> Result<(Vec<(DomainId, Held)>, u64), Error> {
        let sql = format!(
            "SELECT domain, count(*), sum(length(envelope)), min(sequence), max(sequence) FROM log_{shard}
             WHERE sequence > ? GROUP BY domain"
        );
        let mut last = sequence;
        let held = self
            .prepare(&sql)?
            .query_map([number(sequence)], |row| {
                last = last.max(unsigned(row, 4)?);
                held_of(row)
            })?
            .collect::<Result<_, _>>()?;
        Ok((held, last))
    }

    /// Records what `domains` hold as of `head`. A domain that holds nothing is forgotten.
    pub(super) fn record(&mut self, shard: Shard, head: u64, domains: &[(DomainId, Held)]) -> Result<(), Error> {
        self.begin()?;
        for (domain, held) in domains {
            let domain = domain.as_bytes().as_slice();
            if held.entries == 0 {
                self.prepare("DELETE FROM held WHERE shard = ? AND domain = ?")?
                    .execute(params![shard.0, domain])?;
                continue;
            }
            let (entries, bytes, first) = (number(held.entries), number(held.bytes), number(held.first));
            self.prepare(
                "INSERT INTO held (shard, domain, entries, bytes, first) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (shard, domain) DO UPDATE
                 SET entries = excluded.entries, bytes = excluded.bytes, first = excluded.first",
            )?
            .execute(params![shard.0, domain, entries, bytes, first])?;
        }
        self.prepare(
            "INSERT INTO recorded (shard, head) VALUES (?, ?) ON CONFLICT (shard) DO UPDATE SET head = excluded.head",
        )?
        .execute(params![shard.0, number(head)])?;
        Ok(())
    }

    /// The highest message id of `shard` that [`Self::find`] finds.
    pub(super) fn id_max(&mut self, shard: Shard) -> Result<Option<MessageId>, Error> {
        let sql = format!("SELECT id FROM log_{shard} WHERE id <> x'' ORDER BY id DESC LIMIT 1");
        let id = self
            .prepare(&sql)?
            .query_row([], |row| Ok(MessageId::from_slice(row.get_ref(0)?.as_blob()?)))
            .optional()?;
        Ok(id.flatten())
    }

    /// Where `id` is in `shard`, if it may come again.
    pub(super) fn find(&mut self, shard: Shard, id: MessageId) -> Result<Option<u64>, Error> {
        let sql = format!("SELECT sequence FROM log_{shard} WHERE id = ? AND id <> x''");
        self.prepare(&sql)?
            .query_row([id.as_bytes().as_slice()], |row| unsigned(row, 0))
            .optional()
    }

    /// Inserts `rows`, whose sequences rise.
    pub(super) fn insert(&mut self, shard: Shard, rows: &[NewRow]) -> Result<(), Error> {
        self.begin()?;
        let sql =
            format!("INSERT INTO log_{shard} (sequence, id, domain, appended_at, envelope) VALUES (?, ?, ?, ?, ?)");
        let mut statement = self.prepare(&sql)?;
        for row in rows {
            let id: &[u8] = match row.may_repeat || self.has_all_ids {
                true => row.id.as_bytes(),
                false => &[],
            };
            let domain = row.domain.as_bytes().as_slice();
            statement.execute(params![number(row.sequence), id, domain, row.appended_at, row.envelope])?;
        }
        Ok(())
    }

    /// Removes up to `limit` of the oldest entries up to `through`, those only that are older than `before` if it is given.
    pub(super) fn remove_oldest(
        &mut self,
        shard: Shard,
        through: u64,
        before: i64,
        limit: u32,
    ) -> Result<Vec<Removed>, Error> {
        let sql = format!(
            "DELETE FROM log_{shard}
             WHERE sequence IN (SELECT sequence FROM log_{shard} WHERE sequence <= ? ORDER BY sequence LIMIT ?)
             AND appended_at < ?
             RETURNING sequence, domain, length(envelope)"
        );
        self.begin()?;
        self.prepare(&sql)?
            .query_map(params![number(through), limit, before], removed_of)?
            .collect()
    }

    /// Removes up to `limit` of the oldest entries of `domain` from `first` up to `through`.
    pub(super) fn remove_of_domain(
        &mut self,
        shard: Shard,
        domain: DomainId,
        sequences: RangeInclusive<u64>,
        limit: u32,
    ) -> Result<Vec<Removed>, Error> {
        let sql = format!(
            "DELETE FROM log_{shard}
             WHERE sequence IN (
                 SELECT sequence FROM log_{shard} WHERE sequence BETWEEN ? AND ? AND domain = ? ORDER BY sequence LIMIT ?
             )
             RETURNING sequence, domain, length(envelope)"
        );
        let (first, through) = (number(*sequences.start()), number(*sequences.end()));
        self.begin()?;
        self.prepare(&sql)?
            .query_map(params![first, through, domain.as_bytes().as_slice(), limit], removed_of)?
            .collect()
    }

    /// When the oldest entry of `shard` was appended.
    pub(super) fn oldest_at(&mut self, shard: Shard) -> Result<Option<(u64, i64)>, Error> {
        let sql = format!("SELECT sequence, appended_at FROM log_{shard} ORDER BY sequence LIMIT 1");
        self.prepare(&sql)?
            .query_row([], |row| Ok((unsigned(row, 0)?, row.get(1)?)))
            .optional()
    }

    /// Every group with its positions by shard.
    pub(super) fn groups(&mut self) -> Result<Vec<(String, bool)>, Error> {
        self.prepare("SELECT name, is_required FROM groups ORDER BY name")?
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? != 0)))?
            .collect()
    }

    /// Makes or changes a group.
    pub(super) fn put_group(&mut self, name: &str, is_required: bool) -> Result<(), Error> {
        self.begin()?;
        self.prepare(
            "INSERT INTO groups (name, is_required) VALUES (?, ?)
             ON CONFLICT (name) DO UPDATE SET is_required = excluded.is_required",
        )?
        .execute(params![name, i64::from(is_required)])?;
        Ok(())
    }

    /// The position of a group in `shard`.
    pub(super) fn position(&mut self, name: &str, shard: Shard) -> Result<Option<u64>, Error> {
        self.prepare("SELECT committed FROM positions WHERE name = ? AND shard = ?")?
            .query_row(params![name, shard.0], |row| unsigned(row, 0))
            .optional()
    }

    /// Moves the position of a group.
    pub(super) fn put_position(&mut self, name: &str, shard: Shard, committed: u64) -> Result<(), Error> {
        self.begin()?;
        self.prepare(
            "INSERT INTO positions (name, shard, committed) VALUES (?, ?, ?)
             ON CONFLICT (name, shard) DO UPDATE SET committed = excluded.committed",
        )?
        .execute(params![name, shard.0, number(committed)])?;
        Ok(())
    }

    /// Opens a transaction unless one is open.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        if !self.is_in_transaction() {
            self.prepare("BEGIN IMMEDIATE")?.execute([])?;
        }
        Ok(())
    }

    /// Whether something waits for a commit.
    pub(super) fn is_in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// Commits if a transaction is open. All that was done since the last commit is durable when this returns.
    pub(super) fn commit(&mut self) -> Result<(), Error> {
        if self.is_in_transaction() {
            self.prepare("COMMIT")?.execute([])?;
        }
        Ok(())
    }

    /// Undoes what was done since the last commit, unless SQLite has done so by itself.
    pub(super) fn roll_back(&mut self) -> Result<(), Error> {
        if self.is_in_transaction() {
            self.prepare("ROLLBACK")?.execute([])?;
        }
        Ok(())
    }

    /// Copies the write-ahead log into the file as far as readers allow; says whether all of it went.
    pub(super) fn checkpoint(&mut self) -> Result<bool, Error> {
        let sql = "PRAGMA wal_checkpoint(PASSIVE)";
        let (frames, copied): (i64, i64) = self
            .connection
            .query_row(sql, [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        Ok(frames == copied)
    }

    /// Makes writing down what domains hold fail from now on, also for who opens the file later.
    #[cfg(test)]
    pub(super) fn forbid_records(&mut self) -> Result<(), Error> {
        let sql = "CREATE TRIGGER no_records BEFORE INSERT ON recorded BEGIN SELECT RAISE(ABORT, 'forbidden'); END";
        self.connection.execute_batch(sql)
    }

    /// From now on the file grows to `pages` pages at most, or to as many as it has; 0 takes that back. Gives what holds.
    #[cfg(test)]
    pub(super) fn limit_pages(&mut self, pages: i64) -> Result<i64, Error> {
        let pages = if pages == 0 { i64::from(u32::MAX - 1) } else { pages };
        let sql = format!("PRAGMA max_page_count = {pages}");
        self.connection.query_row(&sql, [], |row| row.get(0))
    }

    /// Closes the file.
    pub(super) fn close(self) -> Result<(), Error> {
        self.connection.close().map_err(|(_, cause)| cause)
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>, Error> {
        self.connection.prepare_cached(sql)
    }
}

/// Copies the write-ahead log into the file at `path`, which its owner has open, as far as readers allow, by a connection of its own. What the
/// owner commits meanwhile is not copied.
pub(super) fn copy(path: &Path) -> Result<(), Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
}

/// Entries as sequence and encoded envelope, and whether the limit cut them off.
pub(super) type Rows = (Vec<(u64, Vec<u8>)>, bool);

/// Entries of `shard` whose sequences are in `sequences`, by a connection of its own to the file at `path`.
pub(super) fn read(
    path: &Path,
    shard: Shard,
    sequences: std::ops::Range<u64>,
    limit: ReadLimit,
) -> Result<Rows, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let sql = format!(
        "SELECT sequence, envelope FROM log_{shard} WHERE sequence >= ? AND sequence < ? ORDER BY sequence LIMIT ?"
    );
    let rows_max = i64::try_from(limit.entries.max(1)).unwrap_or(i64::MAX);
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params![number(sequences.start), number(sequences.end), rows_max])?;
    let mut entries = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let envelope: Vec<u8> = row.get(1)?;
        bytes += envelope.len();
        if bytes > limit.bytes && !entries.is_empty() {
            return Ok((entries, true));
        }
        entries.push((unsigned(row, 0)?, envelope));
    }
    let is_cut = entries.len() >= limit.entries.max(1);
    Ok((entries, is_cut))
}

/// Whether SQLite says that the disk has no room (`SQLITE_FULL`), which a rollback mends.
pub(super) fn is_disk_full(cause: &Error) -> bool {
    cause.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether SQLite could not begin, since the process has no descriptor or no memory left.
pub(super) fn lacks_means(cause: &Error) -> bool {
    matches!(
        cause.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::OutOfMemory)
    )
}

fn held_of(row: &Row<'_>) -> Result<(DomainId, Held), Error> {
    let held = Held {
        entries: unsigned(row, 1)?,
        bytes: unsigned(row, 2)?,
        first: unsigned(row, 3)?,
    };
    Ok((domain_of(row, 0)?, held))
}

fn removed_of(row: &Row<'_>) -> Result<Removed, Error> {
    Ok(Removed {
        sequence: unsigned(row, 0)?,
        domain: domain_of(row, 1)?,
        bytes: unsigned(row, 2)?,
    })
}

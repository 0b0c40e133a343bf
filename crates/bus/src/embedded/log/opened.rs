//! Opening the log's file, and counting what it holds.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use super::books::Books;
use super::failure::Failure;
use super::journal::Journal;
use super::recent::{RECENT_IDS_MAX, Recent};
use super::shared::Group;
use super::store::{Error, FORMAT, FORMATS_BEFORE, Store};
use super::{FILE, JOURNAL};
use crate::embedded::OpenError;
use crate::embedded::config::SHARDS_DEFAULT;
use crate::log::{Incarnation, Shard, Tier};

/// What was found in the file, or was put there.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) journal: Journal,
    pub(super) shards: u16,
    pub(super) incarnation: Incarnation,
    pub(super) books: Vec<Books>,
    pub(super) groups: BTreeMap<String, Group>,
}

/// The file cannot be used, by `cause`.
pub(super) fn unusable(cause: &dyn Display) -> OpenError {
    OpenError::Unusable {
        file: FILE,
        cause: cause.to_string(),
    }
}

impl Opened {
    /// Opens the files in `folder`, which are to have as many shards as are `configured`. New ones are made at `made_at`, in microseconds since
    /// the Unix epoch. What was acknowledged and not committed is committed. Blocks.
    pub(super) fn open(folder: &Path, tier: Tier, configured: Option<u16>, made_at: i64) -> Result<Self, OpenError> {
        let unusable = |cause: Error| unusable(&cause);
        let mut store = Store::open(&folder.join(FILE)).map_err(unusable)?;
        let format = store.format().map_err(unusable)?;
        if format != FORMAT && !FORMATS_BEFORE.contains(&format) {
            return Err(OpenError::Format { file: FILE, format });
        }
        let fresh = configured.unwrap_or(SHARDS_DEFAULT);
        let found = store.meta("shards", fresh.into()).map_err(unusable)?;
        let shards = u16::try_from(found).ok();
        let shards = shards.filter(|shards| configured.is_none_or(|configured| configured == *shards));
        let shards = shards.ok_or(OpenError::Shards {
            shards: found,
            configured: fresh,
        })?;
        let incarnation = Incarnation(store.meta("incarnation", made_at).map_err(unusable)?);
        store.adopt(format).map_err(unusable)?;
        store.make_shards(shards).map_err(unusable)?;
        let mut journal = Journal::open(&folder.join(JOURNAL), incarnation, tier)
            .map_err(|cause| Failure::Journal(cause).into_open_error())?;
        let books = secure(&mut store, &journal).and_then(|()| recover(&mut store, &mut journal, shards));
        let books = books.map_err(Failure::into_open_error)?;
        store.set_tier(tier).map_err(unusable)?;
        Ok(Self {
            books,
            groups: load_groups(&mut store, shards).map_err(unusable)?,
            store,
            journal,
            shards,
            incarnation,
        })
    }
}

/// Sees to it that what was committed lasts, before the journal that may hold the same begins anew: an end may have come between the
/// writing of a commit and its sync, and nothing tells whether one did.
fn secure(store: &mut Store, journal: &Journal) -> Result<(), Failure> {
    if !journal.rows().map_err(Failure::Journal)?.is_empty() {
        store.checkpoint()?;
    }
    Ok(())
}

/// Commits what the journal holds beyond the database, and counts what every shard holds then.
pub(super) fn recover(store: &mut Store, journal: &mut Journal, shards: u16) -> Result<Vec<Books>, Failure> {
    let books = load(store, shards)?;
    let mut is_behind = false;
    for (shard, mut rows) in journal.rows().map_err(Failure::Journal)? {
        let Some(books) = books.get(usize::from(shard.0)) else {
            continue;
        };
        rows.retain(|row| row.sequence > books.head);
        is_behind |= !rows.is_empty();
        store.insert(shard, &rows)?;
    }
    store.commit()?;
    journal.rewind();
    match is_behind {
        true => Ok(load(store, shards)?),
        false => Ok(books),
    }
}

/// Counts what every shard holds: what was recorded, and what came after.
fn load(store: &mut Store, shards: u16) -> Result<Vec<Books>, Error> {
    let mut all = Vec::new();
    for shard in (0..shards).map(Shard) {
        let recorded_head = store.recorded_head(shard)?;
        let (added, head) = store.held_after(shard, recorded_head)?;
        let recent = Recent::new(store.id_max(shard)?, RECENT_IDS_MAX);
        let mut books = Books::new(head, recorded_head, recent);
        for (domain, held) in store.recorded_held(shard)?.into_iter().chain(added) {
            books.load(domain, held);
        }
        all.push(books);
    }
    Ok(all)
}

fn load_groups(store: &mut Store, shards: u16) -> Result<BTreeMap<String, Group>, Error> {
    let mut groups = BTreeMap::new();
    for (name, is_required) in store.groups()? {
        let mut committed = Vec::new();
        for shard in (0..shards).map(Shard) {
            committed.push(store.position(&name, shard)?.unwrap_or(0));
        }
        groups.insert(name, Group { is_required, committed });
    }
    Ok(groups)
}

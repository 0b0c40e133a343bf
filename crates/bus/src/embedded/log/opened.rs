//! Opening the log's file, and counting what it holds.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use super::FILE;
use super::books::Books;
use super::recent::{RECENT_IDS_MAX, Recent};
use super::shared::Group;
use super::store::{Error, FORMAT, FORMAT_ALL_IDS, Store};
use crate::embedded::OpenError;
use crate::embedded::config::SHARDS_DEFAULT;
use crate::log::{Incarnation, Shard, Tier};

/// What was found in the file, or was put there.
pub(super) struct Opened {
    pub(super) store: Store,
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
    /// Opens the file at `path`, which is to have as many shards as are `configured`. A new one is made at `made_at`, in microseconds since
    /// the Unix epoch. Blocks.
    pub(super) fn open(path: &Path, tier: Tier, configured: Option<u16>, made_at: i64) -> Result<Self, OpenError> {
        let unusable = |cause: Error| unusable(&cause);
        let mut store = Store::open(path, tier).map_err(unusable)?;
        let format = store.format().map_err(unusable)?;
        if ![FORMAT_ALL_IDS, FORMAT].contains(&format) {
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
        store.make_shards(shards).map_err(unusable)?;
        Ok(Self {
            books: load(&mut store, shards).map_err(unusable)?,
            groups: load_groups(&mut store, shards).map_err(unusable)?,
            store,
            shards,
            incarnation,
        })
    }
}

/// Counts what every shard holds: what was recorded, and what came after.
pub(super) fn load(store: &mut Store, shards: u16) -> Result<Vec<Books>, Error> {
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

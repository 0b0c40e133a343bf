//! Keys of channels that are remembered between batches.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use trunkline_core::{ChannelId, DomainId};

use crate::StoredRecord;

/// Channels whose key is remembered; beyond, the memory starts anew.
const CHANNEL_KEYS_MAX: usize = 100_000;

/// The keys of some channels.
pub(super) type Keys = HashMap<(DomainId, ChannelId), i64>;

/// Keys of channels that are committed.
#[derive(Debug, Default)]
pub(super) struct ChannelKeys(Mutex<Keys>);

impl ChannelKeys {
    /// Those of the records' channels that are known.
    pub(super) fn known(&self, records: &[StoredRecord]) -> Keys {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let channels = records
            .iter()
            .map(|record| (record.origin.domain_id, record.origin.channel_id));
        channels
            .filter_map(|channel| Some((channel, *keys.get(&channel)?)))
            .collect()
    }

    /// Remembers keys, once they are committed.
    pub(super) fn remember(&self, found: Keys) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() + found.len() > CHANNEL_KEYS_MAX {
            keys.clear();
        }
        keys.extend(found);
    }

    /// Forgets all: the database may have become another one.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

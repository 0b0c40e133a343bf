//! How the log makes room: what is committed by every required group goes, when it is old or when room is needed.

use trunkline_core::DomainId;

use super::failure::Failure;
use super::job::Batch;
use super::owner::{Owner, RETRY_AFTER, disk_low};
use super::store::Removed;
use crate::feed::locked;
use crate::log::{AppendError, Quota, Shard};

/// Entries removed by one statement when trimming by age or in all.
pub(super) const TRIM_ENTRIES_MAX: u32 = 4_096;
/// Entries removed by one statement when one domain needs room.
const TRIM_DOMAIN_ENTRIES_MAX: u32 = 256;
/// The part of a quota that is freed at least, when room is needed.
const TRIM_FRACTION: u64 = 64;

impl Owner {
    /// Frees room for `bytes` of `domain` if need be, or says why there is none.
    pub(super) fn make_room(
        &mut self,
        shard: Shard,
        domain: DomainId,
        bytes: u64,
        batch: &mut Batch,
    ) -> Result<Option<AppendError>, Failure> {
        if self.shared.is_disk_low() {
            return Ok(Some(disk_low()));
        }
        let config = &self.shared.config;
        let (domain_bytes_max, bytes_max) = (config.domain_bytes_max, config.bytes_max);
        let full = |quota| {
            Some(AppendError::Full {
                quota,
                retry_after: RETRY_AFTER,
            })
        };
        while self.books[usize::from(shard.0)].held(domain).bytes + bytes > domain_bytes_max {
            let needed = bytes.max(domain_bytes_max / TRIM_FRACTION);
            if self.trim_domain(shard, domain, needed, batch)? == 0 {
                return Ok(full(Quota::Domain));
            }
        }
        while self.bytes() + bytes > bytes_max {
            // While no group moved there is nothing to find, and a flood of refusals must not cost a query each.
            let committed = self.shared.all_shards().map(|shard| self.committed_by_all(shard)).sum();
            if self.full_at == Some(committed) {
                return Ok(full(Quota::Total));
            }
            if self.trim_oldest(batch)? == 0 {
                self.full_at = Some(committed);
            }
        }
        Ok(None)
    }

    /// Frees at least `needed` bytes of `domain` if as many are committed; returns the bytes freed.
    fn trim_domain(&mut self, shard: Shard, domain: DomainId, needed: u64, batch: &mut Batch) -> Result<u64, Failure> {
        let through = self.committed_by_all(shard);
        let mut freed = 0;
        while freed < needed {
            let first = self.books[usize::from(shard.0)].held(domain).first;
            if first > through {
                break;
            }
            let removed = self
                .store
                .remove_of_domain(shard, domain, first..=through, TRIM_DOMAIN_ENTRIES_MAX)?;
            if removed.is_empty() {
                self.books[usize::from(shard.0)].holds_nothing_through(domain, through);
                break;
            }
            freed += self.took_off(shard, &removed, batch);
        }
        Ok(freed)
    }

    /// Removes some of the oldest committed entries of the shard whose oldest is oldest; returns the bytes freed.
    fn trim_oldest(&mut self, batch: &mut Batch) -> Result<u64, Failure> {
        let mut by_age = Vec::new();
        for shard in self.shared.all_shards() {
            if let Some((sequence, appended_at)) = self.store.oldest_at(shard)?
                && sequence <= self.committed_by_all(shard)
            {
                by_age.push((appended_at, shard));
            }
        }
        let Some((_, shard)) = by_age.into_iter().min() else {
            return Ok(0);
        };
        let through = self.committed_by_all(shard);
        let removed = self
            .store
            .remove_oldest(shard, through, i64::MAX, TRIM_DOMAIN_ENTRIES_MAX)?;
        Ok(self.took_off(shard, &removed, batch))
    }

    /// Removes all that is older than the configuration keeps and committed by every required group.
    pub(super) fn trim_by_age(&mut self, batch: &mut Batch) -> Result<u64, Failure> {
        let mut count = 0;
        for shard in self.shared.all_shards() {
            loop {
                let removed = self.trim_some_by_age(shard, batch)?;
                count += removed;
                if removed < u64::from(TRIM_ENTRIES_MAX) {
                    break;
                }
            }
        }
        Ok(count)
    }

    pub(super) fn trim_some_by_age(&mut self, shard: Shard, batch: &mut Batch) -> Result<u64, Failure> {
        let through = self.committed_by_all(shard);
        let before = self.shared.keep_from_ms();
        match self.store.oldest_at(shard)? {
            Some((sequence, appended_at)) if sequence <= through && appended_at < before => {}
            _ => return Ok(0),
        }
        let removed = self.store.remove_oldest(shard, through, before, TRIM_ENTRIES_MAX)?;
        self.took_off(shard, &removed, batch);
        Ok(removed.len() as u64)
    }

    /// Takes removed entries off the books; returns their bytes.
    fn took_off(&mut self, shard: Shard, removed: &[Removed], batch: &mut Batch) -> u64 {
        self.books[usize::from(shard.0)].remove(removed);
        let sequences = removed.iter().map(|entry| entry.sequence);
        batch.removed.entry(shard).or_default().extend(sequences);
        removed.iter().map(|entry| entry.bytes).sum()
    }

    /// The last sequence of `shard` that every required group is durably done with.
    fn committed_by_all(&self, shard: Shard) -> u64 {
        let durable_head = self.books[usize::from(shard.0)].durable_head;
        locked(&self.shared.groups)
            .values()
            .filter(|group| group.is_required)
            .map(|group| group.committed[usize::from(shard.0)])
            .min()
            .map_or(durable_head, |committed| committed.min(durable_head))
    }

    fn bytes(&self) -> u64 {
        self.books.iter().map(|books| books.totals().1).sum()
    }
}

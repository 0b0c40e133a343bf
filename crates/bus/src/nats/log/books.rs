//! What a log holds by domain: counted by the trimmer, reported to all who append.

use std::collections::HashMap;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use trunkline_core::DomainId;

/// Domains that a report names at most: those that hold the most.
const REPORTED_DOMAINS_MAX: usize = 4_096;
/// Domains that hold less than this part of their quota are not reported.
const REPORTED_FRACTION: u64 = 8;

/// Entries and envelope bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl Held {
    pub(super) const fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.bytes += other.bytes;
    }

    pub(super) const fn subtract(&mut self, other: Self) {
        self.entries = self.entries.saturating_sub(other.entries);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// The books of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Books {
    domains: HashMap<DomainId, Held>,
    total: Held,
    /// By shard, the last sequence that is counted.
    pub(super) through: Vec<u64>,
}

impl Books {
    pub(super) fn new(through: Vec<u64>) -> Self {
        Self {
            through,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, domain: DomainId, held: Held) {
        self.domains.entry(domain).or_default().add(held);
        self.total.add(held);
    }

    pub(super) fn remove(&mut self, domain: DomainId, held: Held) {
        if let Some(of_domain) = self.domains.get_mut(&domain) {
            of_domain.subtract(held);
            if of_domain.entries == 0 {
                self.domains.remove(&domain);
            }
        }
        self.total.subtract(held);
    }

    pub(super) fn bytes_of(&self, domain: DomainId) -> u64 {
        self.domains.get(&domain).map_or(0, |held| held.bytes)
    }

    pub(super) const fn total(&self) -> Held {
        self.total
    }

    /// Domains that hold more than `bytes`.
    pub(super) fn above(&self, bytes: u64) -> Vec<DomainId> {
        let above = self.domains.iter().filter(|(_, held)| held.bytes > bytes);
        above.map(|(domain, _)| *domain).collect()
    }

    /// What others must know: all totals, and the domains that are anywhere near `domain_bytes_max`.
    pub(super) fn report(&self, domain_bytes_max: u64) -> Bytes {
        let floor = domain_bytes_max / REPORTED_FRACTION;
        let mut large: Vec<_> = self.domains.iter().filter(|(_, held)| held.bytes >= floor).collect();
        large.sort_by_key(|(_, held)| std::cmp::Reverse(held.bytes));
        large.truncate(REPORTED_DOMAINS_MAX);
        let mut report = BytesMut::new();
        report.put_u16(u16::try_from(self.through.len()).unwrap_or(u16::MAX));
        for sequence in &self.through {
            report.put_u64(*sequence);
        }
        report.put_u64(self.total.entries);
        report.put_u64(self.total.bytes);
        for (domain, held) in large {
            report.put_slice(domain.as_bytes());
            report.put_u64(held.bytes);
        }
        report.freeze()
    }

    /// The books that a report gives; `None` for what is no report of a log with as many shards.
    pub(super) fn read(mut report: Bytes, shards: u16) -> Option<Self> {
        if report.try_get_u16().ok()? != shards {
            return None;
        }
        let mut books = Self::default();
        for _ in 0..shards {
            books.through.push(report.try_get_u64().ok()?);
        }
        books.total.entries = report.try_get_u64().ok()?;
        books.total.bytes = report.try_get_u64().ok()?;
        while report.has_remaining() {
            let id = (report.remaining() >= 16).then(|| report.split_to(16))?;
            let bytes = report.try_get_u64().ok()?;
            let held = Held { entries: 1, bytes };
            books.domains.insert(DomainId::from_slice(&id)?, held);
        }
        Some(books)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_tells_totals_and_the_domains_that_are_near_their_quota() {
        let (large, small) = (DomainId::new(), DomainId::new());
        let mut books = Books::new(vec![7, 9]);
        books.add(large, Held { entries: 2, bytes: 900 });
        books.add(small, Held { entries: 1, bytes: 10 });
        let read = Books::read(books.report(1_000), 2).expect("a report is read back");
        assert_eq!((read.total(), &read.through), (books.total(), &books.through));
        assert_eq!((read.bytes_of(large), read.bytes_of(small)), (900, 0));
        assert_eq!(Books::read(books.report(1_000), 3), None);
        assert_eq!(Books::read(books.report(1_000).slice(..20), 2), None);
    }
}

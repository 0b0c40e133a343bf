//! Quotas: what the log holds as far as this process knows, so that an entry too many is refused before it is sent.
//!
//! The trimmer counts exactly and reports each second. Whoever appends adds what it stored itself since the report, so that
//! one publisher overshoots nothing and many overshoot by a second's worth at most. Sequences are the server's, of messages.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use trunkline_core::DomainId;

use super::books::{Books, Held};
use super::shared::Shared;
use crate::feed::locked;
use crate::log::{Quota, Shard};
use crate::nats::names::LogName;
use crate::state::Key;

/// How often reports are made and read.
pub(super) const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Entries of our own in a shard that are counted one by one until a report does; beyond that, older ones are counted by domain, until
/// a report covers the last of them.
const OWN_ENTRIES_MAX: usize = 65_536;

/// What a log may hold and how it is kept.
#[derive(Debug, Clone)]
pub(in crate::nats) struct Limits {
    pub(in crate::nats) bytes_max: u64,
    pub(in crate::nats) domain_bytes_max: u64,
    pub(in crate::nats) entry_bytes_max: u64,
    pub(in crate::nats) keep: Duration,
    pub(in crate::nats) queue_bytes_max: u64,
    pub(in crate::nats) ring_bytes_max: usize,
}

/// What is held, as far as this process knows.
pub(super) struct Ledger {
    /// Counted here or reported.
    pub(super) books: Books,
    /// Whether they are counted here.
    is_counting: bool,
    /// By shard, the last sequence that came as news.
    heard: Vec<u64>,
    /// By shard, what this process stored and the books do not count yet.
    own: Vec<VecDeque<(u64, DomainId, Held)>>,
    own_of_domains: HashMap<DomainId, Held>,
    own_total: Held,
}

impl Ledger {
    /// Nothing known of a log whose shards are at `heads`.
    pub(super) fn new(heads: &[u64]) -> Self {
        Self {
            books: Books::new(vec![0; heads.len()]),
            is_counting: false,
            heard: heads.to_vec(),
            own: vec![VecDeque::new(); heads.len()],
            own_of_domains: HashMap::new(),
            own_total: Held::default(),
        }
    }

    /// Begins to count here what comes as news from now on; gives the last sequence of each shard that came before.
    pub(super) fn begin_counting(&mut self) -> Vec<u64> {
        self.books = Books::new(self.heard.clone());
        self.is_counting = true;
        self.forget_counted();
        self.heard.clone()
    }

    pub(super) const fn end_counting(&mut self) {
        self.is_counting = false;
    }

    /// Takes over what the trimmer counted.
    pub(super) fn reported(&mut self, books: Books) {
        if !self.is_counting {
            self.books = books;
            self.forget_counted();
        }
    }

    /// Which quota `bytes` more of `domain` would exceed.
    pub(super) fn full(&self, domain: DomainId, bytes: u64, limits: &Limits) -> Option<Quota> {
        let own = self.own_of_domains.get(&domain).map_or(0, |own| own.bytes);
        if self.books.bytes_of(domain) + own + bytes > limits.domain_bytes_max {
            return Some(Quota::Domain);
        }
        let (_, held) = self.held();
        (held + bytes > limits.bytes_max).then_some(Quota::Total)
    }

    /// Entries and bytes that the log holds.
    pub(super) const fn held(&self) -> (u64, u64) {
        let total = self.books.total();
        (
            total.entries + self.own_total.entries,
            total.bytes + self.own_total.bytes,
        )
    }

    /// A message of our own was stored.
    pub(super) fn stored(&mut self, shard: Shard, sequence: u64, domain: DomainId, held: Held) {
        let index = usize::from(shard.0);
        if sequence <= self.books.through[index] {
            return;
        }
        self.own[index].push_back((sequence, domain, held));
        self.own_of_domains.entry(domain).or_default().add(held);
        self.own_total.add(held);
        if self.own[index].len() > OWN_ENTRIES_MAX {
            self.condense(index);
        }
    }

    /// News begin behind `sequence`. Who counts has followed from the beginning, so this is never told to one that does.
    pub(super) fn begin_behind(&mut self, shard: Shard, sequence: u64) {
        debug_assert!(!self.is_counting, "what is left out would not be counted");
        self.heard[usize::from(shard.0)] = sequence;
    }

    /// A message came as news.
    pub(super) fn heard(&mut self, shard: Shard, sequence: u64, domain: DomainId, held: Held) {
        let index = usize::from(shard.0);
        if sequence <= self.heard[index] {
            return;
        }
        self.heard[index] = sequence;
        if self.is_counting {
            self.books.add(domain, held);
            self.books.through[index] = sequence;
            self.forget_counted_of(index);
        }
    }

    fn forget_counted(&mut self) {
        (0..self.own.len()).for_each(|index| self.forget_counted_of(index));
    }

    fn forget_counted_of(&mut self, index: usize) {
        let through = self.books.through[index];
        while self.own[index]
            .front()
            .is_some_and(|(sequence, ..)| *sequence <= through)
        {
            self.forget_oldest(index);
        }
    }

    /// Makes one entry of each domain out of the older half. With more domains than that is, the oldest are left to the report.
    fn condense(&mut self, index: usize) {
        let own = &mut self.own[index];
        let mut of_domains: HashMap<DomainId, Held> = HashMap::new();
        let mut last = 0;
        for (sequence, domain, held) in own.drain(..OWN_ENTRIES_MAX / 2) {
            of_domains.entry(domain).or_default().add(held);
            last = sequence;
        }
        for (domain, held) in of_domains {
            own.push_front((last, domain, held));
        }
        while self.own[index].len() > OWN_ENTRIES_MAX {
            self.forget_oldest(index);
        }
    }

    fn forget_oldest(&mut self, index: usize) {
        if let Some((_, domain, held)) = self.own[index].pop_front() {
            self.own_total.subtract(held);
            if let Some(of_domain) = self.own_of_domains.get_mut(&domain) {
                of_domain.subtract(held);
                if of_domain.entries == 0 {
                    self.own_of_domains.remove(&domain);
                }
            }
        }
    }
}

/// Reads the trimmer's reports until the log is closed.
pub(super) fn follow_reports(shared: &Arc<Shared>) {
    let shared = shared.clone();
    tokio::spawn(async move {
        let mut every = tokio::time::interval(REPORT_EVERY);
        loop {
            // Cancel safe: a look that is given up changes nothing.
            tokio::select! {
                () = shared.closing.cancelled() => return,
                _ = every.tick() => shared.read_report().await,
            }
        }
    });
}

/// Where the trimmer of `log` reports.
pub(super) fn report_key(log: LogName) -> Key {
    Key::volatile(format!("bus.held.{}", log.as_str()))
}

impl Shared {
    /// Takes over the newest report, if there is one.
    pub(super) async fn read_report(&self) {
        match self.parts.state.get(&report_key(self.parts.log)).await {
            Ok(Some(entry)) => {
                if let Some(books) = Books::read(entry.value, self.parts.facts.shards) {
                    locked(&self.ledger).reported(books);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "what the log holds could not be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_report_covers_counts_however_much_it_is() {
        let mut ledger = Ledger::new(&[0]);
        let (one, other) = (DomainId::new(), DomainId::new());
        let count = 3 * OWN_ENTRIES_MAX as u64;
        for sequence in 1..=count {
            let domain = if sequence % 2 == 0 { one } else { other };
            let held = Held { entries: 1, bytes: 10 };
            ledger.stored(Shard(0), sequence, domain, held);
        }
        assert_eq!(ledger.held(), (count, 10 * count));
        assert!(ledger.own[0].len() <= OWN_ENTRIES_MAX);
        let limits = |domain_bytes_max| Limits {
            bytes_max: u64::MAX,
            domain_bytes_max,
            entry_bytes_max: 0,
            keep: Duration::ZERO,
            queue_bytes_max: 0,
            ring_bytes_max: 0,
        };
        assert_eq!(ledger.full(one, 1, &limits(5 * count)), Some(Quota::Domain));
        assert_eq!(ledger.full(one, 1, &limits(5 * count + 1)), None);
        ledger.reported(Books::new(vec![count]));
        assert_eq!(ledger.held(), (0, 0));
    }
}

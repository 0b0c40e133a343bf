//! What a node has to do for sessions without a connection, by time: which of them to look at, and when.
//!
//! It is in memory and holds what is due soon. A node that ends takes its agenda along; the others then read all records and make theirs anew
//! (`sweep.rs`).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use trunkline_bus::state::Key;

use crate::limits::AGENDA_ENTRIES_MAX;

/// Sessions to be looked at.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    entries: Mutex<Entries>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    by_time: BTreeSet<(i64, Key)>,
    times: HashMap<Key, i64>,
    has_overflowed: bool,
}

impl Agenda {
    /// Notes that a session is to be looked at, at `at_ms` or earlier. When there are too many, those that are due last are left out.
    pub(super) fn note(&self, key: &Key, at_ms: i64) {
        let mut entries = self.entries();
        if let Some(before_ms) = entries.times.get(key).copied() {
            if before_ms <= at_ms {
                return;
            }
            entries.by_time.remove(&(before_ms, key.clone()));
        }
        entries.times.insert(key.clone(), at_ms);
        entries.by_time.insert((at_ms, key.clone()));
        if entries.times.len() > AGENDA_ENTRIES_MAX
            && let Some((_, last)) = entries.by_time.pop_last()
        {
            entries.times.remove(&last);
            entries.has_overflowed = true;
        }
        drop(entries);
        self.changed.notify_one();
    }

    /// A session that is to be looked at by `now_ms`; it is noted no more.
    pub(super) fn take(&self, now_ms: i64) -> Option<Key> {
        let mut entries = self.entries();
        let (at_ms, key) = entries.by_time.pop_first()?;
        if at_ms > now_ms {
            entries.by_time.insert((at_ms, key));
            return None;
        }
        entries.times.remove(&key);
        Some(key)
    }

    /// Waits until something may be due. Cancel safe.
    pub(super) async fn wait(&self, now_ms: i64) {
        let next = self.entries().by_time.first().map(|(at_ms, _)| *at_ms);
        match next {
            Some(at_ms) => {
                let pause = Duration::from_millis(u64::try_from(at_ms - now_ms).unwrap_or(0));
                let _ = timeout(pause, self.changed.notified()).await;
            }
            None => self.changed.notified().await,
        }
    }

    /// Whether something was left out since this was last asked.
    pub(super) fn take_overflow(&self) -> bool {
        std::mem::take(&mut self.entries().has_overflowed)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::durable(number.to_string())
    }

    #[test]
    fn what_is_due_is_taken_in_its_order_and_each_session_once() {
        let agenda = Agenda::default();
        for (number, at_ms) in [(1, 30), (2, 20), (1, 10), (2, 40)] {
            agenda.note(&key(number), at_ms);
        }
        assert_eq!(agenda.take(9), None);
        assert_eq!(agenda.take(20), Some(key(1)));
        assert_eq!(agenda.take(20), Some(key(2)));
        assert_eq!(agenda.take(i64::MAX), None);
    }

    #[test]
    fn of_too_many_those_that_are_due_last_are_left_out() {
        let agenda = Agenda::default();
        for number in (0..=AGENDA_ENTRIES_MAX).rev() {
            agenda.note(&key(number), i64::try_from(number).unwrap());
        }
        assert!(agenda.take_overflow() && !agenda.take_overflow());
        let mut taken = 0;
        while agenda.take(i64::MAX).is_some() {
            taken += 1;
        }
        assert_eq!(taken, AGENDA_ENTRIES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_something_is_due_or_noted() {
        let agenda = Agenda::default();
        agenda.note(&key(1), 1_000);
        agenda.wait(0).await;
        let begun = tokio::time::Instant::now();
        agenda.wait(0).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }
}

//! Leases as a watcher sees them: renewals and releases as the server tells them, and lapses, which it does not tell, by our
//! own clock.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::Instant;

use super::state::decode_lease;
use crate::state::{Key, Lease, StateChange};

/// News of the server, whose values are encoded leases.
type Renewals = Pin<Box<dyn Stream<Item = StateChange> + Send>>;

/// The leases under one prefix.
pub(super) struct Lapses {
    renewals: Renewals,
    /// When each lease ends unless it is renewed, and the revision that wrote it.
    until: BTreeMap<Key, (Instant, u64)>,
}

impl Lapses {
    /// Leases that are `in_force`, and what comes after.
    pub(super) fn new(renewals: Renewals, in_force: Vec<Lease>) -> Self {
        let now = Instant::now();
        let until = in_force
            .into_iter()
            .map(|lease| (lease.key, (now + lease.remaining, 0)));
        Self {
            renewals,
            until: until.collect(),
        }
    }

    /// Renewals with what their holders say, releases and lapses.
    pub(super) fn changes(self) -> impl Stream<Item = StateChange> {
        stream::unfold(self, |mut leases| async {
            let change = leases.next().await?;
            Some((change, leases))
        })
    }

    async fn next(&mut self) -> Option<StateChange> {
        loop {
            let first = self.until.iter().min_by_key(|(_, (until, _))| *until);
            let first = first.map(|(key, (until, revision))| (key.clone(), *until, *revision));
            // Without a lease nothing lapses; an hour later there still is none.
            let lapse = first
                .as_ref()
                .map_or(Instant::now() + Duration::from_secs(3_600), |(_, until, _)| *until);
            // Cancel safe: the news stay in the subscription, and the time is absolute.
            let heard = tokio::select! {
                biased;
                heard = self.renewals.next() => Some(heard?),
                () = tokio::time::sleep_until(lapse) => None,
            };
            match (heard, first) {
                (Some(change), _) => return Some(self.heard(change)),
                (None, Some((key, _, revision))) => {
                    self.until.remove(&key);
                    return Some(StateChange {
                        key,
                        value: None,
                        revision,
                    });
                }
                (None, None) => {}
            }
        }
    }

    fn heard(&mut self, change: StateChange) -> StateChange {
        match change.value.as_ref().and_then(decode_lease) {
            Some((length, value)) => {
                let until = (Instant::now() + length, change.revision);
                self.until.insert(change.key.clone(), until);
                StateChange {
                    value: Some(value),
                    ..change
                }
            }
            None => {
                self.until.remove(&change.key);
                StateChange { value: None, ..change }
            }
        }
    }
}

//! The suite of [`State`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::in_time;
use crate::feed::FeedError;
use crate::state::{Expect, Key, State, StateError};

/// Names every case of the suite as a test; `$state` makes a fresh `Arc<dyn State>`.
#[macro_export]
macro_rules! state_conformance {
    ($state:expr) => {
        $crate::state_conformance!(@cases $state;
            of_many_swaps_of_one_revision_one_wins, a_key_is_written_only_as_expected, revisions_are_never_used_again,
            a_list_is_whole_tokens_in_order, a_watch_tells_changes_in_order, a_watcher_that_lags_is_told_of_the_gap,
            the_lease_of_a_paused_holder_lapses, a_released_lease_is_gone_at_once
        );
    };
    (@cases $state:expr; $($case:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let (_world, state) = $state.await;
            $crate::conformance::state::$case(state).await;
        }
    )+};
}

fn keys(name: &str) -> [Key; 2] {
    [Key::volatile(name), Key::durable(name)]
}

/// Compare-and-swap race.
pub async fn of_many_swaps_of_one_revision_one_wins(state: Arc<dyn State>) {
    for key in keys("race") {
        let revision = state
            .compare_and_swap(&key, Expect::Absent, "start".into())
            .await
            .unwrap();
        let racers: Vec<_> = (0..16)
            .map(|number: u8| {
                let (state, key) = (state.clone(), key.clone());
                let value = Bytes::copy_from_slice(&[number]);
                tokio::spawn(async move { state.compare_and_swap(&key, Expect::Revision(revision), value).await })
            })
            .collect();
        let mut winners = Vec::new();
        for racer in racers {
            match in_time("a swap", racer).await.unwrap() {
                Ok(revision) => winners.push(revision),
                Err(StateError::Conflict { current }) => assert!(current > Some(revision)),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(state.get(&key).await.unwrap().unwrap().revision, winners[0]);
    }
}

/// What a key must be at is what counts, also for deletion.
pub async fn a_key_is_written_only_as_expected(state: Arc<dyn State>) {
    for key in keys("expected") {
        let conflict = |current| Err(StateError::Conflict { current });
        assert_eq!(state.delete(&key, 1).await, conflict(None));
        assert_eq!(
            state.compare_and_swap(&key, Expect::Revision(1), "a".into()).await,
            conflict(None)
        );
        let revision = state.compare_and_swap(&key, Expect::Absent, "a".into()).await.unwrap();
        assert_eq!(
            state.compare_and_swap(&key, Expect::Absent, "b".into()).await,
            conflict(Some(revision))
        );
        assert_eq!(state.get(&key).await.unwrap().unwrap().value, "a");
        state.delete(&key, revision).await.unwrap();
        assert_eq!(state.get(&key).await, Ok(None));
    }
}

/// A deleted key that comes back is at a new revision.
pub async fn revisions_are_never_used_again(state: Arc<dyn State>) {
    for key in keys("again") {
        let first = state.compare_and_swap(&key, Expect::Absent, "a".into()).await.unwrap();
        let deleted = state.delete(&key, first).await.unwrap();
        let second = state.compare_and_swap(&key, Expect::Absent, "a".into()).await.unwrap();
        assert!(first < deleted && deleted < second);
    }
}

/// `a` covers `a` and `a.b`, not `ab` or `a-b`.
pub async fn a_list_is_whole_tokens_in_order(state: Arc<dyn State>) {
    for prefix in keys("a") {
        for name in ["a.c", "ab", "a-b", "a", "a.b", "b"] {
            let [volatile, durable] = keys(name);
            let key = if prefix.keyspace() == volatile.keyspace() {
                volatile
            } else {
                durable
            };
            state.compare_and_swap(&key, Expect::Absent, "x".into()).await.unwrap();
        }
        let listed = state.list(&prefix).await.unwrap();
        assert!(listed.iter().map(|(key, _)| key.name()).eq(["a", "a.b", "a.c"]));
    }
}

/// A watch sees what happens after it returned, in order, under its prefix only.
pub async fn a_watch_tells_changes_in_order(state: Arc<dyn State>) {
    for key in keys("watched.key") {
        let [volatile, durable] = keys("watched");
        let prefix = if volatile.covers(&key) { volatile } else { durable };
        let mut watch = state.watch(&prefix).await.unwrap();
        let first = state.compare_and_swap(&key, Expect::Absent, "a".into()).await.unwrap();
        let second = state.delete(&key, first).await.unwrap();
        for (revision, value) in [(first, Some(Bytes::from("a"))), (second, None)] {
            let change = in_time("the change", watch.next()).await.unwrap();
            assert_eq!(
                (change.key, change.revision, change.value),
                (key.clone(), revision, value)
            );
        }
    }
}

/// Watch gap: told, and a list mends it.
pub async fn a_watcher_that_lags_is_told_of_the_gap(state: Arc<dyn State>) {
    let key = Key::volatile("gap.key");
    let mut watch = state.watch(&Key::volatile("gap")).await.unwrap();
    let mut expect = Expect::Absent;
    for _ in 0..10_000 {
        expect = Expect::Revision(state.compare_and_swap(&key, expect, "x".into()).await.unwrap());
    }
    let first = in_time("the gap", watch.next()).await;
    assert!(matches!(first, Err(FeedError::Lagged(lost)) if lost > 0), "{first:?}");
    let listed = state.list(&Key::volatile("gap")).await.unwrap();
    assert_eq!(Expect::Revision(listed[0].1.revision), expect);
}

/// Lease lapse of a paused holder: who does not renew loses it, and watchers need not ask again for ever.
pub async fn the_lease_of_a_paused_holder_lapses(state: Arc<dyn State>) {
    let (holder, other) = (Key::volatile("lease.holder"), Key::volatile("lease.other"));
    let leases = Key::volatile("lease");
    state
        .renew(&holder, "1".into(), Duration::from_millis(200))
        .await
        .unwrap();
    state.renew(&other, "2".into(), Duration::from_secs(600)).await.unwrap();
    let in_force = state.leases(&leases).await.unwrap();
    assert_eq!(in_force.len(), 2);
    assert!(in_force[0].remaining <= Duration::from_millis(200));
    in_time("the lapse", async {
        while state.leases(&leases).await.unwrap().len() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(state.leases(&leases).await.unwrap()[0].key, other);
}

/// Giving a lease up needs no patience, and watchers hear of it.
pub async fn a_released_lease_is_gone_at_once(state: Arc<dyn State>) {
    let key = Key::volatile("lease.holder");
    state.renew(&key, "1".into(), Duration::from_secs(600)).await.unwrap();
    let mut watch = state.watch(&key).await.unwrap();
    state.release(&key).await.unwrap();
    assert_eq!(state.leases(&key).await, Ok(Vec::new()));
    assert_eq!(in_time("the release", watch.next()).await.unwrap().value, None);
    let durable = Key::durable("lease.holder");
    assert!(state.renew(&durable, "1".into(), Duration::from_secs(1)).await.is_err());
}

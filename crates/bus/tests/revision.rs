//! The authorization revision, on the embedded state, with the clock in the test's hands.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;
use trunkline_bus::EmbeddedBus;
use trunkline_bus::embedded::Config;
use trunkline_bus::revision::{
    Changes, LEASE, News, NodeLease, REVOKE_WAIT_MAX, Revisions, RevokeError, Scope, Touched,
};
use trunkline_core::{DomainId, NodeId, SystemClock};
use uuid::Uuid;

struct World {
    _dir: TempDir,
    _bus: EmbeddedBus,
    revisions: Revisions,
    scope: Scope,
}

/// A bus whose clock moves only when everything waits for it.
async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let bus = EmbeddedBus::open(dir.path(), Config::default(), Arc::new(SystemClock))
        .await
        .unwrap();
    tokio::time::pause();
    World {
        _dir: dir,
        revisions: Revisions::new(bus.state.clone()),
        _bus: bus,
        scope: Scope::Domain(DomainId::new()),
    }
}

impl World {
    async fn join(&self) -> (Arc<NodeLease>, Changes) {
        let (lease, changes) = self.revisions.join(NodeId::new()).await.unwrap();
        (Arc::new(lease), changes)
    }
}

fn revision_of(news: &News) -> u64 {
    match news {
        News::Change(change) => change.revision,
        News::Gap { revision } => *revision,
    }
}

/// A node that applies every change `delay` after it heard of it, by the clock that stands still.
fn apply_all(lease: Arc<NodeLease>, mut changes: Changes, delay: Duration) {
    tokio::spawn(async move {
        while let Ok(news) = changes.next().await {
            let _ = tokio::time::timeout(delay, std::future::pending::<()>()).await;
            lease.applied(revision_of(&news));
        }
    });
}

#[tokio::test]
async fn a_revocation_waits_for_a_slow_node() {
    let world = world().await;
    let (quick, slow) = (world.join().await, world.join().await);
    apply_all(quick.0, quick.1, Duration::ZERO);
    apply_all(slow.0, slow.1, Duration::from_secs(2));
    let started = Instant::now();
    world.revisions.revoke(world.scope, &[Uuid::nil()]).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(2));
    assert!(started.elapsed() < LEASE);
}

#[tokio::test]
async fn a_revocation_that_every_node_applies_waits_for_no_timer() {
    let world = world().await;
    for _ in 0..3 {
        let (lease, changes) = world.join().await;
        apply_all(lease, changes, Duration::ZERO);
    }
    let started = Instant::now();
    world.revisions.revoke(world.scope, &[Uuid::nil()]).await.unwrap();
    // A sleep of no length may cost the paused clock a tick of one millisecond.
    assert!(started.elapsed() <= Duration::from_millis(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_revocation_outwaits_the_lease_of_a_node_that_is_gone() {
    let world = world().await;
    let (lease, changes) = world.join().await;
    drop((lease, changes));
    let started = Instant::now();
    world.revisions.revoke(world.scope, &[Uuid::nil()]).await.unwrap();
    let waited = started.elapsed();
    assert!(
        waited > LEASE / 2 && waited <= LEASE + Duration::from_millis(1),
        "{waited:?}"
    );
}

#[tokio::test]
async fn a_node_that_released_its_lease_is_not_waited_for() {
    let world = world().await;
    let (lease, _changes) = world.revisions.join(NodeId::new()).await.unwrap();
    lease.release().await.unwrap();
    let started = Instant::now();
    world.revisions.revoke(world.scope, &[Uuid::nil()]).await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_pending_revocation_succeeds_when_it_is_repeated() {
    let world = world().await;
    let (lease, changes) = world.join().await;
    let started = Instant::now();
    let pending = world.revisions.revoke(world.scope, &[Uuid::nil()]).await;
    assert!(matches!(pending, Err(RevokeError::Pending { .. })), "{pending:?}");
    assert!(started.elapsed() >= REVOKE_WAIT_MAX);
    apply_all(lease, changes, Duration::ZERO);
    world.revisions.revoke(world.scope, &[Uuid::nil()]).await.unwrap();
}

#[tokio::test]
async fn a_grant_never_waits() {
    let world = world().await;
    let (_lease, mut changes) = world.join().await;
    let touched = Uuid::now_v7();
    let started = Instant::now();
    let revision = world.revisions.grant(world.scope, &[touched]).await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
    let News::Change(change) = changes.next().await.unwrap() else {
        panic!("nothing was missed");
    };
    assert_eq!((change.scope, change.revision), (world.scope, revision));
    assert_eq!(change.touched, Touched::Ids(vec![touched]));
}

#[tokio::test]
async fn changes_of_all_scopes_come_in_the_order_of_their_revisions() {
    let world = world().await;
    let (_lease, mut changes) = world.join().await;
    let mut expected = Vec::new();
    for scope in [world.scope, Scope::Platform, world.scope] {
        expected.push((scope, world.revisions.grant(scope, &[Uuid::nil()]).await.unwrap()));
    }
    assert!(expected.is_sorted_by_key(|(_, revision)| *revision));
    for (scope, revision) in expected {
        let News::Change(change) = changes.next().await.unwrap() else {
            panic!("nothing was missed");
        };
        assert_eq!((change.scope, change.revision), (scope, revision));
        assert_ne!(change.touched, Touched::All);
    }
}

#[tokio::test]
async fn a_paused_holder_holds_nothing_and_hears_of_a_gap_when_it_wakes() {
    let world = world().await;
    let (lease, mut changes) = world.join().await;
    assert!(lease.is_held());
    // The process stands still while the clock goes on: nothing of it runs, so nothing is renewed.
    tokio::time::advance(LEASE).await;
    assert!(!lease.is_held());
    world.revisions.revoke(world.scope, &[Uuid::nil()]).await.unwrap();
    // The change itself may be heard first.
    let mut news = changes.next().await.unwrap();
    while !matches!(news, News::Gap { .. }) {
        assert!(!lease.is_held());
        news = changes.next().await.unwrap();
    }
    assert!(!lease.is_held(), "nothing cached before the gap may be used");
    lease.applied(revision_of(&news));
    assert!(lease.is_held());
}

#[tokio::test]
async fn a_node_that_falls_behind_is_told_of_the_gap_and_must_apply_it_first() {
    let world = world().await;
    let (lease, mut changes) = world.join().await;
    let mut newest = 0;
    for _ in 0..5_000 {
        newest = world.revisions.grant(world.scope, &[Uuid::nil()]).await.unwrap();
    }
    let news = changes.next().await.unwrap();
    assert_eq!(news, News::Gap { revision: newest });
    assert!(!lease.is_held());
    lease.applied(newest);
    assert!(lease.is_held());
}

//! The platform's gate against services that do not answer, and its acknowledgement of revocations on a real bus.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use trunkline_bus::EmbeddedBus;
use trunkline_bus::revision::{Revisions, Scope};
use trunkline_core::{DomainId, NodeId, Secret, SystemClock};
use trunkline_gate::{Credentials, Gate as _, PlatformGate, Refusal};
use trunkline_rpc::Hub;
use uuid::Uuid;

#[tokio::test]
async fn services_that_do_not_answer_are_not_told_as_wrong_credentials() {
    let gate = PlatformGate::new(&Hub::default());
    let credentials = Credentials::of_client("somebody", Secret::new("secret".to_owned()));
    assert_eq!(gate.connect(credentials).await.unwrap_err(), Refusal::Unavailable);
}

#[tokio::test]
async fn a_revocation_is_acknowledged_while_the_gate_follows_and_needs_nobody_when_it_has_left() {
    let folder = tempfile::tempdir().unwrap();
    let bus = EmbeddedBus::open(folder.path(), Default::default(), Arc::new(SystemClock))
        .await
        .unwrap();
    let revisions = Revisions::new(bus.state.clone());
    let gate = Arc::new(PlatformGate::new(&Hub::default()));
    let cancel = CancellationToken::new();
    let following = {
        let (gate, revisions, cancel) = (Arc::clone(&gate), revisions.clone(), cancel.clone());
        tokio::spawn(async move { gate.follow(&revisions, NodeId::new(), &cancel).await })
    };
    let domain = Scope::Domain(DomainId::new());
    let first = revisions.revoke(domain, &[Uuid::max()]).await.unwrap();
    cancel.cancel();
    following.await.unwrap();
    let second = revisions.revoke(domain, &[]).await.unwrap();
    assert!(first < second);
    bus.close().await;
}

//! Events, over the embedded log.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use prost::Message as _;
use tokio_util::sync::CancellationToken;
use trunkline_bus::EmbeddedBus;
use trunkline_bus::embedded::Config;
use trunkline_bus::events::Events;
use trunkline_core::SystemClock;
use trunkline_proto::events::v1::Event;
use uuid::Uuid;

async fn open(dir: &Path) -> (EmbeddedBus, Events) {
    let bus = EmbeddedBus::open(dir, Config::default(), Arc::new(SystemClock))
        .await
        .unwrap();
    let events = Events::new(bus.log.clone(), Arc::new(SystemClock));
    (bus, events)
}

fn event(kind: &str, domain: Uuid) -> Vec<u8> {
    let id = |id: Uuid| id.as_bytes().to_vec().into();
    let event = Event {
        id: id(Uuid::now_v7()),
        r#type: kind.to_owned(),
        domain_id: id(domain),
        object_id: id(Uuid::now_v7()),
        ..Event::default()
    };
    event.encode_to_vec()
}

/// Follows as `group` until `count` events were handled, and returns their types. The first attempt at each `flaky` one fails.
async fn follow(events: &Events, group: &str, count: usize, flaky: &str) -> Vec<String> {
    let (seen, cancel, has_failed) = (Mutex::new(Vec::new()), CancellationToken::new(), AtomicBool::new(false));
    let handle = |event: Event| {
        let outcome = if event.r#type == flaky && !has_failed.swap(true, Ordering::SeqCst) {
            Err("not yet")
        } else {
            let mut seen = seen.lock().unwrap();
            seen.push(event.r#type);
            if seen.len() == count {
                cancel.cancel();
            }
            Ok(())
        };
        async move { outcome }
    };
    events.follow(group, &cancel, handle).await.unwrap();
    seen.into_inner().unwrap()
}

#[tokio::test]
async fn events_of_a_domain_are_told_in_order_and_a_failure_holds_those_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let (bus, events) = open(dir.path()).await;
    let domain = Uuid::now_v7();
    for kind in ["client.create", "client.disable", "client.delete"] {
        events.publish(event(kind, domain)).await.unwrap();
    }
    let told = follow(&events, "channels", 3, "client.disable").await;
    assert_eq!(told, ["client.create", "client.disable", "client.delete"]);
    bus.close().await;
}

#[tokio::test]
async fn a_repeated_event_is_told_once_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let domain = Uuid::now_v7();
    let first = event("client.create", domain);
    let (bus, events) = open(dir.path()).await;
    events.publish(first.clone()).await.unwrap();
    events.publish(first).await.unwrap();
    events.publish(event("client.update", domain)).await.unwrap();
    assert_eq!(follow(&events, "auth", 2, "").await, ["client.create", "client.update"]);
    bus.close().await;
    let (bus, events) = open(dir.path()).await;
    events.publish(event("client.delete", domain)).await.unwrap();
    assert_eq!(
        follow(&events, "other", 3, "").await.len(),
        3,
        "a new group begins at the oldest event"
    );
    bus.close().await;
}

#[tokio::test]
async fn what_is_no_event_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (bus, events) = open(dir.path()).await;
    assert!(events.publish(vec![0xff; 3]).await.is_err());
    bus.close().await;
}

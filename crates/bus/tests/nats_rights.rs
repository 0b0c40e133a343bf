//! What each kind of process may do on NATS, with users whose rights are those of `on_nats/users.conf`.

#![allow(clippy::unwrap_used)]

mod on_nats;

use std::time::Duration;

use on_nats::Platform;
use trunkline_bus::DeadLetters;
use trunkline_bus::conformance::{entry, in_time};
use trunkline_bus::events::Events;
use trunkline_bus::log::{ReadLimit, WRITER_GROUP};
use trunkline_bus::nats::{NatsBus, Trimming};
use trunkline_bus::state::{Expect, Key};
use trunkline_core::{DomainId, SystemClock};
use trunkline_proto::events::v1::Event;
use trunkline_testkit::{Nats, until};
use uuid::Uuid;

const USERS: &str = include_str!("on_nats/users.conf");
const SOON: Duration = Duration::from_secs(10);

async fn platform() -> Platform {
    let mut platform = Platform::on(Nats::start_with(USERS));
    become_user(&mut platform, "owner");
    platform.provision().await.unwrap();
    platform
}

fn become_user(platform: &mut Platform, user: &str) {
    platform.config.user = Some(user.to_owned());
    platform.config.password = Some(user.to_owned());
}

async fn open(platform: &mut Platform, user: &str, trimming: Trimming) -> NatsBus {
    become_user(platform, user);
    platform.try_open(trimming).await.unwrap()
}

/// Says `subject` as `user` and tells whether the server complains, without any of our code.
async fn is_denied(platform: &Platform, user: &str, subject: &str) -> bool {
    let (complain, mut complaints) = tokio::sync::mpsc::unbounded_channel();
    let options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), user.to_owned());
    let client = options
        .custom_inbox_prefix(format!("_INBOX.{user}"))
        .event_callback(move |event| {
            let told = complain.send(event);
            async move { told.unwrap_or_default() }
        })
        .connect(platform.nats.url())
        .await
        .unwrap();
    client.publish(subject.to_owned(), "{}".into()).await.unwrap();
    // The server takes commands in their order, so its answer to this one comes after a complaint about the other.
    let _ = client.request("trunkline.nobody", "".into()).await;
    client.drain().await.unwrap();
    let mut is_denied = false;
    while let Some(event) = in_time("the end of the connection", complaints.recv()).await {
        is_denied |= event.to_string().contains("Permissions Violation for Publish");
        if event == async_nats::Event::Closed {
            break;
        }
    }
    is_denied
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_process_does_its_part_with_its_own_rights() {
    let mut platform = platform().await;
    let writer = open(&mut platform, "writer", Trimming::Here).await;
    let adapter = open(&mut platform, "adapter", Trimming::Elsewhere).await;
    let service = open(&mut platform, "service", Trimming::Elsewhere).await;

    let domain = DomainId::new();
    let mut tap = adapter.log.tap();
    adapter.log.append_unacknowledged(entry(domain, "x")).await.unwrap();
    in_time("the tap", tap.next()).await.unwrap();
    let appended = adapter.log.append(entry(domain, "x")).await.unwrap().await.unwrap();
    in_time("the news", adapter.log.wait(appended.shard, appended.sequence - 1))
        .await
        .unwrap();
    let page = adapter.log.read(appended.shard, 1, ReadLimit::default()).await.unwrap();
    assert_eq!(page.entries.len(), 2);

    writer.log.join(WRITER_GROUP, true).await.unwrap();
    in_time("the news", writer.log.wait(appended.shard, appended.sequence - 1))
        .await
        .unwrap();
    let page = writer.log.read(appended.shard, 1, ReadLimit::default()).await.unwrap();
    let letters = DeadLetters::open(writer.dead.clone()).await.unwrap();
    letters.accept(&page.entries[0], "bad").await.unwrap();
    writer
        .log
        .commit(WRITER_GROUP, appended.shard, appended.sequence)
        .await
        .unwrap();
    until(SOON, async || adapter.log.stats().entries >= 2).await;
    assert_eq!(writer.log.trim().await, Ok(0), "what is young is kept");

    let id = || Uuid::now_v7().as_bytes().to_vec().into();
    let event = Event {
        id: id(),
        object_id: id(),
        domain_id: id(),
        ..Event::default()
    };
    let events = Events::new(service.events.clone(), std::sync::Arc::new(SystemClock));
    events.publish(prost::Message::encode_to_vec(&event)).await.unwrap();
    service.events.join("channels", true).await.unwrap();
    let revision = Key::volatile("authz.change.platform");
    service
        .state
        .compare_and_swap(&revision, Expect::Absent, "x".into())
        .await
        .unwrap();
    let node = Key::volatile("authz.node.x");
    adapter
        .state
        .renew(&node, "x".into(), Duration::from_secs(3))
        .await
        .unwrap();
    assert_eq!(service.state.leases(&node).await.unwrap().len(), 1);
    for bus in [writer, adapter, service] {
        bus.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_does_the_part_of_another() {
    let platform = platform().await;
    let denied = [
        ("writer", "trunkline.messages.0.x.a"),
        ("writer", "trunkline.events.0.x.a"),
        ("writer", "$JS.API.STREAM.DELETE.trunkline_messages_0"),
        ("adapter", "$JS.API.STREAM.PURGE.trunkline_messages_0"),
        ("adapter", "$JS.API.STREAM.UPDATE.trunkline_messages_0"),
        ("adapter", "$JS.API.STREAM.DELETE.trunkline_messages_0"),
        ("adapter", "$JS.API.STREAM.MSG.DELETE.trunkline_messages_0"),
        ("adapter", "$JS.API.DIRECT.GET.trunkline_events_0"),
        ("adapter", "$KV.trunkline_volatile.authz.change.x"),
        ("adapter", "$KV.trunkline_volatile.bus.held.messages"),
        ("writer", "$KV.trunkline_leases.authz.node.x"),
        ("service", "$KV.trunkline_leases.authz.node.x"),
        ("service", "trunkline.messages.0.x.a"),
        ("service", "$JS.API.DIRECT.GET.trunkline_messages_0"),
    ];
    for (user, subject) in denied {
        assert!(
            is_denied(&platform, user, subject).await,
            "{user} may not say {subject}"
        );
    }
    assert!(!is_denied(&platform, "adapter", "trunkline.messages.0.x.a").await);
    assert!(!is_denied(&platform, "writer", "trunkline.dead.0.x.a").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_write_one_key_cannot_remove_the_others() {
    let mut platform = platform().await;
    let writer = open(&mut platform, "writer", Trimming::Here).await;
    writer.log.join(WRITER_GROUP, true).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Rollup", "all");
    let client = async_nats::ConnectOptions::with_user_and_password("adapter".to_owned(), "adapter".to_owned())
        .custom_inbox_prefix("_INBOX.adapter")
        .connect(platform.nats.url())
        .await
        .unwrap();
    let answer = client.request_with_headers("$KV.trunkline_durable.x", headers, "x".into());
    let answer = answer.await.unwrap().payload;
    assert!(
        String::from_utf8_lossy(&answer).contains("rollup not permitted"),
        "{answer:?}"
    );
    let groups = writer.state.list(&Key::durable("bus.groups")).await.unwrap();
    assert!(!groups.is_empty(), "positions are still there");
    writer.close().await;
}

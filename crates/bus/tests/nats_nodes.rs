//! Several processes on one NATS: what one does reaches the others.

#![allow(clippy::unwrap_used)]

mod on_nats;

use std::sync::Arc;
use std::time::Duration;

use on_nats::Platform;
use trunkline_bus::conformance::{entry, entry_with_id, in_time};
use trunkline_bus::feed::Feed;
use trunkline_bus::log::{AppendError, Quota, ReadLimit, Tier, WRITER_GROUP};
use trunkline_bus::revision::{Changes, LEASE, News, NodeLease, Revisions, RevokeError, Scope};
use trunkline_bus::{DeadLetters, Log, NatsBus};
use trunkline_core::{DomainId, MessageId, NodeId};
use trunkline_proto::messages::v1::Envelope;
use trunkline_testkit::http::Client;
use trunkline_testkit::{Proxy, throughout, until, until_some};
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(10);

/// What `tap` hears first of what `one` sends for as long as nothing is heard: listening at another node begins a moment later.
async fn until_tapped(one: &NatsBus, domain: DomainId, tap: &mut Feed<Arc<Envelope>>) -> Arc<Envelope> {
    let tapped = until_some(SOON, || {
        one.log.try_append_unacknowledged(entry(domain, "tapped")).unwrap();
        std::future::ready(tap.try_next())
    });
    tapped.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_appends_the_other_reads_and_taps() {
    let platform = Platform::start().await;
    let (one, other) = (platform.adapter().await, platform.adapter().await);
    let domain = DomainId::new();
    let shard = one.log.shard_of(domain);
    let mut tap = other.log.tap();
    let waiting = tokio::spawn({
        let log = other.log.clone();
        async move { log.wait(shard, 0).await }
    });
    let kept = entry(domain, "kept");
    one.log.append(kept.clone()).await.unwrap().await.unwrap();
    in_time("the news", waiting).await.unwrap().unwrap();
    let page = other.log.read(shard, 1, ReadLimit::default()).await.unwrap();
    assert_eq!(page.entries[0].envelope, *kept.envelope());
    // The tap is listened to from soon after it was asked for.
    let tapped = until_tapped(&one, domain, &mut tap).await;
    assert_eq!(tapped.payload, "tapped");
    one.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_hears_of_a_shard_from_where_it_first_waits_and_of_no_other() {
    let platform = Platform::start().await;
    let (one, other) = (platform.adapter().await, platform.adapter().await);
    let domain = DomainId::new();
    let shard = one.log.shard_of(domain);
    let append = async |payload: &'static str| one.log.append(entry(domain, payload)).await.unwrap().await.unwrap();
    append("before").await;
    let latest = append("latest").await.sequence;
    assert_eq!(other.log.head(shard), Ok(0), "nobody told it");
    assert_eq!(other.log.latest(shard).await, Ok(latest));
    assert_eq!(other.log.head(shard), Ok(latest));
    let heard = async || {
        let server = Client::new(platform.nats.monitoring_url().trim_start_matches("http://"));
        let told = server.get("/connz?subs=1").await.expect(200);
        String::from_utf8(told.body.to_vec())
            .unwrap()
            .matches("news.messages")
            .count()
    };
    assert_eq!(heard().await, 0);

    let waiting = other.log.wait(shard, latest);
    let (waited, _) = tokio::join!(waiting, async {
        until(SOON, async || heard().await == 1).await;
        append("after").await
    });
    waited.unwrap();
    let payloads = async |from| {
        let page = other.log.read(shard, from, ReadLimit::default()).await.unwrap();
        let payloads = page.entries.iter().map(|entry| entry.envelope.payload.clone());
        payloads.collect::<Vec<_>>()
    };
    assert_eq!(payloads(latest + 1).await, ["after"]);
    assert_eq!(
        payloads(1).await,
        ["before", "latest", "after"],
        "the server has what it did not hear"
    );
    one.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_refuses_what_the_writer_counted_until_the_writer_has_stored_it() {
    let mut platform = Platform::bare();
    platform.config.domain_bytes_max = 100_000;
    platform.provision().await.unwrap();
    let (writer, adapter) = (platform.writer().await, platform.adapter().await);
    writer.log.join(WRITER_GROUP, true).await.unwrap();
    let domain = DomainId::new();
    let append = async |log: &dyn Log| log.append(entry(domain, vec![0; 1_000])).await.unwrap().await;
    let full = AppendError::Full {
        quota: Quota::Domain,
        retry_after: Duration::from_secs(1),
    };
    until(SOON, async || append(&*writer.log).await == Err(full.clone())).await;
    until(SOON, async || append(&*adapter.log).await == Err(full.clone())).await;
    let held = adapter.log.stats().bytes;
    // Until the first report each counts its own alone.
    assert!((95_000..=200_000).contains(&held), "{held}");
    let shard = writer.log.shard_of(domain);
    let head = writer.log.head(shard).unwrap();
    writer.log.commit(WRITER_GROUP, shard, head).await.unwrap();
    until(SOON, async || append(&*adapter.log).await.is_ok()).await;
    writer.close().await;
    adapter.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_one_trims_and_the_other_takes_over() {
    let mut platform = Platform::bare();
    platform.config.keep_seconds = 0;
    platform.provision().await.unwrap();
    let (first, second) = (platform.writer().await, platform.writer().await);
    first.log.join(WRITER_GROUP, true).await.unwrap();
    let domain = DomainId::new();
    let shard = first.log.shard_of(domain);
    let appended = first.log.append(entry(domain, "x")).await.unwrap().await.unwrap();
    first.log.commit(WRITER_GROUP, shard, appended.sequence).await.unwrap();
    assert_eq!(second.log.trim().await, Ok(0), "the other one leads");
    until(SOON, async || first.log.stats().entries == 0).await;
    first.close().await;
    let appended = second.log.append(entry(domain, "y")).await.unwrap().await.unwrap();
    second.log.join(WRITER_GROUP, true).await.unwrap();
    second.log.commit(WRITER_GROUP, shard, appended.sequence).await.unwrap();
    until(SOON, async || second.log.stats().trimmed > 0).await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_kept_once_with_its_reason_until_the_operator_saw_it() {
    let platform = Platform::start().await;
    let bus = platform.writer().await;
    let letters = DeadLetters::open(bus.dead.clone()).await.unwrap();
    let domain = DomainId::new();
    let appended = bus.log.append(entry(domain, "bad")).await.unwrap().await.unwrap();
    let page = bus
        .log
        .read(appended.shard, appended.sequence, ReadLimit::default())
        .await
        .unwrap();
    for _ in 0..2 {
        letters
            .accept(&page.entries[0], "the database refuses it")
            .await
            .unwrap();
    }
    let shard = letters.log().shard_of(domain);
    let page = letters.log().read(shard, 1, ReadLimit::default()).await.unwrap();
    let [letter] = page.entries.as_slice() else {
        panic!("one letter, not {page:?}");
    };
    let properties = &letter.envelope.user_properties;
    let place = format!("{}/{}/{}", bus.log.incarnation().0, appended.shard, appended.sequence);
    assert_eq!(properties[0].value, place);
    assert_eq!(properties[1].value, "the database refuses it");
    assert_eq!(bus.log.durability().tier, Tier::Written);
    bus.close().await;
}

/// A process that caches decisions, and drops them as it hears of changes.
struct Node {
    bus: NatsBus,
    revisions: Revisions,
    lease: Arc<NodeLease>,
}

impl Node {
    async fn join(platform: &Platform) -> (Self, Changes) {
        let bus = platform.adapter().await;
        let revisions = Revisions::new(bus.state.clone());
        let (lease, changes) = revisions.join(NodeId::new()).await.unwrap();
        let lease = Arc::new(lease);
        (Self { bus, revisions, lease }, changes)
    }

    /// Applies all that it hears of.
    fn apply(&self, mut changes: Changes) {
        let lease = self.lease.clone();
        tokio::spawn(async move {
            while let Ok(news) = changes.next().await {
                match news {
                    News::Change(change) => lease.applied(change.revision),
                    News::Gap { revision } => lease.applied(revision),
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_answers_when_the_node_on_another_connection_has_applied_it() {
    let platform = Platform::start().await;
    let ((one, changes), (other, heard)) = (Node::join(&platform).await, Node::join(&platform).await);
    one.apply(changes);
    let scope = Scope::Domain(DomainId::new());
    let pending = one.revisions.revoke(scope, &[Uuid::nil()]).await;
    assert!(
        matches!(pending, Err(RevokeError::Pending { .. })),
        "the other node has not applied it: {pending:?}"
    );
    other.apply(heard);
    let started = tokio::time::Instant::now();
    one.revisions.revoke(scope, &[Uuid::nil()]).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    one.bus.close().await;
    other.bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_outwaits_the_lease_of_a_node_that_is_cut_off_and_the_node_knows() {
    let mut platform = Platform::start().await;
    let (one, changes) = Node::join(&platform).await;
    one.apply(changes);
    let server = platform.config.urls[0].clone();
    let proxy = Proxy::before(server.trim_start_matches("nats://")).await;
    platform.config.urls = vec![format!("nats://{}", proxy.address())];
    let (other, heard) = Node::join(&platform).await;
    other.apply(heard);
    let scope = Scope::Domain(DomainId::new());
    one.revisions.revoke(scope, &[Uuid::nil()]).await.unwrap();

    proxy.hold();
    let started = tokio::time::Instant::now();
    one.revisions.revoke(scope, &[Uuid::nil()]).await.unwrap();
    let waited = started.elapsed();
    assert!(waited <= LEASE + Duration::from_secs(1), "{waited:?}");
    assert!(
        !other.lease.is_held(),
        "whoever was not waited for uses nothing any more"
    );

    proxy.heal();
    until(SOON, async || other.lease.is_held()).await;
    let started = tokio::time::Instant::now();
    one.revisions.revoke(scope, &[Uuid::nil()]).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    one.bus.close().await;
    other.bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_any_writer_has_joined_nothing_is_removed() {
    let mut platform = Platform::bare();
    platform.config.keep_seconds = 0;
    platform.config.domain_bytes_max = 20_000;
    platform.provision().await.unwrap();
    let bus = platform.writer().await;
    let domain = DomainId::new();
    let append = async || bus.log.append(entry(domain, vec![0; 1_000])).await.unwrap().await;
    let mut kept = 0;
    while append().await.is_ok() {
        kept += 1;
    }
    assert!(kept >= 15, "{kept}");
    assert_eq!(bus.log.trim().await, Ok(0));
    // Trimming runs each second by itself.
    throughout(Duration::from_millis(2_500), async || {
        let page = bus.log.read(bus.log.shard_of(domain), 1, ReadLimit::default()).await;
        page.unwrap().entries.len() == kept
    })
    .await;
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_at_qos_0_is_heard_once() {
    let mut platform = Platform::start().await;
    let other = platform.adapter().await;
    let server = platform.nats.url();
    let proxy = Proxy::before(server.trim_start_matches("nats://")).await;
    platform.config.urls = vec![format!("nats://{}", proxy.address())];
    let one = platform.writer().await;
    let domain = DomainId::new();
    let shard = one.log.shard_of(domain);
    let mut tap = other.log.tap();
    until_tapped(&one, domain, &mut tap).await;
    let mut heard = std::collections::HashSet::new();
    for _ in 0..20 {
        for _ in 0..200 {
            let _ = one.log.append_unacknowledged(entry(domain, vec![7; 200])).await;
        }
        proxy.reset();
        let reached = one.log.head(shard).unwrap() + 1;
        let sent_again = async || {
            let _ = one.log.append_unacknowledged(entry(domain, "more")).await;
            one.log.head(shard).unwrap() >= reached
        };
        until(SOON, sent_again).await;
        while let Some(envelope) = tap.try_next() {
            assert!(heard.insert(envelope.unwrap().id.clone()), "heard twice");
        }
    }
    one.close().await;
    other.close().await;
}

/// Appends `count` entries before the first is answered; gives their places.
async fn append_together(log: &dyn Log, domain: DomainId, count: u32) -> Vec<u64> {
    let mut receipts = Vec::new();
    for number in 0..count {
        let new = entry(domain, number.to_be_bytes().to_vec());
        receipts.push(log.append(new).await.unwrap());
    }
    let mut places = Vec::new();
    for receipt in receipts {
        let appended = in_time("a receipt", receipt).await.unwrap();
        assert!(!appended.is_duplicate);
        places.push(appended.sequence);
    }
    places
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_wait_together_go_together_and_are_read_from_any_place() {
    const COUNT: u32 = 2_000;
    let mut platform = Platform::bare();
    platform.config.keep_seconds = 0;
    platform.provision().await.unwrap();
    let (writer, adapter) = (platform.writer().await, platform.adapter().await);
    writer.log.join(WRITER_GROUP, true).await.unwrap();
    let domain = DomainId::new();
    let shard = adapter.log.shard_of(domain);
    let places = append_together(&*adapter.log, domain, COUNT).await;
    assert!(places.is_sorted_by(|one, next| one < next));
    let stats = adapter.log.stats();
    assert_eq!(stats.appended, u64::from(COUNT));
    assert!(stats.commits < stats.appended / 8, "{} messages", stats.commits);

    in_time("the news", writer.log.wait(shard, places[places.len() - 1] - 1))
        .await
        .unwrap();
    let late = platform.adapter().await;
    for log in [&writer.log, &late.log] {
        for first in [0, 1, 777, 1_000, 1_999] {
            let expected = &places[first..(first + 70).min(places.len())];
            let (mut entries, mut next) = (Vec::new(), places[first]);
            while entries.len() < expected.len() {
                let limit = ReadLimit {
                    entries: expected.len() - entries.len(),
                    ..ReadLimit::default()
                };
                let page = log.read(shard, next, limit).await.unwrap();
                assert!((1..=limit.entries).contains(&page.entries.len()));
                assert_eq!(page.skipped, 0);
                next = page.next;
                entries.extend(page.entries);
            }
            assert!(entries.iter().map(|entry| entry.sequence).eq(expected.iter().copied()));
            let numbers = entries.iter().map(|entry| entry.envelope.payload.to_vec());
            assert!(
                numbers.eq((first as u32..)
                    .map(|number| number.to_be_bytes().to_vec())
                    .take(expected.len()))
            );
            assert_eq!(next, expected[expected.len() - 1] + 1);
        }
    }

    let beyond = |index: usize| writer.log.entries_beyond(shard, places[index]).unwrap();
    assert_eq!(beyond(places.len() - 1), 0);
    assert!((500..=4_000).contains(&beyond(0)), "{}", beyond(0));

    // A position amid a message holds all of it.
    let apart = places.windows(2).position(|pair| pair[1] == pair[0] + 1).unwrap();
    writer.log.commit(WRITER_GROUP, shard, places[apart]).await.unwrap();
    writer.log.trim().await.unwrap();
    let page = writer
        .log
        .read(shard, places[apart] + 1, ReadLimit::default())
        .await
        .unwrap();
    assert_eq!((page.entries[0].sequence, page.skipped), (places[apart + 1], 0));
    writer
        .log
        .commit(WRITER_GROUP, shard, places[places.len() - 1])
        .await
        .unwrap();
    until(SOON, async || {
        writer.log.trim().await.unwrap();
        let stats = writer.log.stats();
        (stats.trimmed, stats.entries, stats.bytes) == (u64::from(COUNT), 0, 0)
    })
    .await;
    for bus in [writer, adapter, late] {
        bus.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_may_come_again_is_noticed_among_entries_that_go_together() {
    let platform = Platform::start().await;
    let bus = platform.adapter().await;
    let domain = DomainId::new();
    let id = MessageId::new();
    let mut receipts = Vec::new();
    for number in 0..100 {
        receipts.push(bus.log.append(entry(domain, "once")).await.unwrap());
        if number % 10 == 5 {
            let new = entry_with_id(id, domain, "again");
            receipts.push(bus.log.append(new).await.unwrap());
        }
    }
    let mut places = Vec::new();
    for receipt in receipts {
        places.push(in_time("a receipt", receipt).await.unwrap().sequence);
    }
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 101);
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_without_answers_that_go_together_are_tapped_one_by_one() {
    let platform = Platform::start().await;
    let (one, other) = (platform.adapter().await, platform.adapter().await);
    let domain = DomainId::new();
    let mut tap = other.log.tap();
    // The tap is listened to from soon after it was asked for.
    until_tapped(&one, domain, &mut tap).await;
    for number in 0..500_u32 {
        one.log
            .append_unacknowledged(entry(domain, number.to_string()))
            .await
            .unwrap();
    }
    let mut numbers = Vec::new();
    while numbers.len() < 500 {
        let payload = in_time("the tap", tap.next()).await.unwrap().payload.clone();
        numbers.extend(std::str::from_utf8(&payload).unwrap().parse::<u32>());
    }
    assert!(numbers.into_iter().eq(0..500));
    assert!(one.log.stats().commits < 250);
    one.close().await;
    other.close().await;
}

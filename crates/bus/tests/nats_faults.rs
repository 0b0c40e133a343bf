//! What the bus on NATS does when the server dies, comes back, or stands still.

#![allow(clippy::unwrap_used)]

mod on_nats;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use on_nats::{HEAL_WAIT_MAX, Platform};
use tempfile::TempDir;
use trunkline_bus::Log;
use trunkline_bus::conformance::{entry, entry_with_id, in_time};
use trunkline_bus::envelope::Ids;
use trunkline_bus::feed::{Feed, FeedError};
use trunkline_bus::log::{AppendError, Appended, ReadLimit, Shard, TryAppendError, WRITER_GROUP};
use trunkline_bus::nats::{ACK_WAIT_MAX, NatsHealth, Standing};
use trunkline_bus::state::{Expect, Key};
use trunkline_core::{DomainId, MessageId};
use trunkline_testkit::{Nats, Proxy, throughout, until, until_some};

async fn append(log: &dyn Log, domain: DomainId, payload: &str) -> Result<Appended, AppendError> {
    log.append(entry(domain, payload.to_owned())).await?.await
}

/// Every message id of `shard`, in order.
async fn ids_of(log: &dyn Log, shard: Shard) -> Vec<MessageId> {
    let (mut ids, mut from) = (Vec::new(), 1);
    let head = log.head(shard).unwrap();
    while from <= head {
        let page = log.read(shard, from, ReadLimit::default()).await.unwrap();
        ids.extend(
            page.entries
                .iter()
                .map(|entry| Ids::read(&entry.envelope).unwrap().message),
        );
        from = page.next;
    }
    ids
}

/// Appends to `domain`, many at a time, until `stop`; gives the ids whose receipts resolved well, in order.
async fn append_until(log: Arc<dyn Log>, domain: DomainId, stop: Arc<AtomicBool>) -> Vec<MessageId> {
    let mut receipts = std::collections::VecDeque::new();
    let mut acknowledged = Vec::new();
    while !stop.load(SeqCst) || !receipts.is_empty() {
        if !stop.load(SeqCst) && receipts.len() < 500 {
            let id = MessageId::new();
            let receipt = log.append(entry_with_id(id, domain, vec![7; 200])).await.unwrap();
            receipts.push_back((id, receipt));
            continue;
        }
        let (id, receipt) = receipts.pop_front().unwrap();
        if receipt.await.is_ok() {
            acknowledged.push(id);
        }
    }
    acknowledged
}

/// Asserts that a log that holds `held` kept what one publisher was told is `kept`: once, and in the order in which it was appended.
#[track_caller]
fn assert_kept_in_order(held: &[MessageId], kept: &[MessageId]) {
    let unique: HashSet<_> = held.iter().collect();
    assert_eq!(unique.len(), held.len(), "one message, one entry");
    assert!(
        kept.iter().all(|id| unique.contains(id)),
        "nothing acknowledged is lost"
    );
    let kept: HashSet<_> = kept.iter().collect();
    let stored: Vec<_> = held.iter().filter(|id| kept.contains(id)).collect();
    // The ids of one publisher grow.
    let swapped = stored.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert_eq!(swapped, 0, "entries that stand before earlier ones");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_under_load_leave_the_order_as_it_was() {
    let mut platform = Platform::start().await;
    let server = platform.nats.url();
    let proxy = Proxy::before(server.trim_start_matches("nats://")).await;
    platform.config.urls = vec![format!("nats://{}", proxy.address())];
    let bus = platform.writer().await;
    let (domain, stop) = (DomainId::new(), Arc::new(AtomicBool::new(false)));
    let publisher = tokio::spawn(append_until(bus.log.clone(), domain, stop.clone()));
    let shard = bus.log.shard_of(domain);
    for _ in 0..20 {
        let reached = bus.log.head(shard).unwrap() + 300;
        until(HEAL_WAIT_MAX, async || bus.log.head(shard).unwrap() >= reached).await;
        proxy.reset();
    }
    stop.store(true, SeqCst);
    let acknowledged = in_time("the publisher's end", publisher).await.unwrap();
    assert_eq!(bus.log.stats().refused, 0, "what was under way is sent again");
    // A question that went down with the last connection is answered by an error.
    until(HEAL_WAIT_MAX, async || {
        bus.log.read(shard, 1, ReadLimit::default()).await.is_ok()
    })
    .await;
    assert_kept_in_order(&ids_of(&*bus.log, shard).await, &acknowledged);
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_of_the_server_and_nobody_is_refused() {
    let mut platform = Platform::start().await;
    let bus = platform.writer().await;
    let (domain, stop) = (DomainId::new(), Arc::new(AtomicBool::new(false)));
    let publisher = tokio::spawn(append_until(bus.log.clone(), domain, stop.clone()));
    let shard = bus.log.shard_of(domain);
    for round in 1..=3 {
        let reached = bus.log.head(shard).unwrap() + 2_000;
        in_time("the load", bus.log.wait(shard, reached)).await.unwrap();
        platform.nats.kill();
        platform.nats.restart();
        let reached = bus.log.head(shard).unwrap() + 1;
        let healed = tokio::time::timeout(HEAL_WAIT_MAX, bus.log.wait(shard, reached)).await;
        assert!(healed.is_ok(), "round {round}: the log goes on once the server is back");
    }
    stop.store(true, SeqCst);
    let acknowledged = in_time("the publisher's end", publisher).await.unwrap();
    let stats = bus.log.stats();
    assert_eq!(stats.refused, 0, "what was under way is sent again");
    let held = ids_of(&*bus.log, shard).await;
    assert_kept_in_order(&held, &acknowledged);
    bus.close().await;
}

/// Takes from `feed` until it tells of a gap.
async fn until_gap<T: Clone + std::fmt::Debug>(feed: &mut Feed<T>) {
    while !matches!(in_time("the gap", feed.next()).await, Err(FeedError::Lagged(_))) {}
}

async fn until_standing(health: &mut NatsHealth, is_well: bool) -> Duration {
    let start = Instant::now();
    let mut standing = health.standing();
    while (standing == Standing::Well) != is_well {
        standing = in_time("a change of health", health.changed_from(&standing)).await;
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_acknowledges_nothing_fills_bounds_and_heals() {
    let platform = Platform::start().await;
    let mut bus = platform.writer().await;
    let domain = DomainId::new();
    let key = Key::volatile("frozen.key");
    let revision = bus
        .state
        .compare_and_swap(&key, Expect::Absent, "a".into())
        .await
        .unwrap();
    let mut watch = bus.state.watch(&Key::volatile("frozen")).await.unwrap();
    let mut news = bus.live.subscribe("frozen").await.unwrap();
    append(&*bus.log, domain, "before").await.unwrap();
    platform.nats.freeze();

    let asked = Instant::now();
    let unanswered = bus.log.append(entry(domain, "during")).await.unwrap();
    let payload = vec![0; 100_000];
    let busy = std::iter::repeat_with(|| bus.log.try_append(entry(domain, payload.clone()))).find_map(Result::err);
    assert!(matches!(busy, Some(TryAppendError::Busy(_))), "{busy:?}");
    assert!(bus.state.get(&key).await.is_err());
    until_standing(&mut bus.health, false).await;
    let answer = unanswered.await;
    assert_eq!(answer, Err(AppendError::Unanswered));
    assert!(
        asked.elapsed() < ACK_WAIT_MAX + Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );

    platform.nats.thaw();
    until(HEAL_WAIT_MAX, async || append(&*bus.log, domain, "after").await.is_ok()).await;
    until_standing(&mut bus.health, true).await;
    until_gap(&mut watch).await;
    until_gap(&mut news).await;
    until(HEAL_WAIT_MAX, async || {
        bus.live.publish("frozen.news", Bytes::new()).await.is_ok()
    })
    .await;
    assert_eq!(in_time("the news", news.next()).await.unwrap().subject, "frozen.news");
    let revision = bus
        .state
        .compare_and_swap(&key, Expect::Revision(revision), "b".into())
        .await
        .unwrap();
    assert_eq!(in_time("the change", watch.next()).await.unwrap().revision, revision);
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_and_leases_survive_kill_9_of_the_server() {
    let mut platform = Platform::start().await;
    let bus = platform.adapter().await;
    let (key, lease) = (Key::volatile("authz.change.x"), Key::volatile("authz.node.x"));
    let before = bus
        .state
        .compare_and_swap(&key, Expect::Absent, "a".into())
        .await
        .unwrap();
    bus.state
        .renew(&lease, "1".into(), Duration::from_secs(60))
        .await
        .unwrap();
    platform.nats.kill();
    platform.nats.restart();
    until(HEAL_WAIT_MAX, async || bus.state.get(&key).await.is_ok()).await;
    let after = bus
        .state
        .compare_and_swap(&key, Expect::Revision(before), "b".into())
        .await
        .unwrap();
    assert!(after > before);
    let leases = bus.state.leases(&lease).await.unwrap();
    assert_eq!(
        leases.len(),
        1,
        "who held a lease may still use it, so it must be waited for"
    );
    assert!(leases[0].remaining < Duration::from_secs(60));
    bus.close().await;
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A copy of what the server holds. Put back later, it is what a power cut leaves of a server that does not sync.
fn old_copy(nats: &mut Nats) -> TempDir {
    nats.stop();
    let copy = trunkline_testkit::free_dir();
    copy_folder(&nats.store(), copy.path());
    nats.restart();
    copy
}

fn put_back(nats: &mut Nats, copy: &Path) {
    nats.kill();
    std::fs::remove_dir_all(nats.store()).unwrap();
    copy_folder(copy, &nats.store());
    nats.restart();
}

/// Puts back what the logs held, and leaves the buckets as they are.
fn put_back_logs(nats: &mut Nats, copy: &Path) {
    const STREAMS: &str = "jetstream/$G/streams";
    nats.kill();
    for stream in std::fs::read_dir(copy.join(STREAMS)).unwrap().map(Result::unwrap) {
        let held = nats.store().join(STREAMS).join(stream.file_name());
        if stream.file_name().to_str().unwrap().starts_with("trunkline_") {
            std::fs::remove_dir_all(&held).unwrap();
            copy_folder(&stream.path(), &held);
        }
    }
    nats.restart();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_with_less_ends_the_log_and_begins_another_incarnation() {
    let mut platform = Platform::start().await;
    let bus = platform.writer().await;
    let domain = DomainId::new();
    let kept = append(&*bus.log, domain, "kept").await.unwrap();
    let copy = old_copy(&mut platform.nats);
    let lost = until_some(HEAL_WAIT_MAX, async || append(&*bus.log, domain, "lost").await.ok()).await;
    put_back(&mut platform.nats, copy.path());
    let sentence = in_time("the end of the log", bus.log.failed()).await;
    assert!(sentence.contains("on NATS lost what it had acknowledged"), "{sentence}");
    let before = bus.log.incarnation();
    bus.close().await;
    let bus = platform.writer().await;
    assert!(bus.log.incarnation() > before);
    let after = append(&*bus.log, domain, "after").await.unwrap().sequence;
    assert!(
        after > kept.sequence && after <= lost.sequence,
        "the server counts on from what it kept"
    );
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_others_put_in_the_place_of_lost_ones_hide_no_loss() {
    let mut platform = Platform::start().await;
    let server = platform.nats.url();
    let proxy = Proxy::before(server.trim_start_matches("nats://")).await;
    let direct = std::mem::replace(&mut platform.config.urls, vec![format!("nats://{}", proxy.address())]);
    let bus = platform.writer().await;
    let domain = DomainId::new();
    let shard = bus.log.shard_of(domain);
    let kept = append(&*bus.log, domain, "kept").await.unwrap().sequence;
    let copy = old_copy(&mut platform.nats);
    let lost = until_some(HEAL_WAIT_MAX, async || append(&*bus.log, domain, "lost").await.ok()).await;
    bus.log.join("group", false).await.unwrap();
    bus.log.commit("group", shard, lost.sequence).await.unwrap();
    in_time("the news", bus.log.wait(shard, kept)).await.unwrap();
    proxy.hold();
    put_back_logs(&mut platform.nats, copy.path());
    platform.config.urls = direct;
    let other = platform.adapter().await;
    let again = append(&*other.log, domain, "new").await.unwrap().sequence;
    assert_eq!(again, lost.sequence, "the place of the lost one is given again");
    for _ in 0..2 {
        append(&*other.log, domain, "new").await.unwrap();
    }
    proxy.heal();
    let sentence = in_time("the end of the log", bus.log.failed()).await;
    let told = "lost what it had acknowledged: the entry at 2 is not the one that was there";
    assert!(sentence.contains(told), "{sentence}");
    let before = bus.log.incarnation();
    bus.close().await;
    other.close().await;
    let bus = platform.writer().await;
    assert!(bus.log.incarnation() > before);
    bus.log.join("group", false).await.unwrap();
    assert_eq!(
        bus.log.committed("group", shard),
        Ok(0),
        "what is there now was not taken"
    );
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_was_trimmed_while_nobody_looked_is_no_loss() {
    let mut platform = Platform::bare();
    platform.config.keep_seconds = 0;
    platform.provision().await.unwrap();
    let server = platform.nats.url();
    let proxy = Proxy::before(server.trim_start_matches("nats://")).await;
    let writer = platform.writer().await;
    platform.config.urls = vec![format!("nats://{}", proxy.address())];
    let adapter = platform.adapter().await;
    writer.log.join(WRITER_GROUP, true).await.unwrap();
    let domain = DomainId::new();
    let shard = writer.log.shard_of(domain);
    let following = tokio::spawn({
        let log = adapter.log.clone();
        async move { log.wait(shard, 0).await }
    });
    append(&*adapter.log, domain, "seen").await.unwrap();
    in_time("the news", following).await.unwrap().unwrap();
    proxy.hold();
    let last = append(&*writer.log, domain, "not seen").await.unwrap();
    writer.log.commit(WRITER_GROUP, shard, last.sequence).await.unwrap();
    until(HEAL_WAIT_MAX, async || writer.log.stats().entries == 0).await;
    proxy.reset();
    proxy.heal();
    let next = append(&*writer.log, domain, "next").await.unwrap();
    in_time("the next one", adapter.log.wait(shard, next.sequence - 1))
        .await
        .unwrap();
    throughout(Duration::from_secs(1), async || {
        adapter.log.failed().now_or_never().is_none()
    })
    .await;
    adapter.close().await;
    writer.close().await;
}

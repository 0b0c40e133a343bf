//! The suite of [`Log`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use trunkline_core::{DomainId, MessageId};

use super::{entry, entry_with_id, in_time};
use crate::envelope::{Ids, StoredEntry};
use crate::log::{AppendError, Appended, Log, Quota, ReadLimit, Shard, WRITER_GROUP};

/// How the log under test is to be made.
#[derive(Debug, Clone)]
pub struct LogLimits {
    /// Shards.
    pub shards: u16,
    /// Bytes that one domain may hold.
    pub domain_bytes_max: u64,
    /// Bytes in all.
    pub bytes_max: u64,
    /// How long committed entries are kept.
    pub keep: Duration,
}

impl Default for LogLimits {
    /// Three shards, no limit that a case could reach, a day.
    fn default() -> Self {
        Self {
            shards: 3,
            domain_bytes_max: 1 << 30,
            bytes_max: 1 << 30,
            keep: Duration::from_secs(86_400),
        }
    }
}

/// Makes logs for the suite.
#[async_trait]
pub trait LogWorld: Send + Sync {
    /// The world's log, made the first time, opened again with what it holds after that. The one opened before is closed.
    async fn open(&mut self, limits: LogLimits) -> Arc<dyn Log>;
}

/// Names every case of the suite as a test; `$world` makes a fresh [`LogWorld`].
#[macro_export]
macro_rules! log_conformance {
    ($world:expr) => {
        $crate::log_conformance!(@cases $world;
            a_message_id_is_kept_once, a_message_id_is_kept_once_across_a_restart,
            the_entries_of_a_producer_keep_their_order, entries_are_read_back_as_they_were_appended,
            a_reader_behind_memory_reads_on_without_holes, a_waiting_reader_is_woken_by_news,
            trimming_stops_below_the_slowest_group, a_reader_behind_the_trim_is_told_how_many_it_missed,
            a_position_survives_a_restart_and_does_not_move_back, a_full_domain_is_refused_and_others_are_not,
            a_full_log_is_refused_until_its_oldest_is_committed, bytes_are_counted_exactly_across_a_restart,
            an_unacknowledged_entry_is_tapped_and_kept, an_entry_over_the_limit_is_refused
        );
    };
    (@cases $world:expr; $($case:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let mut world = $world;
            $crate::conformance::log::$case(&mut world).await;
        }
    )+};
}

async fn append(log: &dyn Log, new: crate::NewEntry) -> Result<Appended, AppendError> {
    in_time("an append", async { log.append(new).await?.await }).await
}

async fn read_all(log: &dyn Log, shard: Shard, from: u64) -> (Vec<StoredEntry>, u64) {
    let (mut entries, mut skipped, mut position) = (Vec::new(), 0, from);
    let head = log.head(shard).unwrap();
    while position <= head {
        let page = in_time("a read", log.read(shard, position, ReadLimit::default()))
            .await
            .unwrap();
        assert!(page.next > position, "a read below the head moves on");
        entries.extend(page.entries);
        skipped += page.skipped;
        position = page.next;
    }
    (entries, skipped)
}

fn id_of(entry: &StoredEntry) -> MessageId {
    Ids::read(&entry.envelope).unwrap().message
}

/// De-duplication, also of copies under way at the same time.
pub async fn a_message_id_is_kept_once(world: &mut dyn LogWorld) {
    let log = world.open(LogLimits::default()).await;
    let (domain, id) = (DomainId::new(), MessageId::new());
    let mut receipts = Vec::new();
    for _ in 0..8 {
        receipts.push(log.append(entry_with_id(id, domain, "once")).await.unwrap());
    }
    let mut sequences = HashSet::new();
    for receipt in receipts {
        sequences.insert(in_time("a receipt", receipt).await.unwrap().sequence);
    }
    assert_eq!(sequences.len(), 1);
    let again = append(&*log, entry_with_id(id, domain, "once")).await.unwrap();
    assert!(again.is_duplicate);
    let (entries, _) = read_all(&*log, again.shard, 1).await;
    assert_eq!(entries.len(), 1);
}

/// De-duplication within what the log keeps, not only within one run.
pub async fn a_message_id_is_kept_once_across_a_restart(world: &mut dyn LogWorld) {
    let log = world.open(LogLimits::default()).await;
    let (domain, id) = (DomainId::new(), MessageId::new());
    let first = append(&*log, entry_with_id(id, domain, "once")).await.unwrap();
    append(&*log, entry(domain, "another")).await.unwrap();
    drop(log);
    let log = world.open(LogLimits::default()).await;
    let again = append(&*log, entry_with_id(id, domain, "once")).await.unwrap();
    assert_eq!((again.sequence, again.is_duplicate), (first.sequence, true));
}

/// Order per key: pipelined appends of one producer come out as they went in.
pub async fn the_entries_of_a_producer_keep_their_order(world: &mut dyn LogWorld) {
    const PRODUCERS: usize = 6;
    const EACH: u32 = 400;
    let log = world.open(LogLimits::default()).await;
    let domains: Vec<DomainId> = (0..PRODUCERS).map(|_| DomainId::new()).collect();
    let producers = domains.iter().map(|domain| {
        let (log, domain) = (log.clone(), *domain);
        tokio::spawn(async move {
            let mut receipts = Vec::new();
            for number in 0..EACH {
                let new = entry(domain, number.to_be_bytes().to_vec());
                receipts.push(log.append(new).await.unwrap());
            }
            for receipt in receipts {
                receipt.await.unwrap();
            }
        })
    });
    for producer in producers.collect::<Vec<_>>() {
        in_time("a producer's end", producer).await.unwrap();
    }
    for domain in domains {
        let (entries, _) = read_all(&*log, log.shard_of(domain), 1).await;
        let numbers = entries
            .iter()
            .filter(|entry| Ids::read(&entry.envelope).unwrap().domain == domain)
            .map(|entry| u32::from_be_bytes(entry.envelope.payload.as_ref().try_into().unwrap()));
        assert!(
            numbers.eq(0..EACH),
            "the entries of one producer are complete and in order"
        );
    }
}

/// Nothing of an envelope changes on its way through the disk.
pub async fn entries_are_read_back_as_they_were_appended(world: &mut dyn LogWorld) {
    let log = world.open(LogLimits::default()).await;
    let new = entry(DomainId::new(), Bytes::from_static(b"\x00\xff payload"));
    let appended = append(&*log, new.clone()).await.unwrap();
    assert_eq!(appended.tier, log.durability().tier);
    drop(log);
    let log = world.open(LogLimits::default()).await;
    let (entries, _) = read_all(&*log, appended.shard, appended.sequence).await;
    assert_eq!(entries[0].envelope, *new.envelope());
    assert_eq!(entries[0].incarnation, log.incarnation());
}

/// Reading from where memory does not reach any more joins what memory holds.
pub async fn a_reader_behind_memory_reads_on_without_holes(world: &mut dyn LogWorld) {
    const COUNT: u64 = 3_000;
    let domain = DomainId::new();
    let log = world.open(LogLimits::default()).await;
    let mut appended = Vec::new();
    for half in 0..2 {
        // What the first half appended is on disk only after the restart below.
        let log = if half == 0 {
            log.clone()
        } else {
            world.open(LogLimits::default()).await
        };
        let mut receipts = Vec::new();
        for _ in 0..COUNT / 2 {
            receipts.push(log.append(entry(domain, vec![7; 600])).await.unwrap());
        }
        for receipt in receipts {
            appended.push(in_time("a receipt", receipt).await.unwrap().sequence);
        }
        assert!(appended.is_sorted_by(|one, next| one < next), "places rise");
        let (entries, skipped) = read_all(&*log, log.shard_of(domain), 1).await;
        assert!(entries.iter().map(|entry| entry.sequence).eq(appended.iter().copied()));
        assert_eq!(skipped, 0);
    }
}

/// A consumer that keeps up sleeps until there is news.
pub async fn a_waiting_reader_is_woken_by_news(world: &mut dyn LogWorld) {
    let log = world.open(LogLimits::default()).await;
    let domain = DomainId::new();
    let shard = log.shard_of(domain);
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.wait(shard, 0).await }
    });
    let appended = append(&*log, entry(domain, "news")).await.unwrap().sequence;
    in_time("the wake-up", waiting).await.unwrap().unwrap();
    assert_eq!(log.head(shard), Ok(appended));
    assert_eq!(log.latest(shard).await, Ok(appended));
    assert_eq!(log.entries_beyond(shard, 0), Ok(1));
    assert_eq!(log.entries_beyond(shard, appended), Ok(0));
}

/// Trim below the slowest required group; others do not hold it back.
pub async fn trimming_stops_below_the_slowest_group(world: &mut dyn LogWorld) {
    let limits = LogLimits {
        keep: Duration::ZERO,
        ..LogLimits::default()
    };
    let log = world.open(limits).await;
    let domain = DomainId::new();
    let shard = log.shard_of(domain);
    for (group, is_required) in [(WRITER_GROUP, true), ("rules", true), ("notifier", false)] {
        log.join(group, is_required).await.unwrap();
    }
    let places = append_each(&*log, domain, 10).await;
    log.commit(WRITER_GROUP, shard, places[8]).await.unwrap();
    log.commit("rules", shard, places[3]).await.unwrap();
    trim_until(&*log, shard, places[4]).await;
    let (entries, skipped) = read_all(&*log, shard, 1).await;
    assert!(
        entries
            .iter()
            .map(|entry| entry.sequence)
            .eq(places[4..].iter().copied())
    );
    assert_eq!(skipped, 4);
}

/// Appends `count` entries one after the other; gives their places.
async fn append_each(log: &dyn Log, domain: DomainId, count: usize) -> Vec<u64> {
    let mut places = Vec::new();
    for _ in 0..count {
        places.push(append(log, entry(domain, "x")).await.unwrap().sequence);
    }
    places
}

/// Asks for a trim until the oldest entry of `shard` is `oldest`: entries must first be older than nothing at all.
async fn trim_until(log: &dyn Log, shard: Shard, oldest: u64) {
    in_time("the trim", async {
        loop {
            log.trim().await.unwrap();
            let page = log.read(shard, 1, ReadLimit::default()).await.unwrap();
            let first = page.entries.first().map_or(page.next, |entry| entry.sequence);
            if first >= oldest {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Skipping is told, never silent.
pub async fn a_reader_behind_the_trim_is_told_how_many_it_missed(world: &mut dyn LogWorld) {
    let limits = LogLimits {
        keep: Duration::ZERO,
        ..LogLimits::default()
    };
    let log = world.open(limits.clone()).await;
    let domain = DomainId::new();
    let shard = log.shard_of(domain);
    log.join(WRITER_GROUP, true).await.unwrap();
    let places = append_each(&*log, domain, 6).await;
    log.commit(WRITER_GROUP, shard, places[5]).await.unwrap();
    trim_until(&*log, shard, places[5] + 1).await;
    let page = log.read(shard, places[2], ReadLimit::default()).await.unwrap();
    assert_eq!((page.entries.len(), page.skipped, page.next), (0, 4, places[5] + 1));
    drop(log);
    let log = world.open(limits).await;
    let after = append(&*log, entry(domain, "x")).await.unwrap().sequence;
    assert!(after > places[5], "places are never given again");
    let page = log.read(shard, 1, ReadLimit::default()).await.unwrap();
    assert_eq!((page.entries.len(), page.skipped, page.next), (1, 6, after + 1));
}

/// A group goes on where it was.
pub async fn a_position_survives_a_restart_and_does_not_move_back(world: &mut dyn LogWorld) {
    let log = world.open(LogLimits::default()).await;
    let domain = DomainId::new();
    let shard = log.shard_of(domain);
    log.join(WRITER_GROUP, true).await.unwrap();
    let places = append_each(&*log, domain, 3).await;
    log.commit(WRITER_GROUP, shard, places[1]).await.unwrap();
    log.commit(WRITER_GROUP, shard, places[0]).await.unwrap();
    drop(log);
    let log = world.open(LogLimits::default()).await;
    log.join(WRITER_GROUP, true).await.unwrap();
    assert_eq!(log.committed(WRITER_GROUP, shard), Ok(places[1]));
}

/// Refuse when full: the quota of one domain is not another's trouble, and room comes back with a commit.
pub async fn a_full_domain_is_refused_and_others_are_not(world: &mut dyn LogWorld) {
    let limits = LogLimits {
        domain_bytes_max: 20_000,
        ..LogLimits::default()
    };
    let log = world.open(limits).await;
    log.join(WRITER_GROUP, true).await.unwrap();
    let (domain, other) = (DomainId::new(), DomainId::new());
    let refusal = fill(&*log, domain).await;
    assert!(
        matches!(
            refusal,
            AppendError::Full {
                quota: Quota::Domain,
                ..
            }
        ),
        "{refusal:?}"
    );
    append(&*log, entry(other, vec![0; 1_000])).await.unwrap();
    let (held, _) = read_all(&*log, log.shard_of(domain), 1).await;
    let shard = log.shard_of(domain);
    log.commit(WRITER_GROUP, shard, log.head(shard).unwrap()).await.unwrap();
    append(&*log, entry(domain, vec![0; 1_000])).await.unwrap();
    assert!(
        held.len() > 10,
        "what was acknowledged was there until it was committed"
    );
}

async fn fill(log: &dyn Log, domain: DomainId) -> AppendError {
    for _ in 0..1_000 {
        if let Err(refusal) = append(log, entry(domain, vec![0; 1_000])).await {
            return refusal;
        }
    }
    panic!("the log took a megabyte and is not full");
}

/// Refuse when full: nothing uncommitted is dropped for room, and what is committed is.
pub async fn a_full_log_is_refused_until_its_oldest_is_committed(world: &mut dyn LogWorld) {
    let limits = LogLimits {
        bytes_max: 20_000,
        ..LogLimits::default()
    };
    let log = world.open(limits).await;
    log.join(WRITER_GROUP, true).await.unwrap();
    let domain = DomainId::new();
    let shard = log.shard_of(domain);
    let refusal = fill(&*log, domain).await;
    assert!(
        matches!(
            refusal,
            AppendError::Full {
                quota: Quota::Total,
                ..
            }
        ),
        "{refusal:?}"
    );
    let head = log.head(shard).unwrap();
    let (entries, skipped) = read_all(&*log, shard, 1).await;
    let mut places: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!((places.last(), skipped), (Some(&head), 0));
    log.commit(WRITER_GROUP, shard, places[4]).await.unwrap();
    places.push(append(&*log, entry(domain, vec![0; 1_000])).await.unwrap().sequence);
    let (entries, _) = read_all(&*log, shard, places[5]).await;
    assert!(
        entries
            .iter()
            .map(|entry| entry.sequence)
            .eq(places[5..].iter().copied())
    );
}

/// Quotas do not drift.
pub async fn bytes_are_counted_exactly_across_a_restart(world: &mut dyn LogWorld) {
    let limits = LogLimits {
        keep: Duration::ZERO,
        ..LogLimits::default()
    };
    let log = world.open(limits.clone()).await;
    log.join(WRITER_GROUP, true).await.unwrap();
    let domain = DomainId::new();
    let shard = log.shard_of(domain);
    let mut bytes = Vec::new();
    let mut places = Vec::new();
    for size in 0..40 {
        let new = entry(domain, vec![1; size * 10]);
        bytes.push(new.encoded().len() as u64);
        places.push(append(&*log, new).await.unwrap().sequence);
    }
    log.commit(WRITER_GROUP, shard, places[6]).await.unwrap();
    trim_until(&*log, shard, places[7]).await;
    let expected = (33, bytes[7..].iter().sum::<u64>());
    let stats = log.stats();
    assert_eq!((stats.entries, stats.bytes), expected);
    drop(log);
    let stats = world.open(limits).await.stats();
    assert_eq!((stats.entries, stats.bytes), expected);
}

/// QoS 0 reaches listeners without waiting, and the log all the same.
pub async fn an_unacknowledged_entry_is_tapped_and_kept(world: &mut dyn LogWorld) {
    let log = world.open(LogLimits::default()).await;
    let mut tap = log.tap();
    let new = entry(DomainId::new(), "unacknowledged");
    let shard = log.shard_of(new.domain());
    log.append_unacknowledged(new.clone()).await.unwrap();
    let tapped = in_time("the tap", tap.next()).await.unwrap();
    assert_eq!(tapped, *new.envelope());
    in_time("the append", log.wait(shard, 0)).await.unwrap();
    let (entries, _) = read_all(&*log, shard, 1).await;
    assert_eq!(id_of(&entries[0]), new.id());
}

/// What can never fit is told apart from what does not fit now.
pub async fn an_entry_over_the_limit_is_refused(world: &mut dyn LogWorld) {
    let limits = LogLimits {
        domain_bytes_max: 10_000,
        ..LogLimits::default()
    };
    let log = world.open(limits).await;
    let refusal = append(&*log, entry(DomainId::new(), vec![0; 20_000])).await;
    assert!(matches!(refusal, Err(AppendError::TooLarge { .. })), "{refusal:?}");
    let dropped = log.append_unacknowledged(entry(DomainId::new(), vec![0; 20_000])).await;
    assert!(matches!(dropped, Err(AppendError::TooLarge { .. })), "{dropped:?}");
}

/// The child's part of the case "resume after kill": appends for ever, and tells each message that was acknowledged.
///
/// # Panics
/// When the parent does not listen any more.
pub async fn append_until_killed(log: Arc<dyn Log>, mut tell: impl std::io::Write) {
    const IN_FLIGHT: usize = 128;
    let domains: Vec<DomainId> = (0..4).map(|_| DomainId::new()).collect();
    let mut receipts = std::collections::VecDeque::new();
    for number in 0_usize.. {
        let new = entry(domains[number % domains.len()], number.to_string());
        let (id, domain) = (new.id(), new.domain());
        receipts.push_back((id, domain, log.append(new).await.unwrap()));
        if receipts.len() >= IN_FLIGHT
            && let Some((id, domain, receipt)) = receipts.pop_front()
        {
            let appended = receipt.await.unwrap();
            writeln!(tell, "{id} {domain} {}", appended.sequence).unwrap();
            tell.flush().unwrap();
        }
    }
}

/// The parent's part: everything that the killed child told is there, once, at the place that it was told.
///
/// # Panics
/// When it is not.
pub async fn check_after_kill(log: Arc<dyn Log>, told: &[String]) {
    let mut held = std::collections::HashMap::new();
    for shard in (0..log.shards()).map(Shard) {
        let (entries, skipped) = read_all(&*log, shard, 1).await;
        assert_eq!(skipped, 0);
        for entry in entries {
            let before = held.insert(id_of(&entry), (shard, entry.sequence));
            assert_eq!(before, None, "one message, one entry");
        }
    }
    for line in told {
        let words: Vec<&str> = line.split(' ').collect();
        let (id, domain): (MessageId, DomainId) = (words[0].parse().unwrap(), words[1].parse().unwrap());
        let expected = (log.shard_of(domain), words[2].parse().unwrap());
        assert_eq!(
            held.get(&id),
            Some(&expected),
            "an acknowledged message is where it was"
        );
    }
}

//! The keeper: brings `State` to what the log says of retained messages.

use std::future::Future;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::future;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;
use trunkline_bus::StoredEntry;
use trunkline_bus::log::{LogError, ReadLimit, Shard};
use trunkline_bus::state::{Expect, Key, StateError, Versioned};
use trunkline_core::DomainId;

use super::index::{Known, Over};
use super::record::{Record, Slot, domain_key};
use super::{Retained, Work};
use crate::limits::{
    CLOSE_TIME_MAX, RETAINED_LATE_MAX, RETAINED_SWEEP_MAX, RETAINED_SWEEP_PAUSE, RETRY_PAUSE_MAX, RETRY_PAUSE_MIN,
};
use crate::retry::retry;

/// Where the positions of all shards are.
const POSITIONS: &str = "mqtt.retained-position";

impl Retained {
    /// Keeps retained messages until `cancel`. Runs once.
    pub(crate) async fn run(&self, cancel: &CancellationToken) {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut inbox) = inbox else { return };
        // Cancel safe: what was not applied is found in the log again.
        let keep = async {
            let mut sweep = interval_at(Instant::now() + RETAINED_SWEEP_PAUSE, RETAINED_SWEEP_PAUSE);
            loop {
                tokio::select! {
                    work = inbox.recv() => match work {
                        Some(work) => self.work(work).await?,
                        None => return Ok(()),
                    },
                    _ = sweep.tick() => self.sweep().await?,
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {
                let _ = timeout(CLOSE_TIME_MAX, self.save_positions()).await;
            }
            ended = future::try_join(keep, self.follow_marks()) => {
                let ended: Result<((), ()), StateError> = ended;
                if let Err(error) = ended {
                    tracing::error!(%error, "retained messages are not kept any more");
                }
            }
        }
    }

    /// Attends every shard that was ever marked.
    async fn follow_marks(&self) -> Result<(), StateError> {
        let prefix = Key::durable(POSITIONS);
        loop {
            let mut changes = ask(|| self.state.watch(&prefix)).await?;
            for (key, _) in ask(|| self.state.list(&prefix)).await? {
                self.attend_marked(&key).await;
            }
            while let Ok(change) = changes.next().await {
                self.attend_marked(&change.key).await;
            }
            // Marks may have been missed.
            sleep(RETRY_PAUSE_MIN).await;
        }
    }

    async fn attend_marked(&self, key: &Key) {
        let shard = key.name().rsplit('.').next().and_then(|shard| shard.parse().ok());
        if let Some(shard) = shard
            .map(Shard)
            .filter(|shard| usize::from(shard.0) < self.shards.len())
            && let Err(error) = self.attendance.attend(shard).await
        {
            tracing::debug!(%shard, %error, "what is retained is not looked for any more");
        }
    }

    async fn work(&self, work: Work) -> Result<(), StateError> {
        match work {
            Work::Begin(shard, head) => self.catch_up(shard, head).await?,
            Work::Mark(shard, head, done) => {
                self.catch_up(shard, head).await?;
                let applied = *self.shard(shard).applied.borrow();
                self.save(shard, applied).await?;
                let _ = done.send(());
            }
            Work::Apply(entry) => {
                self.apply(&entry).await?;
                self.shard(entry.shard).waiting.fetch_sub(1, Ordering::AcqRel);
            }
            Work::Reached(shard, sequence) => self.shard(shard).advance(sequence),
            Work::Load(domain_id, head, done) => {
                // First, since what was applied since by another node is not applied again.
                self.catch_up(self.log.shard_of(domain_id), head).await?;
                self.load_now(domain_id).await?;
                let _ = done.send(());
            }
        }
        Ok(())
    }

    /// Applies what came up to `head` since a keeper of the platform last ran there. A shard without a mark had nothing retained by
    /// then, since `head` was asked for before the mark is.
    async fn catch_up(&self, shard: Shard, head: u64) -> Result<(), StateError> {
        if *self.shard(shard).applied.borrow() >= head.max(1) {
            return Ok(());
        }
        let key = position_key(shard);
        let saved = ask(|| self.state.get(&key)).await?;
        let position = saved.and_then(|saved| self.position_in(&saved));
        if position.is_some() {
            self.shard(shard).is_marked.store(true, Ordering::Release);
        }
        let mut next = position.unwrap_or(head) + 1;
        while next <= head {
            match retry(u32::MAX, || self.log.read(shard, next, ReadLimit::default())).await {
                Ok(page) => {
                    for entry in page.entries.iter().filter(|entry| entry.envelope.retain) {
                        self.apply(entry).await?;
                    }
                    next = page.next;
                }
                Err(LogError::Damaged { sequence, .. }) => next = sequence + 1,
                Err(_) => return Ok(()),
            }
        }
        self.shard(shard).advance(head);
        Ok(())
    }

    async fn apply(&self, entry: &StoredEntry) -> Result<(), StateError> {
        let Some(slot) = Slot::of(&entry.envelope) else {
            return Ok(());
        };
        self.load_now(slot.domain_id).await?;
        self.put(&slot, entry).await?;
        self.admitted().remove(slot.domain_id, &entry.envelope.id);
        Ok(())
    }

    async fn put(&self, slot: &Slot, entry: &StoredEntry) -> Result<(), StateError> {
        let record = Record::of(entry);
        let Some(value) = record.encode() else {
            return Ok(());
        };
        let key = slot.key();
        loop {
            let known = self.index().find(slot);
            if known.is_some_and(|known| known.place >= record.place()) || (known.is_none() && !record.is_set()) {
                return Ok(());
            }
            let expect = known.map_or(Expect::Absent, |known| Expect::Revision(known.revision));
            match ask(|| self.state.compare_and_swap(&key, expect, value.clone())).await {
                Ok(revision) => {
                    let known = Known::of(&record, revision, value.len());
                    self.index_mut().put(slot, known);
                    return Ok(());
                }
                // Another node was first, or an answer was lost on its way.
                Err(StateError::Conflict { .. }) => self.look_again(slot, &key).await?,
                Err(StateError::TooLarge(bytes)) => {
                    tracing::warn!(bytes, "a message is too large to be retained");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn look_again(&self, slot: &Slot, key: &Key) -> Result<(), StateError> {
        match ask(|| self.state.get(key)).await?.as_ref().and_then(known_of) {
            Some((_, known)) => self.index_mut().put(slot, known),
            None => self.index_mut().remove(slot),
        }
        Ok(())
    }

    async fn load_now(&self, domain_id: DomainId) -> Result<(), StateError> {
        if self.index().has(domain_id) {
            return Ok(());
        }
        let prefix = domain_key(domain_id);
        let found = ask(|| self.state.list(&prefix)).await?;
        let mut index = self.index_mut();
        index.begin(domain_id);
        for (slot, known) in found.iter().filter_map(|(_, found)| known_of(found)) {
            index.put(&slot, known);
        }
        Ok(())
    }

    /// Removes what nobody needs any more, and tells where a keeper that comes after a crash begins.
    async fn sweep(&self) -> Result<(), StateError> {
        let now_ns = self.clock.now_ns();
        let late_ns = i64::try_from(RETAINED_LATE_MAX.as_nanos()).unwrap_or(i64::MAX);
        self.admitted().lapse(now_ns.saturating_sub(late_ns));
        let over = self.index().over(now_ns, RETAINED_SWEEP_MAX);
        for Over {
            slot,
            revision,
            is_message,
        } in over
        {
            let key = slot.key();
            match ask(|| self.state.delete(&key, revision)).await {
                Ok(_) => {
                    self.index_mut().remove(&slot);
                    self.metrics.retained_expired.add(u64::from(is_message));
                }
                Err(StateError::Conflict { .. }) => self.look_again(&slot, &key).await?,
                Err(error) => return Err(error),
            }
        }
        self.save_positions().await
    }

    async fn save_positions(&self) -> Result<(), StateError> {
        for (number, progress) in (0..).zip(&self.shards) {
            let applied = *progress.applied.borrow();
            if applied > 0 && progress.is_marked.load(Ordering::Acquire) {
                self.save(Shard(number), applied).await?;
            }
        }
        Ok(())
    }

    /// Saves how far a shard was applied, unless another node is further. It is marked then.
    async fn save(&self, shard: Shard, position: u64) -> Result<(), StateError> {
        let key = position_key(shard);
        let mut value = self.log.incarnation().0.to_be_bytes().to_vec();
        value.extend_from_slice(&position.to_be_bytes());
        let value = Bytes::from(value);
        loop {
            let saved = ask(|| self.state.get(&key)).await?;
            let is_further = |saved| self.position_in(saved).is_some_and(|saved| saved >= position);
            if saved.as_ref().is_some_and(is_further) {
                break;
            }
            let expect = saved.map_or(Expect::Absent, |saved| Expect::Revision(saved.revision));
            match ask(|| self.state.compare_and_swap(&key, expect, value.clone())).await {
                Err(StateError::Conflict { .. }) => {}
                Ok(_) => break,
                Err(error) => return Err(error),
            }
        }
        self.shard(shard).is_marked.store(true, Ordering::Release);
        Ok(())
    }

    /// The place that was saved: 0 when it was in another log, all of which is new.
    fn position_in(&self, saved: &Versioned) -> Option<u64> {
        let (incarnation, position) = saved.value.split_at_checked(8)?;
        let position = u64::from_be_bytes(position.try_into().ok()?);
        Some(match *incarnation == self.log.incarnation().0.to_be_bytes() {
            true => position,
            false => 0,
        })
    }
}

fn position_key(shard: Shard) -> Key {
    Key::durable(format!("{POSITIONS}.{shard}"))
}

/// Where a stored record belongs, and what is to be known of it.
fn known_of(found: &Versioned) -> Option<(Slot, Known)> {
    let record = Record::decode(found.value.clone())?;
    let known = Known::of(&record, found.revision, found.value.len());
    Some((Slot::of(&record.envelope)?, known))
}

/// Asks `State` until it answers, pausing longer each time. Cancel safe if what is asked for is.
async fn ask<T, F>(mut question: impl FnMut() -> F) -> Result<T, StateError>
where
    F: Future<Output = Result<T, StateError>>,
{
    let mut pause = RETRY_PAUSE_MIN;
    loop {
        match question().await {
            Err(StateError::Unavailable(_)) => sleep(pause).await,
            answer => return answer,
        }
        pause = RETRY_PAUSE_MAX.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use trunkline_bus::envelope::id_bytes;
    use trunkline_bus::{EmbeddedBus, NewEntry};
    use trunkline_core::{MessageId, SystemClock};
    use trunkline_proto::messages::v1::Envelope;

    use super::*;
    use crate::attendance::Attendance;
    use crate::metrics::Metrics;

    /// Longer than anything here takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A node that keeps what is retained on `bus` until `stop`, and reads nothing of the log by itself.
    fn start(bus: &EmbeddedBus, stop: &CancellationToken) -> (Arc<Attendance>, Arc<Retained>) {
        let attendance = Arc::new(Attendance::new(bus.log.clone()));
        let clock = Arc::new(SystemClock);
        let metrics = Arc::new(Metrics::new(&trunkline_telemetry::Metrics::new()));
        let parts = (bus.state.clone(), bus.log.clone());
        let retained = Retained::new(parts.0, parts.1, clock, Arc::clone(&attendance), metrics);
        let (retained, stop) = (Arc::new(retained), stop.clone());
        let keeper = Arc::clone(&retained);
        tokio::spawn(async move { keeper.run(&stop).await });
        (attendance, retained)
    }

    #[tokio::test]
    async fn what_is_asked_for_before_the_log_is_read_has_what_the_log_says() {
        let folder = tempfile::tempdir().unwrap();
        let bus = EmbeddedBus::open(folder.path(), Default::default(), Arc::new(SystemClock));
        let bus = bus.await.unwrap();
        let stop = CancellationToken::new();
        let domain_id = DomainId::new();
        let (_, publishing) = start(&bus, &stop);
        publishing.prepare(domain_id).await;
        let envelope = Envelope {
            id: id_bytes(MessageId::new().as_bytes()),
            domain_id: id_bytes(domain_id.as_bytes()),
            channel_id: id_bytes(&[0; 16]),
            retain: true,
            payload: "taken".into(),
            ..Envelope::default()
        };
        let slot = Slot::of(&envelope).unwrap();
        let entry = NewEntry::seal(envelope, 100).unwrap();
        bus.log.append(entry).await.unwrap().await.unwrap();

        let (_, late) = start(&bus, &stop);
        late.load(domain_id).await;
        assert!(late.index().find(&slot).is_some());
        stop.cancel();
    }

    #[tokio::test]
    async fn a_node_attends_a_shard_once_any_node_is_about_to_retain_a_message_there() {
        let folder = tempfile::tempdir().unwrap();
        let bus = EmbeddedBus::open(folder.path(), Default::default(), Arc::new(SystemClock));
        let bus = bus.await.unwrap();
        let stop = CancellationToken::new();
        let (_, publishing) = start(&bus, &stop);
        let (listening, _) = start(&bus, &stop);
        let domain_id = DomainId::new();
        let shard = bus.log.shard_of(domain_id);
        publishing.load(domain_id).await;
        assert!(listening.asked_for(shard).now_or_never().is_none(), "looking at it");

        publishing.prepare(domain_id).await;
        let began = timeout(PATIENCE, listening.asked_for(shard)).await;
        assert_eq!(began.expect("nobody told the other node"), Some(0));

        let (later, _) = start(&bus, &stop);
        let began = timeout(PATIENCE, later.asked_for(shard)).await;
        assert_eq!(began.expect("a node that starts later does not know"), Some(0));
    }
}

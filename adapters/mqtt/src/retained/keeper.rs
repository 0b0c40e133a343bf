//! The keeper: brings `State` to what the log says of retained messages.

use std::future::Future;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;
use trunkline_bus::StoredEntry;
use trunkline_bus::log::{LogError, ReadLimit, Shard};
use trunkline_bus::state::{Expect, Key, StateError, Versioned};
use trunkline_core::DomainId;

use super::index::Known;
use super::record::{Record, Slot, domain_key};
use super::{Retained, Work};
use crate::limits::{CLOSE_TIME_MAX, RETAINED_SWEEP_MAX, RETAINED_SWEEP_PAUSE, RETRY_PAUSE_MAX, RETRY_PAUSE_MIN};
use crate::retry::retry;

impl Retained {
    /// Keeps retained messages until `cancel`; the node's reader of the log begins after `heads`. Runs once.
    pub(crate) async fn run(&self, heads: &[(Shard, u64)], cancel: &CancellationToken) {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut inbox) = inbox else { return };
        // Cancel safe: what was not applied is found in the log again.
        let keep = async {
            for (shard, head) in heads {
                self.catch_up(*shard, *head).await?;
            }
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
            ended = keep => {
                let ended: Result<(), StateError> = ended;
                if let Err(error) = ended {
                    tracing::error!(%error, "retained messages are not kept any more");
                }
            }
        }
    }

    async fn work(&self, work: Work) -> Result<(), StateError> {
        match work {
            Work::Apply(entry) => {
                self.apply(&entry).await?;
                self.shard(entry.shard).waiting.fetch_sub(1, Ordering::AcqRel);
            }
            Work::Reached(shard, sequence) => self.shard(shard).advance(sequence),
            Work::Load(domain_id, done) => {
                self.load_now(domain_id).await?;
                let _ = done.send(());
            }
        }
        Ok(())
    }

    /// Applies what came while no keeper of the platform ran. A log without a position had no retained messages.
    async fn catch_up(&self, shard: Shard, head: u64) -> Result<(), StateError> {
        let key = position_key(shard);
        let saved = ask(|| self.state.get(&key)).await?;
        let mut next = match saved.and_then(|saved| self.position_in(&saved)) {
            Some(position) => position + 1,
            None => {
                self.save(shard, head).await?;
                head + 1
            }
        };
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
        let record = Record::of(entry);
        let Some(value) = record.encode() else {
            return Ok(());
        };
        let key = slot.key();
        loop {
            let known = self.index().find(&slot);
            if known.is_some_and(|known| known.place >= record.place()) || (known.is_none() && !record.is_set()) {
                return Ok(());
            }
            let expect = known.map_or(Expect::Absent, |known| Expect::Revision(known.revision));
            match ask(|| self.state.compare_and_swap(&key, expect, value.clone())).await {
                Ok(revision) => {
                    let known = Known::of(&record, revision, value.len());
                    self.index_mut().put(&slot, known);
                    return Ok(());
                }
                // Another node was first, or an answer was lost on its way.
                Err(StateError::Conflict { .. }) => self.look_again(&slot, &key).await?,
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
        let over = self.index().over(self.clock.now_ns(), RETAINED_SWEEP_MAX);
        for (slot, revision) in over {
            let key = slot.key();
            match ask(|| self.state.delete(&key, revision)).await {
                Ok(_) => self.index_mut().remove(&slot),
                Err(StateError::Conflict { .. }) => self.look_again(&slot, &key).await?,
                Err(error) => return Err(error),
            }
        }
        self.save_positions().await
    }

    async fn save_positions(&self) -> Result<(), StateError> {
        for (number, progress) in (0..).zip(&self.shards) {
            let applied = *progress.applied.borrow();
            if applied > 0 {
                self.save(Shard(number), applied).await?;
            }
        }
        Ok(())
    }

    /// Saves how far a shard was applied, unless another node is further.
    async fn save(&self, shard: Shard, position: u64) -> Result<(), StateError> {
        let key = position_key(shard);
        let mut value = self.log.incarnation().0.to_be_bytes().to_vec();
        value.extend_from_slice(&position.to_be_bytes());
        let value = Bytes::from(value);
        loop {
            let saved = ask(|| self.state.get(&key)).await?;
            let is_further = |saved| self.position_in(saved).is_some_and(|saved| saved >= position);
            if saved.as_ref().is_some_and(is_further) {
                return Ok(());
            }
            let expect = saved.map_or(Expect::Absent, |saved| Expect::Revision(saved.revision));
            match ask(|| self.state.compare_and_swap(&key, expect, value.clone())).await {
                Err(StateError::Conflict { .. }) => {}
                answer => return answer.map(drop),
            }
        }
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
    Key::durable(format!("mqtt.retained-position.{shard}"))
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

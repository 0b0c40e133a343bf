//! Appending: one task publishes what was taken, many at a time, and resolves receipts as acknowledgements come.
//!
//! What waits goes in messages of up to 64 entries of one domain, for the server's work is by message. A domain has few messages under
//! way, so that they fill up as it gets busier, as with a group commit; one entry alone waits for nobody.
//!
//! **Invariant:** entries of one domain that this process appends are stored in the order in which they were taken, also when the
//! connection breaks on the way (see [`outlet`](crate::nats::outlet)).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, PublishError, StatusCode};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};
use trunkline_core::DomainId;

use super::books::Held;
use super::lanes::{Job, Lanes, Parcel};
use super::places;
use super::shared::Shared;
use super::trim::Trimmer;
use crate::feed::locked;
use crate::log::{AppendError, Appended, Quota, Shard};
use crate::nats::NatsError;
use crate::nats::api::{ApiError, code, read_ack};
use crate::nats::connect::rest_before;
use crate::nats::outlet::Outlet;
use crate::nats::pages::MESSAGE_ID;

/// Messages that wait for their acknowledgements at most: fewer than news may wait in a subscription.
const IN_FLIGHT_MAX: usize = 1_024;
/// Bytes of such messages.
const IN_FLIGHT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often entries are looked over for those that have waited too long.
const EXPIRE_EVERY: Duration = Duration::from_millis(250);
/// When a publisher may try again after a refusal.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Header of an entry that is sent once more: who listens to what nobody waits for may have heard it.
pub(super) const AGAIN: &str = "Trunkline-Again";

/// The task that appends.
pub(super) struct Appender {
    shared: Arc<Shared>,
    trimmer: Option<Arc<Trimmer>>,
    queue: mpsc::UnboundedReceiver<Job>,
    /// Taken from the queue and not sent.
    waiting: Lanes,
    /// Sent over a connection that broke, oldest first.
    again: VecDeque<Parcel>,
    /// Sent and not acknowledged, oldest first; acknowledged ones leave holes until they are the first.
    in_flight: VecDeque<Option<Parcel>>,
    /// The number of the first in flight: acknowledgements come under it.
    first_number: u64,
    in_flight_bytes: usize,
    /// What entries are sent over; none until the first entry comes, and while a broken one is replaced.
    outlet: Option<Outlet>,
    opening: Option<Opening>,
    /// Outlets that were tried since the last acknowledgement.
    attempts: usize,
}

type Sending = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send>>;
type Opening = Pin<Box<dyn Future<Output = Result<Outlet, NatsError>> + Send>>;

impl Appender {
    pub(super) fn new(shared: Arc<Shared>, trimmer: Option<Arc<Trimmer>>, queue: mpsc::UnboundedReceiver<Job>) -> Self {
        Self {
            shared,
            trimmer,
            queue,
            waiting: Lanes::default(),
            again: VecDeque::new(),
            in_flight: VecDeque::new(),
            first_number: 0,
            in_flight_bytes: 0,
            outlet: None,
            opening: None,
            attempts: 0,
        }
    }

    /// Runs until the log is closed and every receipt has resolved.
    pub(super) async fn run(mut self) {
        let closing = self.shared.closing.clone();
        let mut sending: Option<Sending> = None;
        let mut expiry = interval(EXPIRE_EVERY);
        expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if sending.is_none() {
                sending = self.next_to_send().await;
            }
            let is_idle = self.waiting.is_empty() && self.again.is_empty() && self.in_flight.is_empty();
            if is_idle && closing.is_cancelled() && self.queue.is_empty() {
                return;
            }
            // All branches are cancel safe; those that send and connect are kept over the turns until they are done.
            tokio::select! {
                biased;
                ack = next_ack(&mut self.outlet) => match ack {
                    Some(ack) => self.acknowledged_all(&ack),
                    None => {
                        sending = None;
                        self.broke();
                    }
                },
                outlet = finished(&mut self.opening) => self.opened(outlet),
                sent = finished(&mut sending) => {
                    if let Err(error) = sent {
                        warn!(%error, "an entry could not be handed to the connection");
                    }
                }
                Some(job) = self.queue.recv() => self.take(job),
                _ = expiry.tick() => self.expire(),
                () = closing.cancelled(), if is_idle => {}
            }
        }
    }

    /// Begins to connect, unless that is begun; after failures with a rest before it.
    fn connect(&mut self) {
        if self.opening.is_some() {
            return;
        }
        let (parts, attempts) = (&self.shared.parts, self.attempts);
        let opening = parts.outlets.clone().open(parts.log, parts.inbox.clone());
        self.attempts += 1;
        self.opening = Some(Box::pin(async move {
            if attempts > 0 {
                tokio::time::sleep(rest_before(attempts)).await;
            }
            opening.await
        }));
    }

    fn opened(&mut self, outlet: Result<Outlet, NatsError>) {
        match outlet {
            Ok(outlet) => self.outlet = Some(outlet),
            // The first of a row is told; the rest stands in health.
            Err(error) if self.attempts == 1 => warn!(%error, "there is no way to NATS for entries"),
            Err(error) => debug!(%error, "there is no way to NATS for entries"),
        }
    }

    /// Takes `job` and those behind it that are there, so that they can go together.
    fn take(&mut self, job: Job) {
        self.waiting.push(job);
        while let Ok(job) = self.queue.try_recv() {
            self.waiting.push(job);
        }
    }

    /// Begins to send what is next, if there is room for it in flight.
    async fn next_to_send(&mut self) -> Option<Sending> {
        loop {
            if self.again.is_empty() && !self.waiting.may_send() {
                return None;
            }
            let Some(outlet) = &self.outlet else {
                self.connect();
                return None;
            };
            let client = outlet.client.clone();
            if self.in_flight.len() >= IN_FLIGHT_MAX || self.in_flight_bytes >= IN_FLIGHT_BYTES_MAX {
                return None;
            }
            // The server may hold it already, so there is no question of room.
            if let Some(parcel) = self.again.pop_front() {
                return Some(self.send(client, parcel));
            }
            let mut parcel = self.waiting.next()?;
            let place = (parcel.shard, parcel.domain);
            let mut refusal = refusal(&self.shared, self.trimmer.as_deref(), place, parcel.bytes()).await;
            if refusal.is_some() && parcel.jobs.len() > 1 {
                // There may be room for some of it.
                parcel = self.waiting.first_of(parcel);
                refusal = self::refusal(&self.shared, self.trimmer.as_deref(), place, parcel.bytes()).await;
            }
            match refusal {
                Some(refusal) => {
                    self.waiting.came_back(parcel.domain);
                    self.answer_all(parcel, &Err(refusal));
                }
                None => return Some(self.send(client, parcel)),
            }
        }
    }

    fn send(&mut self, client: Arc<Client>, parcel: Parcel) -> Sending {
        let parts = &self.shared.parts;
        let subject = parts
            .names
            .entry_subject(parts.log, parcel.shard, parcel.domain, parcel.answer);
        let number = self.first_number + self.in_flight.len() as u64;
        let reply = format!("{}.{number}", parts.inbox);
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, parcel.id().uuid().simple().to_string());
        if parcel.is_again {
            headers.insert(AGAIN, "1");
        }
        let payload = parcel.payload(&mut headers);
        self.in_flight_bytes += parcel.bytes();
        self.in_flight.push_back(Some(parcel));
        Box::pin(async move {
            client
                .publish_with_reply_and_headers(subject, reply, headers, payload)
                .await
        })
    }

    /// Takes `ack` and those behind it that are there.
    fn acknowledged_all(&mut self, ack: &Message) {
        self.attempts = 0;
        self.acknowledged(ack);
        while let Some(Some(Some(ack))) = self.outlet.as_mut().map(|outlet| outlet.acks.next().now_or_never()) {
            self.acknowledged(&ack);
        }
    }

    fn acknowledged(&mut self, message: &Message) {
        let number = message
            .subject
            .rsplit('.')
            .next()
            .and_then(|number| number.parse::<u64>().ok());
        let index = number.and_then(|number| number.checked_sub(self.first_number));
        let index = index.and_then(|index| usize::try_from(index).ok());
        // What is not in flight any more was answered already, or is sent again under another number.
        let Some(parcel) = index
            .and_then(|index| self.in_flight.get_mut(index))
            .and_then(Option::take)
        else {
            return;
        };
        self.in_flight_bytes -= parcel.bytes();
        self.waiting.came_back(parcel.domain);
        self.drop_answered();
        self.shared.counters.acks.fetch_add(1, Relaxed);
        let outcome = if message.status == Some(StatusCode::NO_RESPONDERS) {
            Err(ApiError::Nobody)
        } else {
            read_ack(&message.payload)
        };
        match outcome {
            Ok(ack) => self.stored(parcel, ack.seq, ack.duplicate),
            Err(error) => self.answer_all(parcel, &Err(refused(&error))),
        }
    }

    /// The server has all of `parcel` as its `message`.
    fn stored(&mut self, parcel: Parcel, message: u64, is_held_already: bool) {
        let counters = &self.shared.counters;
        let (shard, count) = (parcel.shard, parcel.jobs.len());
        if is_held_already {
            counters.duplicates.fetch_add(count as u64, Relaxed);
        } else {
            counters.appended.fetch_add(count as u64, Relaxed);
            let held = Held {
                entries: count as u64,
                bytes: parcel.bytes() as u64,
            };
            locked(&self.shared.ledger).stored(shard, message, parcel.domain, held);
        }
        self.shared.stored(shard, message);
        let appended = Appended {
            shard,
            sequence: 0,
            tier: self.shared.parts.durability.tier,
            is_duplicate: is_held_already && !parcel.is_again,
        };
        for (index, job) in parcel.jobs.into_iter().enumerate() {
            let sequence = places::place_in(message, index, count);
            self.answer(job, Ok(Appended { sequence, ..appended }));
        }
    }

    fn answer_all(&self, parcel: Parcel, outcome: &Result<Appended, AppendError>) {
        for job in parcel.jobs {
            self.answer(job, outcome.clone());
        }
    }

    /// Resolves the receipt of `job`, or counts it as dropped when nobody waits for an answer. What was answered already only leaves.
    fn answer(&self, mut job: Job, outcome: Result<Appended, AppendError>) {
        self.shared.left_queue(job.cost);
        self.tell(&mut job, outcome);
    }

    fn tell(&self, job: &mut Job, outcome: Result<Appended, AppendError>) {
        if std::mem::replace(&mut job.is_answered, true) {
            return;
        }
        let counters = &self.shared.counters;
        if outcome.is_err() {
            let counter = if job.receipt.is_some() {
                &counters.refused
            } else {
                &counters.dropped
            };
            counter.fetch_add(1, Relaxed);
        }
        if let Some(receipt) = job.receipt.take() {
            // The publisher may have gone.
            let _ = receipt.send(outcome);
        }
    }

    fn drop_answered(&mut self) {
        while let Some(None) = self.in_flight.front() {
            self.in_flight.pop_front();
            self.first_number += 1;
        }
    }

    /// Gives the outlet up, with all that it holds, and puts what was in flight back in its order.
    fn broke(&mut self) {
        self.outlet = None;
        self.first_number += self.in_flight.len() as u64;
        self.in_flight_bytes = 0;
        for parcel in self.in_flight.drain(..).rev().flatten() {
            self.again.push_front(Parcel {
                is_again: true,
                ..parcel
            });
        }
    }

    /// Answers what has waited too long, and gives up what nobody waits for any more.
    fn expire(&mut self) {
        if let Some(outlet) = &self.outlet {
            outlet.look();
        }
        let now = Instant::now();
        for job in self.waiting.expired(now) {
            self.answer(job, Err(AppendError::Unanswered));
        }
        for mut parcel in std::mem::take(&mut self.again) {
            match self.expire_parcel(&mut parcel, now) {
                true => self.give_up(parcel),
                false => self.again.push_back(parcel),
            }
        }
        for index in 0..self.in_flight.len() {
            let Some(mut parcel) = self.in_flight[index].take() else {
                continue;
            };
            match self.expire_parcel(&mut parcel, now) {
                true => {
                    self.in_flight_bytes -= parcel.bytes();
                    self.give_up(parcel);
                }
                false => self.in_flight[index] = Some(parcel),
            }
        }
        self.drop_answered();
    }

    /// Answers those of `parcel` that have waited too long; says whether all have.
    fn expire_parcel(&self, parcel: &mut Parcel, now: Instant) -> bool {
        let late = parcel.jobs.iter_mut().take_while(|job| job.deadline <= now);
        let count = late.map(|job| self.tell(job, Err(AppendError::Unanswered))).count();
        count == parcel.jobs.len()
    }

    fn give_up(&mut self, parcel: Parcel) {
        self.waiting.came_back(parcel.domain);
        self.answer_all(parcel, &Err(AppendError::Unanswered));
    }
}

/// Why there is no room for an entry of `bytes` at `place`, after trying to make some where that is our part.
async fn refusal(
    shared: &Shared,
    trimmer: Option<&Trimmer>,
    place: (Shard, DomainId),
    bytes: usize,
) -> Option<AppendError> {
    let ((shard, domain), bytes) = (place, bytes as u64);
    let quota = locked(&shared.ledger).full(domain, bytes, &shared.parts.limits)?;
    let quota = match trimmer {
        Some(trimmer) => trimmer.make_room(shard, domain, bytes).await?,
        None => quota,
    };
    Some(AppendError::Full {
        quota,
        retry_after: RETRY_AFTER,
    })
}

/// The next acknowledgement, or nothing when the outlet broke; never, while there is none. Cancel safe.
async fn next_ack(outlet: &mut Option<Outlet>) -> Option<Message> {
    let Some(outlet) = outlet else {
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        ack = outlet.acks.next() => ack,
        () = outlet.broken.cancelled() => None,
    }
}

/// What came of `work`, which is then over; never, while there is none. Cancel safe.
async fn finished<T>(work: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    let Some(pending) = work else {
        return std::future::pending().await;
    };
    let outcome = pending.await;
    *work = None;
    outcome
}

/// What a publisher is told when the server refuses.
fn refused(error: &ApiError) -> AppendError {
    match error {
        ApiError::Refused { code, .. } if code::NO_ROOM.contains(code) => AppendError::Full {
            quota: Quota::Total,
            retry_after: RETRY_AFTER,
        },
        ApiError::Nobody | ApiError::Unanswered(_) | ApiError::Refused { .. } => {
            warn!(%error, "NATS did not take an entry");
            AppendError::Unanswered
        }
    }
}

//! What waits to be sent: a lane for each domain, served in turn, and the parcels that go as one message.

use std::collections::{HashMap, VecDeque};

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::time::Instant;
use trunkline_core::{DomainId, MessageId};

use super::pack;
use super::places::PACK_ENTRIES_MAX;
use crate::log::{ReceiptSender, Shard};
use crate::nats::names::Answer;

/// Messages of one domain under way at most, of those that may have several entries: a domain that has more to say says more in each.
const PARCELS_MAX: usize = 4;

/// An entry that was taken.
pub(super) struct Job {
    pub(super) id: MessageId,
    pub(super) domain: DomainId,
    pub(super) shard: Shard,
    pub(super) answer: Answer,
    pub(super) payload: Bytes,
    pub(super) receipt: Option<ReceiptSender>,
    pub(super) deadline: Instant,
    pub(super) cost: u32,
    /// Whether the server must notice its id, which it does by message.
    pub(super) goes_alone: bool,
    pub(super) is_answered: bool,
}

/// Entries of one domain that go as one message, in their order; at least one.
pub(super) struct Parcel {
    pub(super) domain: DomainId,
    pub(super) shard: Shard,
    pub(super) answer: Answer,
    pub(super) jobs: VecDeque<Job>,
    /// Whether it was sent before, over a connection that broke.
    pub(super) is_again: bool,
}

/// The lanes of all domains that have something waiting or under way.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: HashMap<DomainId, Lane>,
    /// Domains that may send, in turn.
    ready: VecDeque<DomainId>,
    /// Entries that wait.
    waiting: usize,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Job>,
    /// Parcels under way.
    parcels: usize,
    is_ready: bool,
}

impl Parcel {
    /// The id by which the server notices that it holds the message already.
    pub(super) fn id(&self) -> MessageId {
        self.jobs.front().map_or_else(MessageId::new, |first| first.id)
    }

    /// Bytes of the message.
    pub(super) fn bytes(&self) -> usize {
        let bytes = self.jobs.iter().map(|job| job.payload.len()).sum();
        pack::bytes_of(self.jobs.len(), bytes)
    }

    /// The message, and what its headers must say besides.
    pub(super) fn payload(&self, headers: &mut HeaderMap) -> Bytes {
        let entries: Vec<Bytes> = self.jobs.iter().map(|job| job.payload.clone()).collect();
        pack::encode(&entries, headers)
    }
}

impl Lanes {
    /// Adds what was taken last.
    pub(super) fn push(&mut self, job: Job) {
        let domain = job.domain;
        self.waiting += 1;
        self.lanes.entry(domain).or_default().waiting.push_back(job);
        self.look(domain);
    }

    /// Whether nothing waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Whether [`Lanes::next`] has something.
    pub(super) fn may_send(&self) -> bool {
        !self.ready.is_empty()
    }

    /// What goes next, which is under way from now on.
    pub(super) fn next(&mut self) -> Option<Parcel> {
        let domain = self.ready.pop_front()?;
        let lane = self.lanes.get_mut(&domain)?;
        lane.is_ready = false;
        let first = lane.waiting.pop_front()?;
        let (shard, answer, mut bytes) = (first.shard, first.answer, first.payload.len());
        let is_alone = first.goes_alone;
        let mut jobs = VecDeque::from([first]);
        while let Some(next) = lane.waiting.front()
            && !is_alone
            && !next.goes_alone
            && next.answer == answer
            && jobs.len() < PACK_ENTRIES_MAX
            && pack::bytes_of(jobs.len() + 1, bytes + next.payload.len()) <= pack::PACK_BYTES_MAX
            && let Some(next) = lane.waiting.pop_front()
        {
            bytes += next.payload.len();
            jobs.push_back(next);
        }
        lane.parcels += 1;
        self.waiting -= jobs.len();
        self.look(domain);
        Some(Parcel {
            domain,
            shard,
            answer,
            jobs,
            is_again: false,
        })
    }

    /// Puts all but the first of a parcel that is under way back.
    pub(super) fn first_of(&mut self, mut parcel: Parcel) -> Parcel {
        let rest = parcel.jobs.split_off(1);
        self.waiting += rest.len();
        let lane = self.lanes.entry(parcel.domain).or_default();
        for job in rest.into_iter().rev() {
            lane.waiting.push_front(job);
        }
        self.look(parcel.domain);
        parcel
    }

    /// A parcel of `domain` is not under way any more.
    pub(super) fn came_back(&mut self, domain: DomainId) {
        if let Some(lane) = self.lanes.get_mut(&domain) {
            lane.parcels = lane.parcels.saturating_sub(1);
        }
        self.look(domain);
    }

    /// Takes out what has waited too long.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Job> {
        let mut expired = Vec::new();
        for lane in self.lanes.values_mut() {
            while let Some(job) = lane.waiting.pop_front_if(|job| job.deadline <= now) {
                expired.push(job);
            }
        }
        self.waiting -= expired.len();
        self.ready.retain(|domain| {
            let lane = self.lanes.get_mut(domain);
            lane.is_some_and(|lane| {
                lane.is_ready = !lane.waiting.is_empty();
                lane.is_ready
            })
        });
        self.lanes
            .retain(|_, lane| lane.parcels > 0 || !lane.waiting.is_empty());
        expired
    }

    /// Lets `domain` send if it may, and forgets it if there is nothing of it.
    fn look(&mut self, domain: DomainId) {
        let Some(lane) = self.lanes.get_mut(&domain) else {
            return;
        };
        if lane.waiting.is_empty() && lane.parcels == 0 {
            self.lanes.remove(&domain);
            return;
        }
        let may_send = |first: &Job| first.goes_alone || lane.parcels < PARCELS_MAX;
        if !lane.is_ready && lane.waiting.front().is_some_and(may_send) {
            lane.is_ready = true;
            self.ready.push_back(domain);
        }
    }
}

//! What was written for a client and may not be with it yet: by which subscriptions, and whether it may still leave.
//!
//! A message is judged when it is written, and a client that reads slowly takes it long after. So bytes leave only while every subscription
//! by which messages among them were written has its grant. Packets are not told apart: where one may not leave any more, the connection
//! ends, since nothing can be said in the middle of a packet.

use std::sync::Arc;

use crate::limits::UNTAKEN_SUBSCRIPTIONS_MAX;
use crate::subscription::Subscription;

/// What a client has not taken.
pub(super) struct Untaken {
    /// Whether the stream holds nothing back of what it was given.
    pub(super) is_flushed: bool,
    /// By which subscriptions messages were written since the client had last taken everything. Some may have ended.
    subscriptions: Vec<Arc<Subscription>>,
    /// Whether nothing leaves until it is known again what may.
    is_withheld: bool,
}

impl Untaken {
    pub(super) const fn new() -> Self {
        Self {
            is_flushed: true,
            subscriptions: Vec::new(),
            is_withheld: false,
        }
    }

    /// Notes that a message was written by a subscription.
    pub(super) fn add(&mut self, subscription: &Arc<Subscription>) {
        if !self.has(subscription) {
            self.subscriptions.push(Arc::clone(subscription));
        }
    }

    /// Whether a message by the subscription may be among what the client has not taken. Most often it is the one of the last message.
    pub(super) fn has(&self, subscription: &Arc<Subscription>) -> bool {
        let mut subscriptions = self.subscriptions.iter().rev();
        subscriptions.any(|other| Arc::ptr_eq(other, subscription))
    }

    /// Whether there may be any message.
    pub(super) const fn has_any(&self) -> bool {
        !self.subscriptions.is_empty()
    }

    /// Whether messages by further subscriptions may be written. What has ended is remembered until the client has taken everything.
    pub(super) const fn has_room(&self) -> bool {
        self.subscriptions.len() < UNTAKEN_SUBSCRIPTIONS_MAX
    }

    /// The client has taken everything.
    pub(super) fn clear(&mut self) {
        self.subscriptions.clear();
    }

    /// Whether all of it may leave at this moment.
    pub(super) fn is_granted(&self) -> bool {
        self.subscriptions.iter().all(|subscription| subscription.is_granted())
    }

    /// The subscriptions that have ended and whose grants have lapsed since.
    pub(super) fn lapsed(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        let ended = self.subscriptions.iter().filter(|subscription| subscription.is_ended());
        ended.filter(|subscription| !subscription.is_granted())
    }

    /// Nothing leaves from now on, until [`Untaken::release`].
    pub(super) const fn withhold(&mut self) {
        self.is_withheld = true;
    }

    /// What was withheld may leave as far as it is granted.
    pub(super) const fn release(&mut self) {
        self.is_withheld = false;
    }

    pub(super) const fn is_withheld(&self) -> bool {
        self.is_withheld
    }
}

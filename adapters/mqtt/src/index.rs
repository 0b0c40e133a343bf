//! Which sessions of this node a message goes to.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use trunkline_core::{ChannelId, DomainId};

use crate::mailbox::Item;
use crate::message::Message;
use crate::subscription::{Subscriber, Subscription};

/// The subscriptions of a node, by channel.
#[derive(Debug, Default)]
pub(crate) struct Index(RwLock<HashMap<(DomainId, ChannelId), Channel>>);

/// The subscriptions to one channel: those without wildcards are found by their subtopic, the others are tried one by one.
#[derive(Debug, Default)]
struct Channel {
    exact: HashMap<Box<str>, Vec<Entry>>,
    wild: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    subscriber: Arc<Subscriber>,
    subscription: Arc<Subscription>,
}

impl Index {
    pub(crate) fn add(&self, subscriber: &Arc<Subscriber>, subscription: &Arc<Subscription>) {
        let entry = Entry {
            subscriber: Arc::clone(subscriber),
            subscription: Arc::clone(subscription),
        };
        let mut channels = self.0.write().unwrap_or_else(PoisonError::into_inner);
        channels
            .entry(subscription.place())
            .or_default()
            .of_mut(subscription)
            .push(entry);
    }

    pub(crate) fn remove(&self, subscription: &Arc<Subscription>) {
        let mut channels = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = channels.get_mut(&subscription.place()) else {
            return;
        };
        let entries = channel.of_mut(subscription);
        entries.retain(|entry| !Arc::ptr_eq(&entry.subscription, subscription));
        let is_empty = entries.is_empty();
        if is_empty {
            channel.exact.remove(subscription.pattern());
        }
        if channel.exact.is_empty() && channel.wild.is_empty() {
            channels.remove(&subscription.place());
        }
    }

    /// Puts `message` into the mailbox of every session that asks for it. Returns how many took it, and how many lost it.
    pub(crate) fn route(&self, message: &Arc<Message>) -> (usize, u64) {
        let (mut taken, mut lost) = (0, 0);
        let channels = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = message.place().and_then(|place| channels.get(&place)) else {
            return (0, 0);
        };
        let exact = channel.exact.get(message.envelope().subtopic.as_str());
        for entry in exact.into_iter().flatten().chain(&channel.wild) {
            if !entry.is_chosen(message) {
                continue;
            }
            let item = Item {
                message: Arc::clone(message),
                subscription: Arc::clone(&entry.subscription),
            };
            match entry.subscriber.mailbox.put(item) {
                true => taken += 1,
                false => lost += 1,
            }
        }
        (taken, lost)
    }
}

impl Channel {
    fn of_mut(&mut self, subscription: &Subscription) -> &mut Vec<Entry> {
        let pattern = subscription.pattern();
        match pattern.contains(['+', '#']) {
            true => &mut self.wild,
            false => self.exact.entry(pattern.into()).or_default(),
        }
    }
}

impl Entry {
    /// Whether the session gets `message` by this subscription and not by another.
    fn is_chosen(&self, message: &Message) -> bool {
        if !self.subscription.wants(message, self.subscriber.session_id) {
            return false;
        }
        self.subscriber.len() == 1
            || self
                .subscriber
                .choose(message)
                .is_some_and(|chosen| Arc::ptr_eq(&chosen, &self.subscription))
    }
}

//! Retained messages that subscriptions are still to be given. A session that outlives its connection is owed them when it comes back.

use std::sync::Arc;

use super::member::Member;
use crate::mailbox::Item;
use crate::retained::Lookup;
use crate::session::Unsent;
use crate::subscription::Subscription;

/// What one subscription is owed.
pub(super) struct Owing {
    subscription: Arc<Subscription>,
    unsent: Unsent,
    /// Whether all of it was read; what was not sent waits in the member.
    is_read: bool,
}

impl Member {
    /// Has the retained messages of a subscription read, those of `unsent`.
    pub(super) fn owe(&mut self, subscription: Arc<Subscription>, unsent: Unsent) {
        self.owing
            .retain(|owing| !Arc::ptr_eq(&owing.subscription, &subscription) && !owing.subscription.is_ended());
        // What is begun for nobody any more is not kept either: it waits while the client takes nothing, and a client may subscribe all the while.
        self.lookups
            .retain(|lookup| !Arc::ptr_eq(&lookup.subscription, &subscription) && !lookup.subscription.is_ended());
        let lookup = Lookup::new(Arc::clone(&subscription), self.session.id(), unsent.clone());
        self.lookups.push_back(lookup);
        self.owing.push(Owing {
            subscription,
            unsent,
            is_read: false,
        });
    }

    /// What a subscription is still owed. Of those begun, the first alone goes on where it was, so that a record has room for what it says of
    /// all of them; the others begin again.
    pub(super) fn unsent(&self, subscription: &Arc<Subscription>) -> Option<Unsent> {
        let is_it = |owing: &Owing| Arc::ptr_eq(&owing.subscription, subscription);
        let owing = self.owing.iter().find(|owing| is_it(owing))?;
        let mut earlier = self.owing.iter().take_while(|owing| !is_it(owing));
        let is_first = !earlier.any(|owing| owing.unsent.after.is_some() && self.is_owed(owing));
        self.is_owed(owing).then(|| Unsent {
            up_to: owing.unsent.up_to,
            after: owing.unsent.after.clone().filter(|_| is_first),
        })
    }

    /// Whether there is more to come of it.
    fn is_owed(&self, owing: &Owing) -> bool {
        let is_of_it = |item: &Item| item.is_retained && Arc::ptr_eq(&item.subscription, &owing.subscription);
        !owing.is_read || self.held.iter().chain(&self.caught).any(is_of_it)
    }

    /// Notes whether all that is retained for a subscription was read.
    pub(super) fn was_read(&mut self, subscription: &Arc<Subscription>, is_read: bool) {
        if let Some(owing) = self.owing_of(subscription) {
            owing.is_read = is_read;
        }
    }

    /// Notes that a retained message was given to the client, or is not for it any more.
    pub(super) fn retained_passed(&mut self, item: &Item) {
        if let Some(owing) = self.owing_of(&item.subscription) {
            owing.unsent.after = Some(item.message.envelope().subtopic.as_str().into());
        }
    }

    fn owing_of(&mut self, subscription: &Arc<Subscription>) -> Option<&mut Owing> {
        self.owing
            .iter_mut()
            .find(|owing| Arc::ptr_eq(&owing.subscription, subscription))
    }
}

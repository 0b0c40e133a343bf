//! Which sessions of this node a message goes to.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use trunkline_core::{ChannelId, DomainId, SessionId};

use crate::message::Message;
use crate::subscription::{Subscriber, Subscription};

/// The sessions of a node that have subscriptions, by channel.
#[derive(Debug, Default)]
pub(crate) struct Index(RwLock<HashMap<(DomainId, ChannelId), Channel>>);

/// The sessions that subscribe to one channel: those without wildcards are found by their subtopic, the others are all asked.
#[derive(Debug, Default)]
struct Channel {
    exact: HashMap<Box<str>, Entries>,
    wild: Entries,
}

/// Sessions by the keys of their subscribers, each once, however many subscriptions it has.
type Entries = HashMap<SessionId, Entry>;

#[derive(Debug)]
struct Entry {
    subscriber: Arc<Subscriber>,
    /// Subscriptions of the session for which it is here.
    subscriptions: usize,
}

impl Index {
    pub(crate) fn add(&self, subscriber: &Arc<Subscriber>, subscription: &Subscription) {
        let mut channels = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let channel = channels.entry(subscription.place()).or_default();
        let entry = channel
            .of_mut(subscription)
            .entry(subscriber.key)
            .or_insert_with(|| Entry {
                subscriber: Arc::clone(subscriber),
                subscriptions: 0,
            });
        entry.subscriptions += 1;
    }

    /// Removes a subscription that was added.
    pub(crate) fn remove(&self, subscriber: &Subscriber, subscription: &Subscription) {
        let mut channels = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = channels.get_mut(&subscription.place()) else {
            return;
        };
        let entries = channel.of_mut(subscription);
        if let Some(entry) = entries.get_mut(&subscriber.key) {
            entry.subscriptions -= 1;
            if entry.subscriptions == 0 {
                entries.remove(&subscriber.key);
            }
        }
        if entries.is_empty() {
            channel.exact.remove(subscription.pattern());
        }
        if channel.exact.is_empty() && channel.wild.is_empty() {
            channels.remove(&subscription.place());
        }
    }

    /// Whether a session subscribes to `subtopic` at this place, whoever publishes.
    pub(crate) fn has(&self, place: (DomainId, ChannelId), subtopic: &str) -> bool {
        let channels = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = channels.get(&place) else {
            return false;
        };
        let is_matched = |entry: &Entry| {
            entry
                .subscriber
                .all()
                .iter()
                .any(|subscription| subscription.matches(subtopic))
        };
        channel.exact.contains_key(subtopic) || channel.wild.values().any(is_matched)
    }

    /// Puts `message` into the mailbox of every session that asks for it, looking at each session once. Returns how many took
    /// it, and how many lost it.
    pub(crate) fn route(&self, message: &Arc<Message>) -> (usize, u64) {
        let (mut taken, mut lost) = (0, 0);
        let channels = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = message.place().and_then(|place| channels.get(&place)) else {
            return (0, 0);
        };
        let exact = channel.exact.get(message.envelope().subtopic.as_str());
        let is_exact = |key| exact.is_some_and(|exact| exact.contains_key(key));
        let wild = channel.wild.iter().filter(|(key, _)| !is_exact(key));
        for (_, Entry { subscriber, .. }) in exact.into_iter().flatten().chain(wild) {
            let Some(item) = subscriber.choose(message) else {
                continue;
            };
            match subscriber.mailbox.put(item) {
                true => taken += 1,
                false => lost += 1,
            }
        }
        (taken, lost)
    }
}

impl Channel {
    fn of_mut(&mut self, subscription: &Subscription) -> &mut Entries {
        let pattern = subscription.pattern();
        match pattern.contains(['+', '#']) {
            true => &mut self.wild,
            false => self.exact.entry(pattern.into()).or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_bus::envelope::id_bytes;
    use trunkline_core::Secret;
    use trunkline_gate::{Action, Credentials, Gate as _, OpenGate};
    use trunkline_mqtt_wire::QoS;
    use trunkline_proto::messages::v1::Envelope;

    use super::*;
    use crate::queue::Next;
    use crate::subscription::Options;

    fn message(place: (DomainId, ChannelId)) -> Arc<Message> {
        let envelope = Envelope {
            domain_id: id_bytes(place.0.as_bytes()),
            channel_id: id_bytes(place.1.as_bytes()),
            subtopic: "a/b".to_owned(),
            qos: 1,
            ..Envelope::default()
        };
        Arc::new(Message::new(Arc::new(envelope), Some(1)))
    }

    /// The filter of the only message in the mailbox.
    fn only(subscriber: &Subscriber) -> Option<String> {
        let Next::Item(item) = subscriber.mailbox.take() else {
            return None;
        };
        assert!(matches!(subscriber.mailbox.take(), Next::Nothing));
        Some(item.subscription.filter().to_owned())
    }

    #[tokio::test]
    async fn a_session_with_many_filters_gets_a_message_once_by_the_best_until_none_is_left() {
        let gate = OpenGate::new(Vec::new());
        let anybody = Credentials::of_client("", Secret::new(String::new()));
        let session = gate.connect(anybody).await.unwrap();
        let subscriber = Arc::new(Subscriber::new(session.id()));
        let index = Index::default();
        let mut subscriptions = Vec::new();
        // From the worst to the best: the highest QoS is by the last.
        for (filter, qos) in [
            ("x", QoS::AtLeastOnce),
            ("#", QoS::AtMostOnce),
            ("+/b", QoS::AtMostOnce),
            ("a/b", QoS::AtMostOnce),
            ("a/#", QoS::AtLeastOnce),
        ] {
            let permit = gate.may(&session, Action::Subscribe, filter).await.unwrap();
            let options = Options {
                qos,
                no_local: false,
                retain_as_published: false,
                id: None,
            };
            let subscription = Arc::new(Subscription::new(filter, &permit, options));
            subscriber.add(Arc::clone(&subscription));
            index.add(&subscriber, &subscription);
            subscriptions.push(subscription);
        }
        let message = message(subscriptions[0].place());
        for expected in ["a/#", "#", "#", "#"] {
            assert_eq!(index.route(&message), (1, 0));
            assert_eq!(only(&subscriber).as_deref(), Some(expected));
            let last = subscriptions.pop().unwrap();
            subscriber.remove(&last);
            index.remove(&subscriber, &last);
        }
        assert_eq!(index.route(&message), (0, 0));
        let last = subscriptions.pop().unwrap();
        index.remove(&subscriber, &last);
        assert!(index.0.read().unwrap().is_empty());
    }
}

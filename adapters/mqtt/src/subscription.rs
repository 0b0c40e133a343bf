//! Subscriptions: what one filter of a session asks for, and by which grant.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use trunkline_core::{ChannelId, DomainId, SessionId};
use trunkline_gate::{Grant, Permit};
use trunkline_mqtt_wire::{QoS, SubscribeFilter, SubscriptionId};

use crate::mailbox::{Item, Mailbox};
use crate::message::Message;
use crate::shared::{Group, Room};

/// One session as the router sees it.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) session_id: SessionId,
    /// Tells it from an earlier connection of its session that has not ended yet.
    pub(crate) key: SessionId,
    pub(crate) mailbox: Mailbox,
    /// What it takes from its groups.
    pub(crate) room: Room,
    subscriptions: RwLock<Vec<Arc<Subscription>>>,
    changes: AtomicU64,
}

/// One subscription of a session.
#[derive(Debug)]
pub(crate) struct Subscription {
    filter: Box<str>,
    /// Where the filter begins for which permission was asked: behind `$share/<group>/`.
    asked_at: usize,
    /// Where the subtopic's part of it begins; there at once for a filter of free topics.
    subtopic_at: usize,
    place: (DomainId, ChannelId),
    /// Messages up to this place in the log are from before the subscription.
    since: AtomicU64,
    /// Whose messages it has a share of. It has none of its own then.
    group: Option<Arc<Group>>,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    options: Options,
    grant: Arc<Grant>,
    is_ended: bool,
}

/// What a subscription was asked for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) qos: QoS,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    /// What deliveries by it are marked with.
    pub(crate) id: Option<SubscriptionId>,
}

impl Options {
    pub(crate) const fn of(asked: &SubscribeFilter, id: Option<SubscriptionId>) -> Self {
        Self {
            qos: asked.qos,
            no_local: asked.no_local,
            retain_as_published: asked.retain_as_published,
            id,
        }
    }
}

impl Subscriber {
    pub(crate) fn new(session_id: SessionId) -> Self {
        Self {
            session_id,
            key: SessionId::new(),
            mailbox: Mailbox::default(),
            room: Room::default(),
            subscriptions: RwLock::default(),
            changes: AtomicU64::new(0),
        }
    }

    /// The subscription with exactly this filter.
    pub(crate) fn find(&self, filter: &str) -> Option<Arc<Subscription>> {
        let subscriptions = self.subscriptions.read().unwrap_or_else(PoisonError::into_inner);
        subscriptions
            .iter()
            .find(|subscription| *subscription.filter == *filter)
            .cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Subscription>> {
        self.subscriptions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether one of them is a share of what `group` is dealt.
    pub(crate) fn has_share_of(&self, group: &Arc<Group>) -> bool {
        let subscriptions = self.subscriptions.read().unwrap_or_else(PoisonError::into_inner);
        let mut groups = subscriptions.iter().filter_map(|subscription| subscription.group());
        groups.any(|of| Arc::ptr_eq(of, group))
    }

    pub(crate) fn len(&self) -> usize {
        self.subscriptions.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Bytes of all filters.
    pub(crate) fn filter_bytes(&self) -> usize {
        let subscriptions = self.subscriptions.read().unwrap_or_else(PoisonError::into_inner);
        subscriptions.iter().map(|subscription| subscription.filter.len()).sum()
    }

    /// Counts what changed in the subscriptions.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Notes that a subscription changed.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, subscription: Arc<Subscription>) {
        self.changed();
        self.subscriptions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(subscription);
    }

    pub(crate) fn remove(&self, subscription: &Arc<Subscription>) {
        self.changed();
        let mut subscriptions = self.subscriptions.write().unwrap_or_else(PoisonError::into_inner);
        subscriptions.retain(|other| !Arc::ptr_eq(other, subscription));
    }

    /// A message that was sent already, as the session gets it once more: by the best subscription that it has now, or by that to the
    /// `group` by which it had it.
    pub(crate) fn choose_again(&self, message: &Arc<Message>, group: Option<u64>, is_retained: bool) -> Option<Item> {
        let subscriptions = self.subscriptions.read().unwrap_or_else(PoisonError::into_inner);
        let is_of_group =
            |subscription: &&Arc<Subscription>| subscription.group.as_ref().map(|group| group.id()) == group;
        let candidates = || subscriptions.iter().filter(is_of_group);
        let matching = || candidates().filter(|subscription| subscription.covers(message));
        // Of equals the oldest, as the first time.
        let chosen = matching().rev().max_by_key(|subscription| subscription.options().qos)?;
        let marks = matching().filter(|subscription| !is_retained || Arc::ptr_eq(subscription, chosen));
        Some(Item {
            message: Arc::clone(message),
            subscription: Arc::clone(chosen),
            ids: marks.filter_map(|subscription| subscription.options().id).collect(),
            is_retained,
        })
    }

    /// `message` as the session gets it: where several subscriptions match, it gets it once, by the one with the highest QoS, and
    /// among equals by the oldest, marked with the identifiers of all.
    pub(crate) fn choose(&self, message: &Arc<Message>) -> Option<Item> {
        let subscriptions = self.subscriptions.read().unwrap_or_else(PoisonError::into_inner);
        let mut chosen: Option<(&Arc<Subscription>, QoS)> = None;
        let mut ids = Vec::new();
        for subscription in subscriptions.iter() {
            if subscription.group.is_some() || !subscription.wants(message, self.session_id) {
                continue;
            }
            let options = subscription.options();
            ids.extend(options.id);
            if chosen.is_none_or(|(_, highest)| options.qos > highest) {
                chosen = Some((subscription, options.qos));
            }
        }
        chosen.map(|(subscription, _)| Item {
            message: Arc::clone(message),
            subscription: Arc::clone(subscription),
            ids,
            is_retained: false,
        })
    }
}

impl Subscription {
    /// A subscription to messages from now on; [`Subscription::begin_after`] says where that is in the log.
    pub(crate) fn new(filter: &str, permit: &Permit, options: Options) -> Self {
        Self {
            filter: filter.into(),
            asked_at: 0,
            subtopic_at: permit.subtopic_at,
            place: (permit.domain_id(), permit.channel_id()),
            since: AtomicU64::new(0),
            group: None,
            state: RwLock::new(State {
                options,
                grant: Arc::clone(&permit.grant),
                is_ended: false,
            }),
        }
    }

    /// A share of what `group` is dealt. `permit` is for the filter of the group, at the end of `filter`.
    pub(crate) fn shared(filter: &str, permit: &Permit, options: Options, group: Arc<Group>) -> Self {
        let asked_at = filter.len() - unshared(filter).len();
        Self {
            asked_at,
            subtopic_at: asked_at + permit.subtopic_at,
            group: Some(group),
            ..Self::new(filter, permit, options)
        }
    }

    /// The filter as the client gave it.
    pub(crate) fn filter(&self) -> &str {
        &self.filter
    }

    /// The filter for which permission is asked.
    pub(crate) fn asked(&self) -> &str {
        &self.filter[self.asked_at..]
    }

    /// The group of a shared subscription.
    pub(crate) const fn group(&self) -> Option<&Arc<Group>> {
        self.group.as_ref()
    }

    pub(crate) const fn place(&self) -> (DomainId, ChannelId) {
        self.place
    }

    /// What the filter asks for below the channel, wildcards included.
    pub(crate) fn pattern(&self) -> &str {
        &self.filter[self.subtopic_at..]
    }

    pub(crate) fn options(&self) -> Options {
        self.state.read().unwrap_or_else(PoisonError::into_inner).options
    }

    /// Whether something may be delivered by it: it has not ended, and its grant may be relied on.
    pub(crate) fn holds(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        !state.is_ended && state.grant.holds()
    }

    /// Whether its grant may be relied on, for what was written by it, also when it has ended.
    pub(crate) fn is_granted(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.grant.holds()
    }

    /// Whether nothing is to be delivered by it any more.
    pub(crate) fn is_ended(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).is_ended
    }

    /// Has a new grant; `false` when that leads to another channel, which is another subscription.
    pub(crate) fn renew(&self, permit: &Permit) -> bool {
        let is_same = self.place == (permit.domain_id(), permit.channel_id());
        if is_same {
            self.state_mut().grant = Arc::clone(&permit.grant);
        }
        is_same
    }

    /// Goes on with other options.
    pub(crate) fn change(&self, options: Options) {
        self.state_mut().options = options;
    }

    /// Delivers nothing any more.
    pub(crate) fn end(&self) {
        self.state_mut().is_ended = true;
    }

    /// Whether `message`, of the same channel, is asked for by the session `session_id`.
    pub(crate) fn wants(&self, message: &Message, session_id: SessionId) -> bool {
        let envelope = message.envelope();
        let is_own = || envelope.session_id == session_id.as_bytes().as_slice();
        self.is_news(message) && self.covers(message) && !(self.options().no_local && is_own())
    }

    /// Whether `message` is of the channel and the subtopics that are subscribed to.
    fn covers(&self, message: &Message) -> bool {
        message.place() == Some(self.place) && self.matches(&message.envelope().subtopic)
    }

    /// The place in the log up to which messages are older than the subscription.
    pub(crate) fn since(&self) -> u64 {
        self.since.load(Ordering::Acquire)
    }

    /// Takes messages up to `place` in the log for older than the subscription. What the router has put into the mailbox before this was
    /// told is looked at again when it is sent.
    pub(crate) fn begin_after(&self, place: u64) {
        self.since.store(place, Ordering::Release);
    }

    /// Whether `message` is from after the subscription.
    pub(crate) fn is_news(&self, message: &Message) -> bool {
        message.sequence().is_none_or(|sequence| sequence > self.since())
    }

    /// Whether the filter matches `subtopic` of its channel.
    pub(crate) fn matches(&self, subtopic: &str) -> bool {
        matches(self.pattern(), subtopic, self.subtopic_at == self.asked_at)
    }

    /// Writes the topic of a message to `subtopic`, in the spelling of the filter, over `topic`.
    pub(crate) fn spell(&self, subtopic: &str, topic: &mut String) {
        topic.clear();
        topic.push_str(&self.filter[self.asked_at..self.subtopic_at]);
        if subtopic.is_empty() {
            topic.truncate(topic.trim_end_matches('/').len());
            return;
        }
        if self.subtopic_at > self.asked_at && !topic.ends_with('/') {
            topic.push('/');
        }
        topic.push_str(subtopic);
    }

    fn state_mut(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `pattern` asks for `subtopic` of its channel, or for a topic where those are free.
pub(crate) fn matches(pattern: &str, subtopic: &str, is_free: bool) -> bool {
    if is_free {
        return trunkline_mqtt_wire::topic::matches(pattern, subtopic);
    }
    if subtopic.is_empty() || pattern.is_empty() {
        return pattern == subtopic || (subtopic.is_empty() && pattern == "#");
    }
    let mut given = subtopic.split('/');
    for level in pattern.split('/') {
        if level == "#" {
            return true;
        }
        match given.next() {
            Some(other) if level == "+" || level == other => {}
            Some(_) | None => return false,
        }
    }
    given.next().is_none()
}

/// A filter without `$share/<group>/`.
pub(crate) fn unshared(filter: &str) -> &str {
    match trunkline_mqtt_wire::topic::shared(filter) {
        Ok(Some((_, inner))) => inner,
        Ok(None) | Err(_) => filter,
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::Secret;
    use trunkline_gate::{Action, Credentials, Gate as _, OpenGate};

    use super::*;

    const OPTIONS: Options = Options {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        id: None,
    };

    /// A subscription whose subtopic begins at `subtopic_at`; 0 stands for free topics.
    async fn subscription(filter: &str, subtopic_at: usize) -> Subscription {
        let gate = OpenGate::new(Vec::new());
        let anybody = Credentials::of_client("", Secret::new(String::new()));
        let session = gate.connect(anybody).await.unwrap();
        let permit = gate.may(&session, Action::Subscribe, filter).await.unwrap();
        let permit = Permit { subtopic_at, ..permit };
        Subscription::new(filter, &permit, OPTIONS)
    }

    /// A subscription to the channel `m/d/c/k`.
    async fn in_channel(pattern: &str) -> Subscription {
        let filter = format!("m/d/c/k{pattern}");
        subscription(&filter, filter.len().min("m/d/c/k/".len())).await
    }

    #[tokio::test]
    async fn a_filter_matches_the_subtopics_of_its_channel() {
        let table: [(&str, &[&str], &[&str]); 6] = [
            ("", &[""], &["a", "a/b"]),
            ("/#", &["", "a", "a/b", "$a"], &[]),
            ("/+", &["a", "$a"], &["", "a/b"]),
            ("/a/#", &["a", "a/b", "a/b/c"], &["", "b", "ab"]),
            ("/a/+/c", &["a/b/c"], &["a/c", "a/b", "a/b/c/d"]),
            ("/a.b", &["a.b"], &["a/b", "a"]),
        ];
        for (pattern, hits, misses) in table {
            let subscription = in_channel(pattern).await;
            for subtopic in hits {
                assert!(subscription.matches(subtopic), "{pattern} and {subtopic}");
            }
            for subtopic in misses {
                assert!(!subscription.matches(subtopic), "{pattern} and {subtopic}");
            }
        }
    }

    #[tokio::test]
    async fn free_topics_match_as_the_standard_says() {
        for (filter, topic, is_match) in [
            ("#", "a/b", true),
            ("#", "$a/b", false),
            ("+/b", "$a/b", false),
            ("$a/#", "$a/b", true),
            ("/+", "/a", true),
            ("+/+", "/a", true),
            ("a/#", "a", true),
        ] {
            assert_eq!(
                subscription(filter, 0).await.matches(topic),
                is_match,
                "{filter} and {topic}"
            );
        }
    }

    #[tokio::test]
    async fn a_topic_is_spelled_as_its_filter_spells_the_channel() {
        let mut topic = String::new();
        for (pattern, subtopic, spelled) in [
            ("", "", "m/d/c/k"),
            ("/#", "", "m/d/c/k"),
            ("/#", "a/b", "m/d/c/k/a/b"),
            ("/+/b", "a/b", "m/d/c/k/a/b"),
        ] {
            in_channel(pattern).await.spell(subtopic, &mut topic);
            assert_eq!(topic, spelled);
        }
        subscription("#", 0).await.spell("/a/", &mut topic);
        assert_eq!(topic, "/a/");
    }
}

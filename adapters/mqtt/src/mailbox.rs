//! What waits for one session. It is bounded, so a client that does not read costs nobody anything: what the log keeps is left
//! there and read when the client reads on, what it does not keep is dropped and counted. A session that comes back begins the same way:
//! behind, by what it missed. What it was given as a member of a group waits beside that.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use trunkline_mqtt_wire::{QoS, SubscriptionId};

use crate::message::Message;
use crate::queue::{Next, Put, Queue};
use crate::subscription::Subscription;

/// One message for the session, by one of its subscriptions.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) message: Arc<Message>,
    pub(crate) subscription: Arc<Subscription>,
    /// The identifiers of all subscriptions of the session that matched.
    pub(crate) ids: Vec<SubscriptionId>,
    /// Whether it was there before the subscription, as the retained message of its topic.
    pub(crate) is_retained: bool,
}

/// What waits for one session.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    queue: Queue<Item>,
    /// What groups gave to it. They look at the room of the session before.
    dealt: VecDeque<Item>,
    /// Whether what was dealt goes before what waits in the queue, when there is both.
    is_dealt_next: bool,
}

impl Mailbox {
    /// As [`Queue::begin_after`].
    pub(crate) fn begin_after(&self, position: u64) {
        self.lock().queue.begin_after(position);
    }

    /// As [`Queue::reaches`].
    pub(crate) fn reaches(&self, head: u64) {
        self.lock().queue.reaches(head);
    }

    /// Whether there is nothing to be given of what the session itself subscribed to, neither here nor in the log.
    pub(crate) fn is_idle(&self) -> bool {
        self.lock().queue.is_idle()
    }

    /// Puts a message into the queue, or leaves it to the log; `false` when it is neither, and lost to this session.
    pub(crate) fn put(&self, item: Item) -> bool {
        let qos = item.message.qos_for(item.subscription.options().qos);
        let place = item.message.sequence().filter(|_| qos != QoS::AtMostOnce);
        let bytes = item.message.bytes();
        let put = self.lock().queue.put(item, bytes, place);
        if put == Put::Queued {
            self.news.notify_one();
        }
        put != Put::Lost
    }

    /// Gives the session what is its turn to have in a group.
    pub(crate) fn deal(&self, item: Item) {
        self.lock().dealt.push_back(item);
        self.news.notify_one();
    }

    /// The next message: what was dealt by turns with everything else. That begins, since what is dealt comes from the log, and so later
    /// than what a client sent before it.
    pub(crate) fn take(&self) -> Next<Item> {
        let mut inner = self.lock();
        let is_its_turn = inner.is_dealt_next || !matches!(inner.queue.peek(), Next::Item(_));
        if let Some(dealt) = inner.dealt.pop_front_if(|_| is_its_turn) {
            inner.is_dealt_next = false;
            return Next::Item(dealt);
        }
        let next = inner.queue.take();
        inner.is_dealt_next = matches!(next, Next::Item(_));
        next
    }

    /// As [`Queue::has_caught_up`].
    pub(crate) fn has_caught_up(&self, next: u64) -> bool {
        self.lock().queue.has_caught_up(next)
    }

    /// Waits until something was put into the queue. Cancel safe.
    pub(crate) fn news(&self) -> impl Future<Output = ()> {
        self.news.notified()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use trunkline_core::Secret;
    use trunkline_gate::{Action, Credentials, Gate as _, OpenGate};
    use trunkline_proto::messages::v1::Envelope;

    use super::*;
    use crate::limits::QUEUE_ENTRIES_MAX;
    use crate::subscription::Options;

    async fn subscription(qos: QoS) -> Arc<Subscription> {
        let gate = OpenGate::new(Vec::new());
        let anybody = Credentials::of_client("", Secret::new(String::new()));
        let session = gate.connect(anybody).await.unwrap();
        let permit = gate.may(&session, Action::Subscribe, "a").await.unwrap();
        let options = Options {
            qos,
            no_local: false,
            retain_as_published: false,
            id: None,
        };
        Arc::new(Subscription::new("a", &permit, options))
    }

    fn item(subscription: &Arc<Subscription>, sequence: u64) -> Item {
        let envelope = Envelope {
            qos: 1,
            ..Envelope::default()
        };
        Item {
            message: Arc::new(Message::new(Arc::new(envelope), Some(sequence))),
            subscription: Arc::clone(subscription),
            ids: Vec::new(),
            is_retained: false,
        }
    }

    /// The place of the next message in the queue; `Err` with the place in the log when it is to be read from there.
    fn next(mailbox: &Mailbox) -> Option<Result<u64, u64>> {
        match mailbox.take() {
            Next::Item(item) => item.message.sequence().map(Ok),
            Next::Behind(from) => Some(Err(from)),
            Next::Nothing => None,
        }
    }

    #[tokio::test]
    async fn a_full_queue_leaves_the_rest_to_the_log_until_all_of_it_was_read() {
        let subscription = subscription(QoS::AtLeastOnce).await;
        let mailbox = Mailbox::default();
        let full = QUEUE_ENTRIES_MAX as u64;
        for sequence in 1..=full + 3 {
            assert!(mailbox.put(item(&subscription, sequence)));
        }
        for sequence in 1..=full {
            assert_eq!(next(&mailbox), Some(Ok(sequence)));
        }
        assert_eq!(next(&mailbox), Some(Err(full + 1)));
        // While it is being read, more comes: that is in the log as well, and the queue stays empty.
        assert!(mailbox.put(item(&subscription, full + 7)));
        assert!(!mailbox.has_caught_up(full + 4));
        assert_eq!(next(&mailbox), Some(Err(full + 4)));
        assert!(mailbox.has_caught_up(full + 8));
        assert!(mailbox.put(item(&subscription, full + 8)));
        assert_eq!(next(&mailbox), Some(Ok(full + 8)));
        assert_eq!(next(&mailbox), None);
    }

    #[tokio::test]
    async fn what_was_dealt_comes_by_turns_after_what_else_waits() {
        let subscription = subscription(QoS::AtLeastOnce).await;
        let mailbox = Mailbox::default();
        for _ in 0..2 {
            mailbox.deal(item(&subscription, 2));
            mailbox.deal(item(&subscription, 4));
            assert!(mailbox.put(item(&subscription, 1)));
            assert!(mailbox.put(item(&subscription, 3)));
            let taken: Vec<_> = std::iter::from_fn(|| next(&mailbox)).collect();
            assert_eq!(taken, [Ok(1), Ok(2), Ok(3), Ok(4)]);
        }
    }

    #[tokio::test]
    async fn one_that_comes_back_gets_each_message_once_wherever_the_router_is() {
        let subscription = subscription(QoS::AtLeastOnce).await;
        let mailbox = Mailbox::default();
        mailbox.begin_after(10);
        // The router is behind: what it comes by is read from the log, or was given to the connection before.
        assert!(mailbox.put(item(&subscription, 9)));
        mailbox.reaches(14);
        assert!(mailbox.put(item(&subscription, 12)));
        assert_eq!(next(&mailbox), Some(Err(11)));
        assert!(mailbox.has_caught_up(15));
        assert!(mailbox.put(item(&subscription, 14)));
        assert_eq!(next(&mailbox), None);
        assert!(mailbox.put(item(&subscription, 15)));
        assert_eq!(next(&mailbox), Some(Ok(15)));
    }

    #[tokio::test]
    async fn one_that_missed_nothing_reads_nothing() {
        let subscription = subscription(QoS::AtLeastOnce).await;
        let mailbox = Mailbox::default();
        mailbox.begin_after(10);
        mailbox.reaches(10);
        assert!(mailbox.is_idle());
        assert!(
            mailbox.put(item(&subscription, 10)),
            "it was given to the connection before"
        );
        assert!(mailbox.is_idle());
        // The router may be ahead of what the log said.
        mailbox.begin_after(10);
        assert!(mailbox.put(item(&subscription, 11)));
        mailbox.reaches(10);
        assert_eq!(next(&mailbox), Some(Err(11)));
    }

    #[tokio::test]
    async fn what_the_log_does_not_keep_for_it_does_not_wait_until_it_was_read() {
        let (kept, not_kept) = (
            subscription(QoS::AtLeastOnce).await,
            subscription(QoS::AtMostOnce).await,
        );
        let mailbox = Mailbox::default();
        mailbox.begin_after(10);
        mailbox.reaches(14);
        assert!(mailbox.put(item(&not_kept, 15)));
        assert!(mailbox.put(item(&kept, 16)));
        assert_eq!(next(&mailbox), Some(Ok(15)));
        assert_eq!(next(&mailbox), Some(Err(11)));
        assert!(mailbox.has_caught_up(17));
        assert_eq!(next(&mailbox), None);
    }

    #[tokio::test]
    async fn a_full_queue_loses_what_is_delivered_at_qos_0() {
        let subscription = subscription(QoS::AtMostOnce).await;
        let mailbox = Mailbox::default();
        for sequence in 1..=QUEUE_ENTRIES_MAX as u64 {
            assert!(mailbox.put(item(&subscription, sequence)));
        }
        assert!(!mailbox.put(item(&subscription, u64::MAX)));
    }
}

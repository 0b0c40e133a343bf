//! A feed: one bounded queue per listener, filled by one source. A listener that falls behind loses the oldest items and is
//! told how many, so that a slow one costs neither the source nor the others anything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::Notify;

/// Bounds of each listener's queue.
#[derive(Debug, Clone, Copy)]
pub struct FeedLimit {
    /// Items.
    pub items: usize,
    /// Bytes, as the source counts them.
    pub bytes: usize,
}

/// Why there is no next item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// This many items were lost to this listener, just before the next one.
    #[error("{0} items were lost because the listener fell behind")]
    Lagged(u64),
    /// The source is gone.
    #[error("the source of the feed is gone")]
    Closed,
}

/// A listener's end. Dropping it ends its membership.
#[derive(Debug)]
pub struct Feed<T>(Arc<Mailbox<T>>);

/// The source's end.
pub struct Source<T> {
    listeners: Mutex<Vec<Listener<T>>>,
    limit: FeedLimit,
    /// Notified whenever a listener has gone; made with the first listener.
    departures: OnceLock<Arc<Notify>>,
}

/// A mailbox, while somebody listens, and what it takes.
struct Listener<T> {
    mailbox: Weak<Mailbox<T>>,
    wants: Box<dyn Fn(&T) -> bool + Send + Sync>,
}

#[derive(Debug)]
struct Mailbox<T> {
    queue: Mutex<Queue<T>>,
    news: Notify,
    limit: FeedLimit,
    departures: Arc<Notify>,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    lost: u64,
    is_closed: bool,
}

impl<T> Feed<T> {
    /// The next item, waiting for it. Cancel safe.
    ///
    /// # Errors
    /// [`FeedError::Lagged`] once per loss, then the items that remain; [`FeedError::Closed`] after the last.
    pub async fn next(&mut self) -> Result<T, FeedError> {
        loop {
            if let Some(answer) = self.try_next() {
                return answer;
            }
            // News between the look and the wait leaves a permit, since a feed has one listener.
            self.0.news.notified().await;
        }
    }

    /// The next item if it is there already.
    pub fn try_next(&mut self) -> Option<Result<T, FeedError>> {
        let mut queue = locked(&self.0.queue);
        if queue.lost > 0 {
            return Some(Err(FeedError::Lagged(std::mem::take(&mut queue.lost))));
        }
        match queue.items.pop_front() {
            Some((item, bytes)) => {
                queue.bytes -= bytes;
                Some(Ok(item))
            }
            None => queue.is_closed.then_some(Err(FeedError::Closed)),
        }
    }
}

impl<T: Clone> Source<T> {
    /// A source without listeners; each will have a queue of `limit`.
    pub const fn new(limit: FeedLimit) -> Self {
        Self {
            listeners: Mutex::new(Vec::new()),
            limit,
            departures: OnceLock::new(),
        }
    }

    /// A listener that gets every item sent from now on.
    pub fn listen(&self) -> Feed<T> {
        self.listen_to(|_| true)
    }

    /// A listener that gets every item sent from now on that it `wants`.
    pub fn listen_to(&self, wants: impl Fn(&T) -> bool + Send + Sync + 'static) -> Feed<T> {
        let mailbox = Arc::new(Mailbox {
            queue: Mutex::new(Queue {
                items: VecDeque::new(),
                bytes: 0,
                lost: 0,
                is_closed: false,
            }),
            news: Notify::new(),
            limit: self.limit,
            departures: self.departures.get_or_init(Arc::default).clone(),
        });
        locked(&self.listeners).push(Listener {
            mailbox: Arc::downgrade(&mailbox),
            wants: Box::new(wants),
        });
        Feed(mailbox)
    }

    /// Gives `item`, counted as `bytes`, to every listener. Never waits.
    pub fn send(&self, item: &T, bytes: usize) {
        locked(&self.listeners).retain(|listener| match listener.mailbox.upgrade() {
            Some(mailbox) => {
                if (listener.wants)(item) {
                    mailbox.put(item.clone(), bytes);
                }
                true
            }
            None => false,
        });
    }

    /// Tells every listener that it lost `items` that the source itself never had.
    pub fn lose(&self, items: u64) {
        for mailbox in locked(&self.listeners)
            .iter()
            .filter_map(|listener| listener.mailbox.upgrade())
        {
            locked(&mailbox.queue).lost += items;
            mailbox.news.notify_one();
        }
    }

    /// Waits until nobody listens. Cancel safe.
    pub async fn abandoned(&self) {
        let departures = self.departures.get_or_init(Arc::default);
        while !self.is_idle() {
            departures.notified().await;
        }
    }

    /// Whether nobody listens.
    pub fn is_idle(&self) -> bool {
        let mut listeners = locked(&self.listeners);
        listeners.retain(|listener| listener.mailbox.strong_count() > 0);
        listeners.is_empty()
    }
}

impl<T> Drop for Source<T> {
    fn drop(&mut self) {
        let listeners = locked(&self.listeners);
        for mailbox in listeners.iter().filter_map(|listener| listener.mailbox.upgrade()) {
            locked(&mailbox.queue).is_closed = true;
            mailbox.news.notify_one();
        }
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        self.departures.notify_one();
    }
}

impl<T> Mailbox<T> {
    fn put(&self, item: T, bytes: usize) {
        let mut queue = locked(&self.queue);
        queue.items.push_back((item, bytes));
        queue.bytes += bytes;
        while queue.items.len() > self.limit.items || (queue.bytes > self.limit.bytes && queue.items.len() > 1) {
            let (_, oldest) = queue.items.pop_front().expect("the queue is longer than its limit");
            queue.bytes -= oldest;
            queue.lost += 1;
        }
        drop(queue);
        self.news.notify_one();
    }
}

/// Locks `mutex`. A panic while it was held cannot have left these queues in a state that matters.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: FeedLimit = FeedLimit { items: 3, bytes: 100 };

    #[tokio::test]
    async fn a_listener_that_falls_behind_is_told_how_many_it_lost_and_gets_the_newest() {
        let source = Source::new(LIMIT);
        let mut feed = source.listen();
        for number in 0..5 {
            source.send(&number, 1);
        }
        assert_eq!(feed.next().await, Err(FeedError::Lagged(2)));
        assert_eq!(feed.next().await, Ok(2));
    }

    #[tokio::test]
    async fn a_queue_is_bounded_in_bytes_but_holds_one_item_of_any_size() {
        let source = Source::new(LIMIT);
        let mut feed = source.listen();
        source.send(&1, 60);
        source.send(&2, 60);
        source.send(&3, 500);
        assert_eq!(feed.next().await, Err(FeedError::Lagged(2)));
        assert_eq!(feed.next().await, Ok(3));
    }

    #[tokio::test]
    async fn a_listener_hears_the_end_of_its_source_after_the_last_item() {
        let source = Source::new(LIMIT);
        let mut feed = source.listen();
        source.send(&1, 1);
        drop(source);
        assert_eq!(feed.next().await, Ok(1));
        assert_eq!(feed.next().await, Err(FeedError::Closed));
    }

    #[tokio::test]
    async fn a_loss_of_the_source_is_told_to_a_listener_that_waits() {
        let source = Source::<u8>::new(LIMIT);
        let mut feed = source.listen();
        let (heard, ()) = tokio::join!(feed.next(), async { source.lose(1) });
        assert_eq!(heard, Err(FeedError::Lagged(1)));
    }

    #[tokio::test]
    async fn a_source_learns_that_its_last_listener_has_gone() {
        let source = Source::<u8>::new(LIMIT);
        let feed = source.listen();
        tokio::join!(source.abandoned(), async { drop(feed) });
        assert!(source.is_idle());
    }

    #[test]
    fn a_dropped_listener_is_forgotten() {
        let source = Source::<u8>::new(LIMIT);
        drop(source.listen());
        assert!(source.is_idle());
    }
}

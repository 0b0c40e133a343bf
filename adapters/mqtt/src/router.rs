//! The node's one reader of the log: it follows the tail of every shard that the node attends and puts each message into the mailboxes
//! of those who ask for it. Messages at QoS 1 come from the log once they are durable; those at QoS 0 come from the log's tap before that.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trunkline_bus::Log;
use trunkline_bus::feed::{Feed, FeedError};
use trunkline_bus::log::{LogError, Page, ReadLimit, Shard};
use trunkline_core::DomainId;
use trunkline_proto::messages::v1::Envelope;

use crate::attendance::Attendance;
use crate::index::Index;
use crate::limits::{PAGES_AHEAD_MAX, TAPPED_MAX};
use crate::message::Message;
use crate::metrics::Metrics;
use crate::retained::Retained;
use crate::retry::retry;
use crate::shared::Shared;

/// Feeds the sessions of this node.
pub(crate) struct Router {
    pub(crate) index: Index,
    log: Arc<dyn Log>,
    attendance: Arc<Attendance>,
    retained: Arc<Retained>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    /// Taken when it is made, so that nothing is missed until it runs.
    tap: Mutex<Option<Feed<Arc<Envelope>>>>,
    /// By shard, the place up to which everything was routed.
    routed: Vec<AtomicU64>,
}

/// Who is told what comes by, besides the sessions.
pub(crate) struct Parts {
    pub(crate) attendance: Arc<Attendance>,
    pub(crate) retained: Arc<Retained>,
    pub(crate) shared: Arc<Shared>,
}

/// Ids of messages that were delivered from the tap and will come by in the log, too.
#[derive(Default)]
struct Tapped {
    ids: HashSet<Bytes>,
    order: VecDeque<Bytes>,
}

impl Router {
    pub(crate) fn new(log: Arc<dyn Log>, parts: Parts, metrics: Arc<Metrics>) -> Self {
        let Parts {
            attendance,
            retained,
            shared,
        } = parts;
        let routed = (0..log.shards()).map(|_| AtomicU64::new(0)).collect();
        Self {
            index: Index::default(),
            tap: Mutex::new(Some(log.tap())),
            log,
            attendance,
            retained,
            shared,
            metrics,
            routed,
        }
    }

    /// Has the messages of `domain` routed from now on, as [`Attendance::attend`] does for its shard.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn attend(&self, domain: DomainId) -> Result<(), LogError> {
        self.attendance.attend(self.log.shard_of(domain)).await.map(drop)
    }

    /// The place of `shard` up to which messages were put into the mailboxes that they are for; 0 while that is none.
    pub(crate) fn routed(&self, shard: Shard) -> u64 {
        self.routed[usize::from(shard.0)].load(Ordering::Acquire)
    }

    /// Routes until `cancel`, or until the log has ended. Runs once.
    pub(crate) async fn run(&self, cancel: &CancellationToken) {
        let Some(mut tap) = self.tap.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let (sender, mut pages) = mpsc::channel(PAGES_AHEAD_MAX);
        let mut readers = JoinSet::new();
        for shard in (0..self.log.shards()).map(Shard) {
            let (log, attendance, cancel) = (Arc::clone(&self.log), Arc::clone(&self.attendance), cancel.clone());
            let (retained, sender) = (Arc::clone(&self.retained), sender.clone());
            let following = async move {
                if let Some(head) = attendance.asked_for(shard).await {
                    retained.begins(shard, head).await;
                    follow(log, shard, head, sender).await;
                }
            };
            readers.spawn(async move { cancel.run_until_cancelled(following).await });
        }
        drop(sender);
        let mut tapped = Tapped::default();
        let mut has_tap = true;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                item = tap.next(), if has_tap => has_tap = self.route_tapped(item, &mut tapped),
                page = pages.recv() => {
                    let Some((shard, page)) = page else { break };
                    // The tap told of everything in the page before the page could be read: with the tap read dry, what it
                    // delivered is known.
                    while let Some(item) = tap.try_next() {
                        has_tap = self.route_tapped(item, &mut tapped);
                        if !has_tap {
                            break;
                        }
                    }
                    self.route_page(shard, page, &mut tapped).await;
                }
            }
        }
        while readers.join_next().await.is_some() {}
    }

    async fn route_page(&self, shard: Shard, page: Page, tapped: &mut Tapped) {
        for entry in page.entries {
            if entry.envelope.retain {
                self.retained.came_by(entry.clone()).await;
            }
            let was_tapped = entry.envelope.qos == 0 && tapped.forget(&entry.envelope.id);
            if was_tapped && self.shared.is_empty() {
                continue;
            }
            let message = Arc::new(Message::new(entry.envelope, Some(entry.sequence)));
            self.shared.route(&message);
            if !was_tapped {
                self.route(&message);
            }
            tokio::task::consume_budget().await;
        }
        self.routed[usize::from(shard.0)].store(page.next - 1, Ordering::Release);
        self.shared.reached(shard, page.next - 1);
        self.retained.reached(shard, page.next - 1).await;
    }

    /// Routes what the tap gave; `false` once it gives nothing more.
    fn route_tapped(&self, item: Result<Arc<Envelope>, FeedError>, tapped: &mut Tapped) -> bool {
        match item {
            // A subscription begins at a place in the log and is given what was retained before it, so that must come from there, too.
            Ok(envelope) if envelope.retain => true,
            Ok(envelope) => {
                let id = envelope.id.clone();
                if self.route(&Arc::new(Message::new(envelope, None))) {
                    tapped.remember(id);
                }
                true
            }
            // What was lost here is not remembered, so it is delivered from the log.
            Err(FeedError::Lagged(_)) => true,
            Err(FeedError::Closed) => false,
        }
    }

    /// Says whether anybody asked for it.
    fn route(&self, message: &Arc<Message>) -> bool {
        let (taken, lost) = self.index.route(message);
        if lost > 0 {
            self.metrics.lost_full.add(lost);
        }
        taken > 0 || lost > 0
    }
}

/// Sends every page of `shard` after `head` to the router, until there can be no more.
async fn follow(log: Arc<dyn Log>, shard: Shard, head: u64, pages: mpsc::Sender<(Shard, Page)>) {
    let mut next = head + 1;
    loop {
        let read = retry(u32::MAX, || async {
            log.wait(shard, next - 1).await?;
            log.read(shard, next, ReadLimit::default()).await
        });
        match read.await {
            Ok(page) => {
                next = page.next;
                if pages.send((shard, page)).await.is_err() {
                    return;
                }
            }
            Err(LogError::Damaged { sequence, .. }) => {
                tracing::error!(%shard, sequence, "a damaged entry of the log is not delivered to subscribers");
                next = sequence + 1;
                // Who waits until everything up to it was routed need not wait for the next.
                let page = Page {
                    entries: Vec::new(),
                    next,
                    skipped: 0,
                };
                if pages.send((shard, page)).await.is_err() {
                    return;
                }
            }
            Err(LogError::Closed) => return,
            Err(error) => {
                tracing::error!(%shard, %error, "subscribers get no messages any more: the log cannot be read");
                return;
            }
        }
    }
}

impl Tapped {
    fn remember(&mut self, id: Bytes) {
        if self.order.len() >= TAPPED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.ids.insert(id);
    }

    /// Whether the message was delivered from the tap.
    fn forget(&mut self, id: &Bytes) -> bool {
        let was_there = self.ids.remove(id);
        while self.order.front().is_some_and(|oldest| !self.ids.contains(oldest)) {
            self.order.pop_front();
        }
        was_there
    }
}

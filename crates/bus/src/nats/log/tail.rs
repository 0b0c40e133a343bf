//! Following a shard: the server republishes each entry as it is stored; whatever was missed is read in its place.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tracing::{debug, warn};

use super::append::AGAIN;
use super::books::Held as Size;
use super::shared::Shared;
use super::{pack, places};
use crate::envelope;
use crate::feed::locked;
use crate::log::{ReadLimit, Shard};
use crate::nats::connect::{ANSWER_WAIT_MAX, Link};
use crate::nats::losses;
use crate::nats::names::domain_of;
use crate::nats::pages::{self, Held};

/// News taken together.
const CHUNK_MAX: usize = 256;
/// How often a quiet shard is looked at, in case that the last news was missed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Rest before following anew after a failure.
const RETRY_REST: Duration = Duration::from_millis(200);
/// What one look behind reads at most.
const CATCH_UP_LIMIT: ReadLimit = ReadLimit {
    entries: 1_000,
    bytes: 16 * 1024 * 1024,
};

/// Begins to follow `shard` behind `after`, or where this process began if that is later, until the log is closed; does nothing when
/// it is followed already. Nobody hears of a shard before it is followed, so that a node without subscribers costs the server nothing.
pub(super) fn follow(shared: &Arc<Shared>, shard: Shard, after: u64) {
    if shared.shard(shard).is_followed.swap(true, SeqCst) {
        return;
    }
    shared.begin_behind(shard, after);
    let shared = shared.clone();
    tokio::spawn(async move {
        let closing = shared.closing.clone();
        // Cancel safe: nothing of the follower outlives the log.
        tokio::select! {
            () = closing.cancelled() => {}
            () = follow_for_ever(&shared, shard) => {}
        }
    });
}

/// Begins to listen to unacknowledged entries of other nodes, unless that is done already, until the log is closed.
pub(super) fn listen_for_taps(shared: &Arc<Shared>) {
    if shared.is_tapped.swap(true, SeqCst) {
        return;
    }
    let shared = shared.clone();
    tokio::spawn(async move {
        let closing = shared.closing.clone();
        let subject = shared.parts.names.unanswered_subjects(shared.parts.log);
        let listening = async {
            let mut heard = subscribe(&shared, subject).await;
            while let Some(message) = heard.next().await {
                // Listeners got what this process publishes as it was taken; what comes again, whoever missed it reads in its place.
                let is_ours = message
                    .reply
                    .is_some_and(|reply| reply.starts_with(&shared.parts.inbox));
                let is_again = message
                    .headers
                    .as_ref()
                    .is_some_and(|headers| headers.get(AGAIN).is_some());
                if is_ours || is_again {
                    continue;
                }
                let headers = message.headers.unwrap_or_default();
                for entry in pack::decode(&headers, message.payload).unwrap_or_default() {
                    let bytes = entry.len();
                    if let Ok(envelope) = envelope::decode(entry) {
                        shared.tap.send(&Arc::new(envelope), bytes);
                    }
                }
            }
        };
        // Cancel safe: nothing of the listener outlives the log.
        tokio::select! {
            () = closing.cancelled() => {}
            () = listening => {}
        }
    });
}

async fn subscribe(shared: &Shared, subject: String) -> Subscriber {
    loop {
        let subscribing = shared.parts.connection.client.subscribe(subject.clone());
        match tokio::time::timeout(ANSWER_WAIT_MAX, subscribing).await {
            Ok(Ok(subscriber)) => return subscriber,
            Ok(Err(error)) => warn!(%error, subject, "cannot listen to NATS"),
            Err(_) => warn!(subject, "NATS takes no subscription in time"),
        }
        tokio::time::sleep(RETRY_REST).await;
    }
}

/// One shard's follower: its position is the sequence, as the server counts, of the last message shown.
struct Follower<'log> {
    shared: &'log Shared,
    shard: Shard,
    last: u64,
    /// The headers of the entry at `last`, which tell it from another one in its place; none until they are known.
    newest: Option<HeaderMap>,
    link: watch::Receiver<Link>,
    gaps: u64,
    /// Times that the connection had broken when `newest` was compared last.
    breaks: u64,
}

async fn follow_for_ever(shared: &Shared, shard: Shard) {
    let subject = shared.parts.names.shard_news(shared.parts.log, shard);
    let mut link = shared.parts.connection.link.clone();
    let Link { gaps, breaks, .. } = *link.borrow_and_update();
    let mut follower = Follower {
        shared,
        shard,
        last: *shared.shard(shard).heard.borrow(),
        newest: None,
        link,
        gaps,
        breaks,
    };
    follower.learn().await;
    loop {
        let news = subscribe(shared, subject.clone()).await;
        follower.run(news).await;
    }
}

impl Follower<'_> {
    /// Learns which entry is the last, of which only the sequence is known when the log is opened.
    async fn learn(&mut self) {
        let stream = self.shared.stream(self.shard);
        match pages::at(&self.shared.parts.connection, &stream, self.last).await {
            Ok(held) => self.newest = held.map(|held| held.headers),
            // The next entry is known in any case.
            Err(error) => debug!(%error, stream, "the newest entry cannot be read"),
        }
    }

    /// After a break of the connection, makes sure that the server still has the last entry in its place, since what comes after it is
    /// taken for what comes next. Never returns when it does not: its loss ends the process.
    async fn compare(&mut self) {
        let breaks = self.link.borrow().breaks;
        if self.breaks != breaks
            && let Some(id) = self.newest.as_ref().and_then(pages::message_id)
            && let Some(sentence) = self.loss(id).await
        {
            // Only the first loss is told, and this one waits for the end.
            let _ = self.shared.parts.losses.try_send(sentence);
            std::future::pending::<()>().await;
        }
        self.breaks = breaks;
    }

    /// In one sentence, that the entry at `last` is not the one with `id`; waits until the server tells.
    async fn loss(&self, id: &str) -> Option<String> {
        let (shared, sequence) = (self.shared, self.last);
        let stream = shared.stream(self.shard);
        loop {
            match pages::at(&shared.parts.connection, &stream, sequence).await {
                Ok(Some(held)) if pages::message_id(&held.headers) == Some(id) => return None,
                Ok(Some(_)) => return Some(losses::replaced(&stream, sequence)),
                // Asked for after the entry was seen to be gone: it is removed only when it is committed.
                Ok(None) => match shared.groups.refresh().await {
                    Ok(()) => {
                        let committed = shared.groups.committed_by_all(usize::from(self.shard.0));
                        return (places::whole_to(committed) < sequence).then(|| losses::replaced(&stream, sequence));
                    }
                    Err(error) => warn!(%error, stream, "positions cannot be read; it is tried again"),
                },
                Err(error) => warn!(%error, stream, "the newest entry cannot be compared; it is tried again"),
            }
            tokio::time::sleep(RETRY_REST).await;
        }
    }

    /// Ends when the subscription does.
    async fn run(&mut self, news: Subscriber) {
        let mut news = news.ready_chunks(CHUNK_MAX);
        self.catch_up().await;
        loop {
            // Cancel safe: a chunk is taken when it is ready, and links are only looked at.
            let chunk = tokio::select! {
                biased;
                changed = self.link.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let link = *self.link.borrow_and_update();
                    if link.is_up && link.gaps != self.gaps {
                        self.gaps = link.gaps;
                        self.catch_up().await;
                    }
                    continue;
                }
                chunk = tokio::time::timeout(LOOK_EVERY, news.next()) => chunk,
            };
            match chunk {
                Ok(Some(chunk)) => self.hear(chunk).await,
                Ok(None) => return,
                Err(_) => self.catch_up().await,
            }
        }
    }

    async fn hear(&mut self, chunk: Vec<Message>) {
        self.compare().await;
        let before = self.last;
        for message in chunk {
            let Some(held) = read_news(message) else {
                continue;
            };
            if held.sequence > self.last + 1 {
                self.catch_up_to(held.sequence - 1).await;
            }
            if held.sequence == self.last + 1 {
                self.show(held);
                tokio::task::consume_budget().await;
            }
        }
        if self.last > before {
            self.shared.heard(self.shard, self.last);
        }
    }

    /// Reads what was stored after the last entry shown.
    async fn catch_up(&mut self) {
        self.catch_up_to(u64::MAX).await;
    }

    /// Reads what was stored after the last entry shown, until `last` is shown or a page is not full: what comes after it comes
    /// as news.
    async fn catch_up_to(&mut self, last: u64) {
        let connection = &self.shared.parts.connection;
        let stream = self.shared.stream(self.shard);
        let mut is_full = true;
        while is_full && self.last < last && connection.link.borrow().is_up {
            self.compare().await;
            let mut link = self.link.clone();
            let breaks = link.borrow().breaks;
            // Cancel safe: a page that is not there yet is asked for again.
            let page = tokio::select! {
                biased;
                page = pages::page(connection, &stream, self.last + 1, CATCH_UP_LIMIT) => page,
                // Its answer is lost with the connection; once that is up again, this is called again.
                _ = link.wait_for(|now| now.breaks != breaks) => return,
            };
            match page {
                Ok(page) => {
                    let bytes: usize = page.iter().map(|held| held.payload.len()).sum();
                    is_full = page.len() >= CATCH_UP_LIMIT.entries || bytes >= CATCH_UP_LIMIT.bytes / 2;
                    for held in page {
                        self.show(held);
                        tokio::task::consume_budget().await;
                    }
                    self.shared.heard(self.shard, self.last);
                }
                Err(error) => {
                    warn!(%error, stream, "cannot read what was missed; it is tried again");
                    tokio::time::sleep(RETRY_REST).await;
                    return;
                }
            }
        }
    }

    fn show(&mut self, held: Held) {
        self.shared.show(self.shard, &held);
        if let Some(domain) = domain_of(&held.subject) {
            let size = Size {
                entries: pack::count(&held.headers) as u64,
                bytes: held.payload.len() as u64,
            };
            locked(&self.shared.ledger).heard(self.shard, held.sequence, domain, size);
        }
        self.last = held.sequence;
        self.newest = Some(held.headers);
    }
}

/// An entry as the server republishes it.
fn read_news(message: Message) -> Option<Held> {
    let headers = message.headers?;
    Some(Held {
        sequence: headers.get("Nats-Sequence")?.as_str().parse().ok()?,
        subject: message.subject.into_string(),
        payload: message.payload,
        headers,
    })
}

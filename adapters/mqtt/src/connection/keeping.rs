//! Keeping a session that outlives its connection: saved at once when a packet waits for that, else every second or so while something
//! changed, and when the connection ends. One save is under way at a time, and all that waits meanwhile shares the next.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};

use super::member::Member;
use super::outbound::finished;
use super::shares::{Received, pass_on, received};
use super::{Connection, ended};
use crate::adapter::Adapter;
use crate::limits::{RECHECK_PAUSE, SAVE_CHANGES_MAX, SAVE_LAG_MAX, SAVE_LAG_PAUSE, SAVE_PAUSE};
use crate::machine::{Cause, Kept, Machine, Sent};
use crate::session::{Content, NotSaved, Owned, Sessions, Stored};

/// The saving of one session.
pub(super) struct Keeping {
    /// `None` while it is being saved.
    owned: Option<Box<Owned>>,
    /// Messages of the session up to this place of the log are in what was saved last.
    head: u64,
    saving: Option<BoxFuture<'static, Saved>>,
    /// What is being saved of what was sent.
    sent: Vec<Sent>,
    /// What was saved last, or is being saved.
    last: Mark,
    /// When that was.
    saved_at: Instant,
    /// Since when there is something to be saved.
    changed_since: Option<Instant>,
    /// Since when a packet waits for what is to be saved.
    waiting_since: Option<Instant>,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mark {
    changes: u64,
    subscriptions: u64,
    position: u64,
}

/// What came of a save.
pub(super) struct Saved(Box<Owned>, Result<(), NotSaved>);

impl Keeping {
    pub(super) fn new(owned: Box<Owned>, head: u64) -> Self {
        Self {
            owned: Some(owned),
            head,
            saving: None,
            sent: Vec::new(),
            last: Mark::default(),
            saved_at: Instant::now(),
            changed_since: None,
            waiting_since: None,
        }
    }

    pub(super) const fn head(&self) -> u64 {
        self.head
    }

    /// When what changed is to be saved.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.changed_since.filter(|_| self.saving.is_none())?;
        Some(since + SAVE_PAUSE)
    }

    /// Since when a packet waits for a save.
    pub(super) const fn waiting_since(&self) -> Option<Instant> {
        self.waiting_since
    }

    /// Whether it is time to save; `behind` entries are between what was saved and the end of the log.
    fn is_due(&mut self, mark: Mark, behind: u64, wants_save: bool) -> bool {
        let now = Instant::now();
        let Mark {
            changes, subscriptions, ..
        } = self.last;
        if wants_save {
            self.waiting_since.get_or_insert(now);
            return true;
        }
        if (mark.changes, mark.subscriptions) == (changes, subscriptions) {
            let has_moved = mark.position > self.last.position;
            return has_moved && behind >= SAVE_LAG_MAX && now.duration_since(self.saved_at) >= SAVE_LAG_PAUSE;
        }
        let since = *self.changed_since.get_or_insert(now);
        mark.changes - changes >= SAVE_CHANGES_MAX || now.duration_since(since) >= SAVE_PAUSE
    }

    /// Begins to save; what groups dealt and the client `received` is settled with them then.
    fn begin(&mut self, sessions: &Arc<Sessions>, mark: Mark, content: Content, received: Received) {
        let Some(mut owned) = self.owned.take() else {
            return;
        };
        (self.last, self.saved_at, self.changed_since) = (mark, Instant::now(), None);
        self.sent.clone_from(&content.kept.sent);
        let sessions = Arc::clone(sessions);
        self.saving = Some(Box::pin(async move {
            loop {
                match sessions.save(&mut owned, &content).await {
                    Err(NotSaved::Unavailable) => sleep(RECHECK_PAUSE).await,
                    Err(error @ (NotSaved::Lost | NotSaved::Refused)) => return Saved(owned, Err(error)),
                    Ok(()) => break,
                }
            }
            for (group, sequences) in received {
                group.settle(&sequences).await;
            }
            Saved(owned, Ok(()))
        }));
    }

    /// The session for whoever leaves it, if it is still ours; what is being saved is saved before.
    pub(super) async fn release(mut self) -> Option<Box<Owned>> {
        match self.saving.take() {
            Some(saving) => {
                let Saved(owned, saved) = saving.await;
                saved.is_ok().then_some(owned)
            }
            None => self.owned.take(),
        }
    }
}

impl Member {
    fn mark(&self, machine: &Machine, adapter: &Adapter) -> Mark {
        Mark {
            changes: machine.changes(),
            subscriptions: self.subscriber.changes(),
            position: self.position(adapter),
        }
    }

    /// What the session is now, with what the machine has of it.
    pub(super) fn content(&self, adapter: &Adapter, expiry_s: u32, head: u64, kept: Kept) -> Content {
        let stored = self.subscriber.all().into_iter().map(|subscription| Stored {
            filter: subscription.filter().into(),
            options: subscription.options(),
            since: subscription.since(),
            unsent: self.unsent(&subscription),
            group: subscription.group().map(|group| group.id()),
        });
        Content {
            expiry_s,
            position: self.position(adapter),
            head,
            subscriptions: stored.collect(),
            kept,
            will: self.will.clone(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Begins to save the session if it is time to.
    pub(super) fn keep(&mut self) {
        let Some(mut keeping) = self.member.as_mut().and_then(|member| member.keeping.take()) else {
            return;
        };
        let Some(member) = &self.member else { return };
        let head = self.head_of_known(member, keeping.head);
        if keeping.saving.is_none() {
            let mark = member.mark(&self.machine, &self.adapter);
            let shard = member.shard(&self.adapter);
            let behind = self
                .adapter
                .log
                .entries_beyond(shard, keeping.last.position)
                .unwrap_or(0);
            if keeping.is_due(mark, behind, self.machine.wants_save()) {
                let kept = self.machine.begin_save();
                self.untaken.begin_save();
                keeping.head = head;
                let content = member.content(&self.adapter, self.machine.expiry_s(), head, kept);
                let received = received(&member.tickets, &content.kept.sent);
                keeping.begin(&self.adapter.sessions, mark, content, received);
            }
        } else if self.machine.wants_save() {
            keeping.waiting_since.get_or_insert_with(Instant::now);
        }
        if let Some(member) = &mut self.member {
            member.keeping = Some(keeping);
        }
    }

    pub(super) fn saved(&mut self, Saved(owned, outcome): Saved) -> Result<(), Cause> {
        let Some(member) = &mut self.member else {
            return Ok(());
        };
        let Some(keeping) = &mut member.keeping else {
            return Ok(());
        };
        match outcome {
            Ok(()) => {
                pass_on(&member.tickets, &keeping.sent);
                keeping.owned = Some(owned);
                keeping.waiting_since = None;
                self.machine.saved(&mut self.output);
                self.untaken.saved(self.output.len(), self.machine.held_bytes() == 0);
                Ok(())
            }
            // It is another connection's now, perhaps on another node.
            Err(_) => {
                let step = self.machine.taken_over(&mut self.output);
                ended(&step)
            }
        }
    }
}

/// What came of the save that is under way; never, while there is none. Cancel safe.
pub(super) async fn saved(keeping: &mut Option<Box<Keeping>>) -> Saved {
    match keeping {
        Some(keeping) => finished(&mut keeping.saving).await,
        None => std::future::pending().await,
    }
}

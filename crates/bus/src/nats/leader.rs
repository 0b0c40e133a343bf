//! Leadership among processes: one of them holds a key by writing it anew each second; one that finds it unchanged for a while
//! takes it over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use crate::state::{Expect, Key, State, StateError};

/// How long the holder may be silent before another takes over.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// A process's part in the leadership of one task.
pub(super) struct Leadership {
    state: Arc<dyn State>,
    key: Key,
    me: Bytes,
    /// The revision under which we hold it.
    held: Option<u64>,
    /// The revision of another holder, and since when we have known it.
    other: Option<(u64, Instant)>,
}

impl Leadership {
    pub(super) fn new(state: Arc<dyn State>, task: &str) -> Self {
        Self {
            state,
            key: Key::volatile(format!("bus.leader.{task}")),
            me: Bytes::copy_from_slice(Uuid::new_v4().as_bytes()),
            held: None,
            other: None,
        }
    }

    pub(super) const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Takes, keeps or loses it; says whether it is held now.
    pub(super) async fn hold(&mut self) -> Result<bool, StateError> {
        let expect = match self.held {
            Some(revision) => Expect::Revision(revision),
            None => match self.vacancy().await? {
                Some(expect) => expect,
                None => return Ok(false),
            },
        };
        self.held = None;
        match self.state.compare_and_swap(&self.key, expect, self.me.clone()).await {
            Ok(revision) => {
                self.held = Some(revision);
                Ok(true)
            }
            Err(StateError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives it up, if it is held.
    pub(super) async fn release(&mut self) {
        if let Some(revision) = self.held.take()
            && let Err(error) = self.state.delete(&self.key, revision).await
        {
            tracing::debug!(%error, key = self.key.name(), "leadership lapses instead of being given up");
        }
    }

    /// How to take it, if nobody holds it or its holder is silent.
    async fn vacancy(&mut self) -> Result<Option<Expect>, StateError> {
        let Some(entry) = self.state.get(&self.key).await? else {
            return Ok(Some(Expect::Absent));
        };
        let now = Instant::now();
        let since = match self.other {
            Some((revision, since)) if revision == entry.revision => since,
            Some(_) | None => {
                self.other = Some((entry.revision, now));
                now
            }
        };
        // Ours, when a write of ours was stored and its answer was lost.
        let is_ours = entry.value == self.me;
        let is_vacant = is_ours || now.duration_since(since) >= SILENCE_MAX;
        Ok(is_vacant.then_some(Expect::Revision(entry.revision)))
    }
}

//! Changes as a node hears of them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::lease::Standing;
use super::{Revisions, Scope, TOUCHED_IDS_MAX};
use crate::feed::{Feed, FeedError};
use crate::state::{StateChange, StateError};

/// Scopes whose last revision is remembered; beyond that the memory starts anew.
const SCOPES_MAX: usize = 65_536;

/// Whose decisions a change touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// Those about these ids: users, clients, channels, groups, whatever the decision names.
    Ids(Vec<Uuid>),
    /// All of the scope.
    All,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about.
    pub scope: Scope,
    /// Its revision: higher than that of every change before.
    pub revision: u64,
    /// What of the scope it touches.
    pub touched: Touched,
}

/// What a node hears. Either kind is to be acknowledged with [`NodeLease::applied`](super::NodeLease::applied).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Drop what the change touches.
    Change(Change),
    /// Changes up to this revision may have been missed: drop everything.
    Gap {
        /// The revision to acknowledge.
        revision: u64,
    },
}

/// The changes, in the order of their revisions.
pub struct Changes {
    feed: Feed<StateChange>,
    revisions: Revisions,
    standing: Arc<Standing>,
    /// Every change up to this revision was heard or came before the start.
    since: u64,
    last: HashMap<Scope, u64>,
    /// Whether a gap was found that is not told yet.
    is_behind: bool,
}

impl Changes {
    pub(super) fn new(feed: Feed<StateChange>, revisions: Revisions, standing: Arc<Standing>, since: u64) -> Self {
        Self {
            feed,
            revisions,
            standing,
            since,
            last: HashMap::new(),
            is_behind: false,
        }
    }

    /// The next piece of news, waiting for it. Cancel safe: a gap found while being cancelled is told the next time.
    ///
    /// # Errors
    /// The shared state is gone; cache nothing any more.
    pub async fn next(&mut self) -> Result<News, StateError> {
        while !self.is_behind {
            let heard = tokio::select! {
                biased;
                () = self.standing.lapsed() => Err(FeedError::Lagged(0)),
                heard = self.feed.next() => heard,
            };
            match heard {
                Ok(change) => {
                    if let Some(change) = self.understand(&change) {
                        return Ok(News::Change(change));
                    }
                }
                Err(FeedError::Lagged(_)) => self.is_behind = true,
                Err(FeedError::Closed) => return Err(StateError::Unavailable("the watch ended".to_owned())),
            }
        }
        self.standing.fall_behind();
        let revision = self.revisions.latest().await?;
        self.standing.must_reach(revision);
        self.since = revision;
        self.last.clear();
        self.is_behind = false;
        Ok(News::Gap { revision })
    }

    /// Reads a change; where a change before it was not heard, it counts for the whole scope.
    fn understand(&mut self, change: &StateChange) -> Option<Change> {
        let scope = Scope::of_key(&change.key)?;
        let (previous, touched) = decode(change.value.as_ref()?);
        let is_next = previous <= self.since || self.last.get(&scope) == Some(&previous);
        if self.last.len() >= SCOPES_MAX {
            self.last.clear();
            self.since = change.revision;
        }
        self.last.insert(scope, change.revision);
        Some(Change {
            scope,
            revision: change.revision,
            touched: if is_next { touched } else { Touched::All },
        })
    }
}

/// The value of a change: the revision of the scope's previous change, then the ids; no ids for the whole scope.
pub(super) fn encode(previous: u64, touched: &[Uuid]) -> Bytes {
    let mut value = previous.to_be_bytes().to_vec();
    if touched.len() <= TOUCHED_IDS_MAX {
        for id in touched {
            value.extend_from_slice(id.as_bytes());
        }
    }
    value.into()
}

fn decode(value: &[u8]) -> (u64, Touched) {
    let Some((previous, ids)) = value.split_first_chunk::<8>() else {
        return (u64::MAX, Touched::All);
    };
    let (ids, _) = ids.as_chunks::<16>();
    let touched = match ids {
        [] => Touched::All,
        ids => Touched::Ids(ids.iter().copied().map(Uuid::from_bytes).collect()),
    };
    (u64::from_be_bytes(*previous), touched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_touches_too_much_counts_for_the_whole_scope() {
        let ids: Vec<Uuid> = (0..TOUCHED_IDS_MAX as u128).map(Uuid::from_u128).collect();
        assert_eq!(decode(&encode(7, &ids)), (7, Touched::Ids(ids.clone())));
        let more = [ids, vec![Uuid::max()]].concat();
        assert_eq!(decode(&encode(7, &more)), (7, Touched::All));
        assert_eq!(decode(&encode(7, &[])), (7, Touched::All));
    }
}

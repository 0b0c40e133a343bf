//! Consumer groups: how far each is, kept in the durable keyspace and remembered here.
//!
//! A position counts only under the incarnation that it was committed under: after a loss, other entries may stand in the places of
//! those that were taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::feed::locked;
use crate::log::{Incarnation, LogError};
use crate::nats::names::LogName;
use crate::state::{Expect, Key, State, StateError, Versioned};

/// Times that a position is tried while others write it.
const ATTEMPTS_MAX: usize = 16;

/// The groups of one log.
pub(super) struct Groups {
    state: Arc<dyn State>,
    log: LogName,
    shards: u16,
    incarnation: Incarnation,
    known: Mutex<BTreeMap<String, Group>>,
}

/// What is known of a group.
#[derive(Debug, Clone)]
struct Group {
    is_required: bool,
    /// By shard.
    positions: Vec<Position>,
}

/// What a key says.
#[derive(Debug, Clone, Copy)]
struct Word {
    is_required: bool,
    committed: u64,
    revision: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Position {
    committed: u64,
    /// The revision of the key that says so; none while there is no key.
    revision: Option<u64>,
}

impl Groups {
    pub(super) fn new(state: Arc<dyn State>, log: LogName, shards: u16, incarnation: Incarnation) -> Self {
        Self {
            state,
            log,
            shards,
            incarnation,
            known: Mutex::default(),
        }
    }

    /// Makes what is missing of the group.
    pub(super) async fn join(&self, name: &str, is_required: bool) -> Result<(), LogError> {
        self.learn(&self.prefix(name)).await?;
        for shard in 0..self.shards {
            let index = usize::from(shard);
            let is_there = locked(&self.known)
                .get(name)
                .is_some_and(|group| group.positions[index].revision.is_some());
            if is_there {
                continue;
            }
            let made = self
                .state
                .compare_and_swap(&self.key(name, index), Expect::Absent, self.encode(is_required, 0))
                .await;
            match made {
                Ok(revision) => self.note(
                    name,
                    index,
                    Word {
                        is_required,
                        committed: 0,
                        revision,
                    },
                ),
                // Another process made it at the same time.
                Err(StateError::Conflict { .. }) => self.learn(&self.prefix(name)).await?,
                Err(error) => return Err(failed(&error)),
            }
        }
        Ok(())
    }

    pub(super) fn committed(&self, name: &str, index: usize) -> Result<u64, LogError> {
        self.position(name, index).map(|(_, position)| position.committed)
    }

    /// Records that the group is done with everything up to `sequence`.
    pub(super) async fn commit(&self, name: &str, index: usize, sequence: u64) -> Result<(), LogError> {
        let key = self.key(name, index);
        for _ in 0..ATTEMPTS_MAX {
            let (is_required, position) = self.position(name, index)?;
            if sequence <= position.committed {
                return Ok(());
            }
            let expect = position.revision.map_or(Expect::Absent, Expect::Revision);
            let value = self.encode(is_required, sequence);
            match self.state.compare_and_swap(&key, expect, value).await {
                Ok(revision) => {
                    self.note(
                        name,
                        index,
                        Word {
                            is_required,
                            committed: sequence,
                            revision,
                        },
                    );
                    return Ok(());
                }
                Err(StateError::Conflict { .. }) => self.learn(&key).await?,
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(LogError::Failed(format!(
            "the position of the group `{name}` is written by too many"
        )))
    }

    /// Learns how far all groups are.
    pub(super) async fn refresh(&self) -> Result<(), LogError> {
        self.learn(&Key::durable(self.all())).await
    }

    /// Whether a group is beyond the `heads` of the shards, which were asked for after the groups: that happens only when the log lost
    /// entries.
    pub(super) fn are_beyond(&self, heads: &[u64]) -> bool {
        let known = locked(&self.known);
        known.values().any(|group| {
            let mut positions = group.positions.iter().zip(heads);
            positions.any(|(position, head)| position.committed > *head)
        })
    }

    /// The last sequence of the shard that every required group is done with, as far as is known; 0 while there is no such group. Each log has one that joins sooner or later, and until then nobody has taken anything.
    pub(super) fn committed_by_all(&self, index: usize) -> u64 {
        locked(&self.known)
            .values()
            .filter(|group| group.is_required)
            .map(|group| group.positions[index].committed)
            .min()
            .unwrap_or(0)
    }

    fn encode(&self, is_required: bool, committed: u64) -> Bytes {
        let mut value = vec![u8::from(is_required)];
        value.extend_from_slice(&committed.to_be_bytes());
        value.extend_from_slice(&self.incarnation.0.to_be_bytes());
        value.into()
    }

    fn all(&self) -> String {
        format!("bus.groups.{}", self.log.as_str())
    }

    fn prefix(&self, name: &str) -> Key {
        Key::durable(format!("{}.{name}", self.all()))
    }

    fn key(&self, name: &str, index: usize) -> Key {
        Key::durable(format!("{}.{name}.{index}", self.all()))
    }

    fn position(&self, name: &str, index: usize) -> Result<(bool, Position), LogError> {
        locked(&self.known)
            .get(name)
            .map(|group| (group.is_required, group.positions[index]))
            .ok_or_else(|| LogError::NoSuchGroup(name.to_owned()))
    }

    async fn learn(&self, prefix: &Key) -> Result<(), LogError> {
        let found = self.state.list(prefix).await.map_err(|error| failed(&error))?;
        for (key, entry) in found {
            if let Some((name, index, word)) = self.understand(&key, &entry) {
                self.note(&name, index, word);
            }
        }
        Ok(())
    }

    fn understand(&self, key: &Key, entry: &Versioned) -> Option<(String, usize, Word)> {
        let below = key.name().strip_prefix(&self.all())?.strip_prefix('.')?;
        let (name, index) = below.rsplit_once('.')?;
        let index = index.parse().ok().filter(|index| *index < usize::from(self.shards))?;
        let (is_required, committed, incarnation) = decode(&entry.value)?;
        let committed = if incarnation == self.incarnation { committed } else { 0 };
        let revision = entry.revision;
        Some((
            name.to_owned(),
            index,
            Word {
                is_required,
                committed,
                revision,
            },
        ))
    }

    /// Takes over what a key says, unless something newer is known.
    fn note(&self, name: &str, index: usize, word: Word) {
        let mut known = locked(&self.known);
        let group = known.entry(name.to_owned()).or_insert_with(|| Group {
            is_required: word.is_required,
            positions: vec![Position::default(); usize::from(self.shards)],
        });
        let position = &mut group.positions[index];
        if position.revision.is_none_or(|known| known < word.revision) {
            *position = Position {
                committed: word.committed,
                revision: Some(word.revision),
            };
        }
    }
}

fn decode(value: &[u8]) -> Option<(bool, u64, Incarnation)> {
    let (is_required, value) = value.split_first()?;
    let (committed, incarnation) = value.split_first_chunk()?;
    let incarnation = Incarnation(i64::from_be_bytes(incarnation.try_into().ok()?));
    Some((*is_required != 0, u64::from_be_bytes(*committed), incarnation))
}

fn failed(error: &StateError) -> LogError {
    LogError::Failed(error.to_string())
}

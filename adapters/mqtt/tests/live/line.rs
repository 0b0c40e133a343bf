//! Shared state as a node has it whose line to it does what a test says.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use trunkline_bus::State;
use trunkline_bus::feed::Feed;
use trunkline_bus::state::{Expect, Key, Lease, StateChange, StateError, Versioned};

use super::*;

/// What a node asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call<'a> {
    Read,
    Write(&'a Bytes),
    Delete,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Heard,
    /// It is not done, and there is no answer.
    Lost,
    /// A write is done, and there is no answer.
    Unheard,
    /// The same, but it arrives after the node has looked at the key again.
    Late,
    TooLarge,
}

type Judge = Box<dyn FnMut(&Key, Call<'_>) -> Fate + Send>;

/// The line of one node.
pub(super) struct Line {
    state: Arc<dyn State>,
    judge: Mutex<Judge>,
    /// A write that is on its way. It is held while the key is looked at.
    late: tokio::sync::Mutex<Option<(Key, Expect, Bytes)>>,
}

impl Line {
    /// A line on which all is heard.
    pub(super) fn new(bus: &EmbeddedBus) -> Arc<Self> {
        Arc::new(Self {
            state: bus.state.clone(),
            judge: Mutex::new(Box::new(|_, _| Fate::Heard)),
            late: tokio::sync::Mutex::default(),
        })
    }

    /// The adapter of a node on this line.
    pub(super) fn open(self: &Arc<Self>, deps: Deps) -> Arc<Adapter> {
        let state = self.clone();
        Adapter::open(Deps { state, ..deps }, Settings::default())
    }

    /// From now on `judge` says what becomes of calls.
    pub(super) fn judge(&self, judge: impl FnMut(&Key, Call<'_>) -> Fate + Send + 'static) {
        *self.judge.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(judge);
    }

    /// Whether a write is on its way.
    pub(super) async fn has_late(&self) -> bool {
        self.late.lock().await.is_some()
    }

    fn fate(&self, key: &Key, call: Call<'_>) -> Fate {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)(key, call)
    }
}

fn unheard() -> StateError {
    StateError::Unavailable("no answer".to_owned())
}

#[async_trait]
impl State for Line {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, StateError> {
        if self.fate(key, Call::Read) != Fate::Heard {
            return Err(unheard());
        }
        let mut late = self.late.lock().await;
        let found = self.state.get(key).await;
        if let Some((key, expect, value)) = late.take_if(|(of, ..)| of == key) {
            // Nobody hears of it.
            let _ = self.state.compare_and_swap(&key, expect, value).await;
        }
        found
    }

    async fn list(&self, prefix: &Key) -> Result<Vec<(Key, Versioned)>, StateError> {
        match self.fate(prefix, Call::Read) {
            Fate::Heard => self.state.list(prefix).await,
            _ => Err(unheard()),
        }
    }

    async fn compare_and_swap(&self, key: &Key, expect: Expect, value: Bytes) -> Result<u64, StateError> {
        match self.fate(key, Call::Write(&value)) {
            Fate::Heard => self.state.compare_and_swap(key, expect, value).await,
            Fate::Lost => Err(unheard()),
            Fate::Unheard => {
                let _ = self.state.compare_and_swap(key, expect, value).await;
                Err(unheard())
            }
            Fate::Late => {
                *self.late.lock().await = Some((key.clone(), expect, value));
                Err(unheard())
            }
            Fate::TooLarge => Err(StateError::TooLarge(value.len())),
        }
    }

    async fn delete(&self, key: &Key, revision: u64) -> Result<u64, StateError> {
        match self.fate(key, Call::Delete) {
            Fate::Heard => self.state.delete(key, revision).await,
            _ => Err(unheard()),
        }
    }

    async fn watch(&self, prefix: &Key) -> Result<Feed<StateChange>, StateError> {
        self.state.watch(prefix).await
    }

    async fn renew(&self, key: &Key, value: Bytes, length: Duration) -> Result<(), StateError> {
        self.state.renew(key, value, length).await
    }

    async fn release(&self, key: &Key) -> Result<(), StateError> {
        self.state.release(key).await
    }

    async fn leases(&self, prefix: &Key) -> Result<Vec<Lease>, StateError> {
        self.state.leases(prefix).await
    }

    fn is_in_process(&self) -> bool {
        self.state.is_in_process()
    }
}

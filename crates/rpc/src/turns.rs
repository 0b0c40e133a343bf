//! Turns: calls that change one entity in two places take them one after the other, so that both places end alike.

use std::hash::{BuildHasher as _, RandomState};

use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

/// Entities share this many turns; two that share one wait for each other without need, and without harm.
const TURNS: usize = 64;

/// The turns of one service in one process.
pub struct Turns {
    turns: [Mutex<()>; TURNS],
    hasher: RandomState,
}

impl Turns {
    /// Waits for the turn of the entity `id`; it ends when the guard is dropped.
    pub async fn take(&self, id: Uuid) -> MutexGuard<'_, ()> {
        let place = usize::try_from(self.hasher.hash_one(id)).unwrap_or_default() % TURNS;
        self.turns[place].lock().await
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            turns: std::array::from_fn(|_| Mutex::new(())),
            hasher: RandomState::new(),
        }
    }
}

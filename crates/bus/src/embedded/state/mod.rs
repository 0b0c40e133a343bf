//! `State` in one process: the volatile keyspace and leases in memory, the durable keyspace on SQLite.

mod committer;
mod store;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use self::committer::{Change, Committer};
use self::store::{FILE, Store};
use super::OpenError;
use crate::feed::{Feed, FeedLimit, Source, locked};
use crate::state::{
    Expect, Key, Keyspace, Lease, State, StateChange, StateError, VALUE_BYTES_MAX, Versioned, check_key, check_lease,
};

/// How far a watcher may fall behind.
const LIMIT: FeedLimit = FeedLimit {
    items: 4_096,
    bytes: 4 * 1024 * 1024,
};

/// State of one process.
pub struct EmbeddedState {
    memory: Arc<Memory>,
    disk: tokio::sync::RwLock<Option<Disk>>,
    /// Ends leases on time; ends with this.
    _lapses: AbortOnDropHandle<()>,
}

/// The durable keyspace. Who reads does not wait for a sync.
struct Disk {
    committer: Committer,
    reader: tokio::sync::Mutex<Store>,
    /// The committer has ended.
    ended: oneshot::Receiver<()>,
}

impl Disk {
    async fn open(dir: &Path, memory: &Arc<Memory>) -> Result<Self, sqlx::Error> {
        let writer = Store::open(&dir.join(FILE)).await?;
        let reader = tokio::sync::Mutex::new(Store::open(&dir.join(FILE)).await?);
        let (committer, ended) = Committer::start(writer, Arc::clone(memory));
        Ok(Self {
            committer,
            reader,
            ended,
        })
    }
}

/// The volatile keyspace, and the watchers of both.
struct Memory {
    inner: Mutex<Inner>,
    changes: Source<StateChange>,
    lease_changed: Notify,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<Key, Versioned>,
    leases: BTreeMap<Key, HeldLease>,
    revision: u64,
}

struct HeldLease {
    value: Bytes,
    until: Instant,
}

impl EmbeddedState {
    /// Opens the durable keyspace in `dir`.
    pub(super) async fn open(dir: &Path) -> Result<Self, OpenError> {
        let memory = Arc::new(Memory {
            inner: Mutex::default(),
            changes: Source::new(LIMIT),
            lease_changed: Notify::new(),
        });
        let disk = Disk::open(dir, &memory).await.map_err(|cause| OpenError::Unusable {
            file: FILE,
            cause: cause.to_string(),
        })?;
        let lapses = tokio::spawn(end_leases(memory.clone()));
        Ok(Self {
            memory,
            disk: tokio::sync::RwLock::new(Some(disk)),
            _lapses: AbortOnDropHandle::new(lapses),
        })
    }

    /// Closes the file. The durable keyspace is unavailable from now on.
    pub(super) async fn close(&self) {
        let Some(Disk {
            committer,
            reader,
            ended,
        }) = self.disk.write().await.take()
        else {
            return;
        };
        drop(committer);
        let _ = ended.await;
        if let Err(cause) = reader.into_inner().close().await {
            tracing::warn!(error = %cause, "the state file did not close cleanly");
        }
    }
}

impl Memory {
    fn compare_and_swap(&self, key: &Key, expect: Expect, value: Option<Bytes>) -> Result<u64, StateError> {
        let mut inner = locked(&self.inner);
        let current = inner.entries.get(key).map(|entry| entry.revision);
        check_expected(expect, current)?;
        inner.revision += 1;
        let revision = inner.revision;
        match &value {
            Some(value) => {
                let entry = Versioned {
                    value: value.clone(),
                    revision,
                };
                inner.entries.insert(key.clone(), entry);
            }
            None => drop(inner.entries.remove(key)),
        }
        // Told under the lock, so that watchers see changes in the order of their revisions.
        self.tell(key, value, revision);
        Ok(revision)
    }

    fn tell(&self, key: &Key, value: Option<Bytes>, revision: u64) {
        let bytes = key.name().len() + value.as_ref().map_or(0, Bytes::len);
        let change = StateChange {
            key: key.clone(),
            value,
            revision,
        };
        self.changes.send(&change, bytes);
    }

    fn set_lease(&self, key: &Key, held: Option<HeldLease>) {
        let mut inner = locked(&self.inner);
        let value = held.as_ref().map(|lease| lease.value.clone());
        let was_held = match held {
            Some(lease) => {
                inner.leases.insert(key.clone(), lease);
                true
            }
            None => inner.leases.remove(key).is_some(),
        };
        if was_held {
            inner.revision += 1;
            self.tell(key, value, inner.revision);
            self.lease_changed.notify_one();
        }
    }

    /// Ends the leases that lapsed; gives when the next one will.
    fn lapse(&self, now: Instant) -> Option<Instant> {
        let mut inner = locked(&self.inner);
        let lapsed: Vec<Key> = inner
            .leases
            .iter()
            .filter(|(_, lease)| lease.until <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in lapsed {
            inner.leases.remove(&key);
            inner.revision += 1;
            self.tell(&key, None, inner.revision);
        }
        inner.leases.values().map(|lease| lease.until).min()
    }
}

/// Ends leases when they lapse, for as long as the state lives.
async fn end_leases(memory: Arc<Memory>) {
    loop {
        let changed = memory.lease_changed.notified();
        match memory.lapse(Instant::now()) {
            // Both branches are cancel safe: the leases are looked at anew each time.
            Some(next) => tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = changed => {}
            },
            None => changed.await,
        }
    }
}

fn check_expected(expect: Expect, current: Option<u64>) -> Result<(), StateError> {
    let is_expected = match expect {
        Expect::Absent => current.is_none(),
        Expect::Revision(revision) => current == Some(revision),
    };
    if is_expected {
        Ok(())
    } else {
        Err(StateError::Conflict { current })
    }
}

fn unavailable(cause: &sqlx::Error) -> StateError {
    StateError::Unavailable(cause.to_string())
}

fn closed() -> StateError {
    StateError::Unavailable("the state is closed".to_owned())
}

#[async_trait]
impl State for EmbeddedState {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, StateError> {
        check_key(key)?;
        match key.keyspace() {
            Keyspace::Volatile => Ok(locked(&self.memory.inner).entries.get(key).cloned()),
            Keyspace::Durable => {
                let disk = self.disk.read().await;
                let mut reader = disk.as_ref().ok_or_else(closed)?.reader.lock().await;
                reader.get(key.name()).await.map_err(|cause| unavailable(&cause))
            }
        }
    }

    async fn list(&self, prefix: &Key) -> Result<Vec<(Key, Versioned)>, StateError> {
        check_key(prefix)?;
        match prefix.keyspace() {
            Keyspace::Volatile => {
                let inner = locked(&self.memory.inner);
                let from_prefix = inner.entries.range(prefix..);
                let covered = from_prefix
                    .take_while(|(key, _)| key.name().starts_with(prefix.name()))
                    .filter(|(key, _)| prefix.covers(key));
                Ok(covered.map(|(key, entry)| (key.clone(), entry.clone())).collect())
            }
            Keyspace::Durable => {
                let disk = self.disk.read().await;
                let mut reader = disk.as_ref().ok_or_else(closed)?.reader.lock().await;
                let found = reader.list(prefix.name()).await;
                let found = found.map_err(|cause| unavailable(&cause))?;
                let keys = found.into_iter().map(|(name, entry)| (Key::durable(name), entry));
                Ok(keys.filter(|(key, _)| prefix.covers(key)).collect())
            }
        }
    }

    async fn compare_and_swap(&self, key: &Key, expect: Expect, value: Bytes) -> Result<u64, StateError> {
        check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(StateError::TooLarge(value.len()));
        }
        self.change(key, expect, Some(value)).await
    }

    async fn delete(&self, key: &Key, revision: u64) -> Result<u64, StateError> {
        check_key(key)?;
        self.change(key, Expect::Revision(revision), None).await
    }

    async fn watch(&self, prefix: &Key) -> Result<Feed<StateChange>, StateError> {
        check_key(prefix)?;
        let prefix = prefix.clone();
        Ok(self.memory.changes.listen_to(move |change| prefix.covers(&change.key)))
    }

    async fn renew(&self, key: &Key, value: Bytes, length: Duration) -> Result<(), StateError> {
        check_lease(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(StateError::TooLarge(value.len()));
        }
        let until = Instant::now() + length;
        self.memory.set_lease(key, Some(HeldLease { value, until }));
        Ok(())
    }

    async fn release(&self, key: &Key) -> Result<(), StateError> {
        check_lease(key)?;
        self.memory.set_lease(key, None);
        Ok(())
    }

    async fn leases(&self, prefix: &Key) -> Result<Vec<Lease>, StateError> {
        check_lease(prefix)?;
        let now = Instant::now();
        let inner = locked(&self.memory.inner);
        let in_force = inner
            .leases
            .iter()
            .filter(|(key, lease)| prefix.covers(key) && lease.until > now);
        Ok(in_force
            .map(|(key, lease)| Lease {
                key: key.clone(),
                value: lease.value.clone(),
                remaining: lease.until - now,
            })
            .collect())
    }

    fn is_in_process(&self) -> bool {
        true
    }
}

impl EmbeddedState {
    async fn change(&self, key: &Key, expect: Expect, value: Option<Bytes>) -> Result<u64, StateError> {
        match key.keyspace() {
            Keyspace::Volatile => self.memory.compare_and_swap(key, expect, value),
            Keyspace::Durable => {
                let disk = self.disk.read().await;
                let committer = &disk.as_ref().ok_or_else(closed)?.committer;
                let change = Change {
                    key: key.clone(),
                    expect,
                    value,
                };
                committer.change(change).await
            }
        }
    }
}

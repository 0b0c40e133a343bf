//! `State`: small shared facts with compare-and-swap, watches and leases. Two keyspaces: what must survive a restart of the
//! backend, and what must not cost a write to disk.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::feed::Feed;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// Largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 512 * 1024;

/// Which keyspace a key is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Keyspace {
    /// Lives as long as the backend runs; a change takes microseconds where the backend is in the process.
    Volatile,
    /// Durable at the backend's tier when the change returns.
    Durable,
}

/// A key or prefix: tokens joined by `.` inside a keyspace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    keyspace: Keyspace,
    name: String,
}

impl Key {
    /// A key of the volatile keyspace.
    pub fn volatile(name: impl Into<String>) -> Self {
        Self {
            keyspace: Keyspace::Volatile,
            name: name.into(),
        }
    }

    /// A key of the durable keyspace.
    pub fn durable(name: impl Into<String>) -> Self {
        Self {
            keyspace: Keyspace::Durable,
            name: name.into(),
        }
    }

    /// Its keyspace.
    pub const fn keyspace(&self) -> Keyspace {
        self.keyspace
    }

    /// Its name within the keyspace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `other` is this key or below it, by whole tokens.
    pub fn covers(&self, other: &Self) -> bool {
        self.keyspace == other.keyspace
            && other
                .name
                .strip_prefix(self.name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// A value and the revision that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// The change that wrote it: numbers rise over all keys of a keyspace, with gaps, and are never used again.
    pub revision: u64,
}

/// What a key must be at for a change to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key must not exist.
    Absent,
    /// The key must have been written by this revision.
    Revision(u64),
}

/// One change, as watchers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The key.
    pub key: Key,
    /// The new value; none when it was deleted, released or its lease lapsed.
    pub value: Option<Bytes>,
    /// The change's revision.
    pub revision: u64,
}

/// A lease that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its key.
    pub key: Key,
    /// What its holder said last.
    pub value: Bytes,
    /// How long it lasts unless it is renewed.
    pub remaining: Duration,
}

/// Why `State` did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The key is not at what was expected; somebody else was first.
    #[error("the key is at another revision than expected")]
    Conflict {
        /// The revision that the key is at; none when it does not exist.
        current: Option<u64>,
    },
    /// A key is tokens of letters, digits, `_` and `-`, joined by `.`, of at most [`KEY_BYTES_MAX`] bytes.
    #[error("`{0}` is not a key: tokens of letters, digits, `_` and `-`, joined by `.`")]
    Key(String),
    /// The value is over [`VALUE_BYTES_MAX`].
    #[error("the value has {0} bytes and may have {VALUE_BYTES_MAX}")]
    TooLarge(usize),
    /// The backend does not answer.
    #[error("shared state is unavailable: {0}")]
    Unavailable(String),
}

/// Small shared facts.
#[async_trait]
pub trait State: Send + Sync + 'static {
    /// The value of `key`.
    ///
    /// # Errors
    /// A wrong key, a backend that does not answer.
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, StateError>;

    /// Every key that `prefix` covers, in order of names.
    ///
    /// # Errors
    /// As [`State::get`].
    async fn list(&self, prefix: &Key) -> Result<Vec<(Key, Versioned)>, StateError>;

    /// Writes `value` if `key` is as expected; returns the change's revision.
    ///
    /// # Errors
    /// [`StateError::Conflict`] when somebody else was first; a wrong key or value; a backend that does not answer.
    async fn compare_and_swap(&self, key: &Key, expect: Expect, value: Bytes) -> Result<u64, StateError>;

    /// Deletes `key` if it is at `revision`; returns the change's revision.
    ///
    /// # Errors
    /// As [`State::compare_and_swap`].
    async fn delete(&self, key: &Key, revision: u64) -> Result<u64, StateError>;

    /// Every change under `prefix` from when this returns. To see the present as well, watch first and then list. A watcher
    /// that falls behind gets [`FeedError::Lagged`](crate::feed::FeedError::Lagged) and must list again. Lapses of leases are told too.
    ///
    /// # Errors
    /// As [`State::get`].
    async fn watch(&self, prefix: &Key) -> Result<Feed<StateChange>, StateError>;

    /// Takes or renews the lease at `key` for `length` from when the backend gets this, and sets its value. Leases are volatile.
    ///
    /// The holder must count its lease from before it called.
    ///
    /// # Errors
    /// A wrong key, a durable key, or a backend that does not answer.
    async fn renew(&self, key: &Key, value: Bytes, length: Duration) -> Result<(), StateError>;

    /// Gives the lease at `key` up, if it is held.
    ///
    /// # Errors
    /// As [`State::renew`].
    async fn release(&self, key: &Key) -> Result<(), StateError>;

    /// The leases in force that `prefix` covers.
    ///
    /// # Errors
    /// As [`State::get`].
    async fn leases(&self, prefix: &Key) -> Result<Vec<Lease>, StateError>;

    /// Whether the backend is in the process of whoever asks. Then it is there whenever they are, and a lease lapses for no other reason than
    /// that its holder is gone. Anywhere else leases lapse while the backend is away, too.
    fn is_in_process(&self) -> bool {
        false
    }
}

/// Checks a key or prefix.
pub(crate) fn check_key(key: &Key) -> Result<(), StateError> {
    let is_token = |token: &str| {
        !token.is_empty()
            && token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    if key.name().len() <= KEY_BYTES_MAX && key.name().split('.').all(is_token) {
        Ok(())
    } else {
        Err(StateError::Key(key.name().chars().take(64).collect()))
    }
}

/// Checks the key of a lease.
pub(crate) fn check_lease(key: &Key) -> Result<(), StateError> {
    check_key(key)?;
    match key.keyspace() {
        Keyspace::Volatile => Ok(()),
        Keyspace::Durable => Err(StateError::Key(format!("{} (a lease is volatile)", key.name()))),
    }
}

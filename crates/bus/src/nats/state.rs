//! `State` on buckets of JetStream: streams that keep the last message of each subject.
//!
//! All three buckets are kept in files. Revisions of the volatile keyspace order revocations, and leases tell who must be waited
//! for: a server that forgot them in a restart would let a revocation pass that nobody applied.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};

use super::api::{ApiError, code};
use super::connect::{ANSWER_WAIT_MAX, Connection};
use super::feeder;
use super::lapses::Lapses;
use super::losses::Watched;
use super::names::{Bucket, Names};
use super::pages::{self, Held};
use super::streams::LEASE_LENGTH_MAX;
use crate::feed::{Feed, FeedLimit};
use crate::state::{
    Expect, Key, Keyspace, Lease, State, StateChange, StateError, VALUE_BYTES_MAX, Versioned, check_key, check_lease,
};

/// How far a watcher may fall behind.
const LIMIT: FeedLimit = FeedLimit {
    items: 4_096,
    bytes: 4 * 1024 * 1024,
};
/// Times that a new key is tried while others make and delete it.
const CREATE_ATTEMPTS_MAX: usize = 8;
/// How long the server remembers that a key was deleted.
const MARKER_KEPT: &str = "1h";
/// The header by which a message says that its key is deleted.
const OPERATION: &str = "KV-Operation";
const DELETED: &str = "DEL";

/// State kept by a server.
pub(super) struct NatsState {
    connection: Connection,
    names: Arc<Names>,
    /// By bucket, the highest revision that we know of.
    known: HashMap<Bucket, Arc<AtomicU64>>,
}

impl NatsState {
    pub(super) fn new(connection: Connection, names: Arc<Names>) -> Self {
        Self {
            connection,
            names,
            known: Bucket::ALL.into_iter().map(|bucket| (bucket, Arc::default())).collect(),
        }
    }

    /// The buckets, and what they are known to have stored.
    pub(super) fn watched(&self) -> Vec<Watched> {
        let watched = |(bucket, known): (&Bucket, &Arc<AtomicU64>)| {
            Watched::counted(self.names.bucket_stream(*bucket), known.clone())
        };
        self.known.iter().map(watched).collect()
    }

    fn note(&self, bucket: Bucket, revision: u64) {
        self.known[&bucket].fetch_max(revision, Relaxed);
    }

    /// What the key was written last, deletions included.
    async fn last(&self, bucket: Bucket, key: &str) -> Result<Option<Held>, StateError> {
        let subject = self.names.key_subject(bucket, key);
        let last = pages::last(&self.connection, &self.names.bucket_stream(bucket), &subject)
            .await
            .map_err(|error| unavailable(&error))?;
        last.iter().for_each(|held| self.note(bucket, held.sequence));
        Ok(last)
    }

    async fn put(
        &self,
        bucket: Bucket,
        key: &Key,
        expected: Option<u64>,
        value: Option<Bytes>,
    ) -> Result<Result<u64, Moved>, StateError> {
        let subject = self.names.key_subject(bucket, key.name());
        let mut headers = HeaderMap::new();
        if let Some(revision) = expected {
            headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string());
        }
        if value.is_none() {
            headers.insert(OPERATION, DELETED);
            headers.insert("Nats-TTL", MARKER_KEPT);
        }
        match self.connection.store(subject, headers, value.unwrap_or_default()).await {
            Ok(ack) => {
                self.note(bucket, ack.seq);
                Ok(Ok(ack.seq))
            }
            Err(ApiError::Refused {
                code: code::WRONG_LAST_SEQUENCE,
                ..
            }) => Ok(Err(Moved)),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Writes if `key` is as expected; `None` deletes.
    async fn change(&self, key: &Key, expect: Expect, value: Option<Bytes>) -> Result<u64, StateError> {
        let bucket = Bucket::from(key.keyspace());
        let mut expected = match expect {
            Expect::Absent => 0,
            Expect::Revision(revision) => revision,
        };
        for _ in 0..CREATE_ATTEMPTS_MAX {
            if let Ok(revision) = self.put(bucket, key, Some(expected), value.clone()).await? {
                return Ok(revision);
            }
            match (expect, self.last(bucket, key.name()).await?) {
                // A key that was deleted is absent, and at the revision of its deletion.
                (Expect::Absent, Some(held)) if is_deleted(&held.headers) => expected = held.sequence,
                (Expect::Absent, None) => expected = 0,
                (_, held) => {
                    let current = held.filter(|held| !is_deleted(&held.headers)).map(|held| held.sequence);
                    return Err(StateError::Conflict { current });
                }
            }
        }
        Err(StateError::Conflict { current: None })
    }

    /// All that `prefix` covers in `bucket`, deletions left out.
    async fn held(&self, bucket: Bucket, prefix: &Key) -> Result<pages::Found, StateError> {
        let subject = self.names.key_subject(bucket, prefix.name());
        let below = format!("{subject}.>");
        let mut found = pages::last_of_each(
            &self.connection,
            &self.names.bucket_stream(bucket),
            vec![subject, below],
        )
        .await
        .map_err(|error| unavailable(&error))?;
        found.iter().for_each(|(held, _)| self.note(bucket, held.sequence));
        found.retain(|(held, _)| !is_deleted(&held.headers));
        Ok(found)
    }

    /// News of `bucket` for what `prefix` covers.
    async fn news(&self, bucket: Bucket, prefix: &Key) -> Result<impl News + use<>, StateError> {
        let subject = self.names.key_news(bucket, prefix.name());
        let below = format!("{subject}.>");
        let client = &self.connection.client;
        let subscribed = async {
            Ok::<_, async_nats::SubscribeError>((client.subscribe(subject).await?, client.subscribe(below).await?))
        };
        let (this, below) = tokio::time::timeout(ANSWER_WAIT_MAX, subscribed)
            .await
            .map_err(|_| StateError::Unavailable("no answer in time".to_owned()))?
            .map_err(|error| StateError::Unavailable(error.to_string()))?;
        let start = self.names.key_news(bucket, "");
        let news = stream::select(this, below).filter_map(move |message| {
            let change = message
                .subject
                .strip_prefix(start.as_str())
                .and_then(|name| change_of(bucket, name, &message));
            std::future::ready(change)
        });
        Ok(news)
    }
}

/// Changes, as they are heard.
trait News: futures_util::Stream<Item = StateChange> + Send + 'static {}
impl<T: futures_util::Stream<Item = StateChange> + Send + 'static> News for T {}

/// The key is not at the revision that was expected.
struct Moved;

fn is_deleted(headers: &HeaderMap) -> bool {
    headers.get(OPERATION).is_some() || headers.get("Nats-Marker-Reason").is_some()
}

fn change_of(bucket: Bucket, name: &str, message: &async_nats::Message) -> Option<StateChange> {
    let headers = message.headers.as_ref()?;
    let revision = headers.get("Nats-Sequence")?.as_str().parse().ok()?;
    let value = (!is_deleted(headers)).then(|| message.payload.clone());
    Some(StateChange {
        key: match bucket {
            Bucket::Durable => Key::durable(name),
            Bucket::Volatile | Bucket::Leases => Key::volatile(name),
        },
        value,
        revision,
    })
}

fn unavailable(error: &ApiError) -> StateError {
    StateError::Unavailable(error.to_string())
}

/// A lease as it is kept: how long it lasts in milliseconds, then what its holder says.
fn encode_lease(length: Duration, value: &[u8]) -> Bytes {
    let mut encoded = BytesMut::with_capacity(8 + value.len());
    encoded.put_u64(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
    encoded.put_slice(value);
    encoded.freeze()
}

pub(super) fn decode_lease(encoded: &Bytes) -> Option<(Duration, Bytes)> {
    let (millis, _) = encoded.split_first_chunk::<8>()?;
    Some((Duration::from_millis(u64::from_be_bytes(*millis)), encoded.slice(8..)))
}

#[async_trait]
impl State for NatsState {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, StateError> {
        check_key(key)?;
        let held = self.last(key.keyspace().into(), key.name()).await?;
        Ok(held.filter(|held| !is_deleted(&held.headers)).map(|held| Versioned {
            value: held.payload,
            revision: held.sequence,
        }))
    }

    async fn list(&self, prefix: &Key) -> Result<Vec<(Key, Versioned)>, StateError> {
        check_key(prefix)?;
        let bucket = prefix.keyspace().into();
        let start = self.names.key_subject(bucket, "");
        let found = self.held(bucket, prefix).await?;
        let mut entries: Vec<_> = found
            .into_iter()
            .filter_map(|(held, _)| {
                let name = held.subject.strip_prefix(start.as_str())?;
                let key = match prefix.keyspace() {
                    Keyspace::Volatile => Key::volatile(name),
                    Keyspace::Durable => Key::durable(name),
                };
                let (value, revision) = (held.payload, held.sequence);
                Some((key, Versioned { value, revision }))
            })
            .collect();
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(entries)
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
        let link = self.connection.link.clone();
        let settled = async || {
            let settled = self.connection.settled().await;
            settled.map_err(|error| StateError::Unavailable(error.to_string()))
        };
        let count = |change: StateChange| {
            let bytes = change.key.name().len() + change.value.as_ref().map_or(0, Bytes::len);
            (change, bytes)
        };
        let changes = self.news(prefix.keyspace().into(), prefix).await?;
        match prefix.keyspace() {
            Keyspace::Durable => {
                settled().await?;
                Ok(feeder::feed(LIMIT, Box::pin(changes.map(count)), link))
            }
            Keyspace::Volatile => {
                let renewals = self.news(Bucket::Leases, prefix).await?;
                settled().await?;
                let in_force = self.leases(prefix).await?;
                let leases = Lapses::new(Box::pin(renewals), in_force);
                let all = stream::select(changes, Box::pin(leases.changes()));
                Ok(feeder::feed(LIMIT, Box::pin(all.map(count)), link))
            }
        }
    }

    async fn renew(&self, key: &Key, value: Bytes, length: Duration) -> Result<(), StateError> {
        check_lease(key)?;
        if value.len() > VALUE_BYTES_MAX {
            return Err(StateError::TooLarge(value.len()));
        }
        // The bucket forgets older ones by itself, so a longer lease would not be kept.
        let encoded = encode_lease(length.min(LEASE_LENGTH_MAX), &value);
        self.put(Bucket::Leases, key, None, Some(encoded)).await.map(drop)
    }

    async fn release(&self, key: &Key) -> Result<(), StateError> {
        check_lease(key)?;
        self.put(Bucket::Leases, key, None, None).await.map(drop)
    }

    async fn leases(&self, prefix: &Key) -> Result<Vec<Lease>, StateError> {
        check_lease(prefix)?;
        let start = self.names.key_subject(Bucket::Leases, "");
        let found = self.held(Bucket::Leases, prefix).await?;
        let mut leases = HashMap::new();
        // The age is by the server's clock at both ends, so no clock of ours has a say in it.
        for (held, age) in found {
            let lease = held
                .subject
                .strip_prefix(start.as_str())
                .zip(decode_lease(&held.payload));
            if let Some((name, (length, value))) = lease
                && let Some(remaining) = length.checked_sub(age).filter(|remaining| !remaining.is_zero())
            {
                let key = Key::volatile(name);
                leases.insert(key.clone(), Lease { key, value, remaining });
            }
        }
        let mut leases: Vec<Lease> = leases.into_values().collect();
        leases.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(leases)
    }
}

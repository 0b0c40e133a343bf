//! How the streams and buckets must be configured: making them, and refusing those that would break a promise.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, PersistenceMode, Republish, RetentionPolicy, StorageType,
};
use trunkline_core::Clock;
use uuid::Uuid;

use super::api::{ApiError, code};
use super::connect::Connection;
use super::names::{Bucket, LogName, Names};
use super::{NatsConfig, NatsError};
use crate::log::{Incarnation, Shard};

/// The format of all that we keep on NATS.
const FORMAT: u32 = 2;
const PLATFORM_KEY: &str = "trunkline-platform";
const FORMAT_KEY: &str = "trunkline-format";
const INCARNATION_KEY: &str = "trunkline-incarnation";
const SHARDS_KEY: &str = "trunkline-shards";

const SHARDS_DEFAULT: u16 = 4;
/// How long a log refuses a message id that it holds already. Publishers repeat within seconds; the server keeps the ids of
/// this long in memory.
const MESSAGE_IDS_WINDOW: Duration = Duration::from_secs(60);
/// The same for events and dead letters, which are few and are repeated after a restart.
const EVENT_IDS_WINDOW: Duration = Duration::from_secs(3_600);
/// Longest that a lease may last: what the bucket of leases forgets by itself.
pub(super) const LEASE_LENGTH_MAX: Duration = Duration::from_secs(3_600);
/// Looks for a stream that somebody else may be making, and the pause between them.
const FINDS_MAX: u32 = 10;
const FIND_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that events may take.
pub(super) const EVENTS_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes that dead letters may take.
pub(super) const DEAD_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes that each bucket may take.
const BUCKET_BYTES_MAX: i64 = 512 * 1024 * 1024;
/// What every stream may take beyond its share, whatever its quotas.
const STREAM_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// What is known of a log from its streams.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogFacts {
    pub(super) shards: u16,
    pub(super) incarnation: Incarnation,
}

/// The streams of one platform on one server.
pub(super) struct Streams<'bus> {
    pub(super) connection: &'bus Connection,
    pub(super) config: &'bus NatsConfig,
    pub(super) names: &'bus Names,
    pub(super) platform: Uuid,
}

impl Streams<'_> {
    /// Makes what is missing; returns the names of what it made.
    pub(super) async fn make(&self, clock: &dyn Clock) -> Result<Vec<String>, NatsError> {
        let mut made = Vec::new();
        for bucket in Bucket::ALL {
            self.make_one(self.bucket(bucket), &mut made).await?;
        }
        for log in LogName::ALL {
            // The first stream decides how many there are, so that two who begin at once agree.
            let wanted = self.shards_wanted(log);
            let first = self.log_stream(log, Shard(0), wanted, clock);
            let shards = facts(&self.make_one(first, &mut made).await?)?.shards;
            for shard in (1..shards).map(Shard) {
                self.make_one(self.log_stream(log, shard, shards, clock), &mut made)
                    .await?;
            }
        }
        Ok(made)
    }

    /// Checks that all buckets are there and as they must be.
    pub(super) async fn check_buckets(&self) -> Result<(), NatsError> {
        for bucket in Bucket::ALL {
            let wanted = self.bucket(bucket);
            let found = self.find(&wanted.name).await?;
            self.check(&wanted, &found.config)?;
        }
        Ok(())
    }

    /// Checks that all streams of `log` are there and as they must be; returns what they say, and their last sequences.
    pub(super) async fn check_log(&self, log: LogName, clock: &dyn Clock) -> Result<(LogFacts, Vec<u64>), NatsError> {
        let first = self.find(&self.names.stream(log, Shard(0))).await?;
        let facts = facts(&first)?;
        if log == LogName::Messages && self.config.shards.is_some_and(|shards| shards != facts.shards) {
            return Err(NatsError::Incompatible {
                stream: first.config.name,
                why: format!("it was made with {} shards; take the line `shards` out", facts.shards),
            });
        }
        let mut heads = Vec::new();
        for shard in (0..facts.shards).map(Shard) {
            let wanted = self.log_stream(log, shard, facts.shards, clock);
            let found = self.find(&wanted.name).await?;
            self.check(&wanted, &found.config)?;
            heads.push(found.state.last_sequence);
        }
        Ok((facts, heads))
    }

    async fn make_one(&self, wanted: Config, made: &mut Vec<String>) -> Result<Info, NatsError> {
        let subject = format!("STREAM.CREATE.{}", wanted.name);
        let found = match self.find(&wanted.name).await {
            Ok(found) => found,
            Err(NatsError::Missing { .. }) => match self.connection.ask::<Info>(subject, &wanted).await {
                Ok(info) => {
                    made.push(wanted.name);
                    return Ok(info);
                }
                // Another one made it meanwhile, or is about to and holds the room that it needs.
                Err(refused @ ApiError::Refused { .. }) => match self.find_soon(&wanted.name).await {
                    Ok(found) => found,
                    Err(_) => return Err(failed("making a stream", &refused)),
                },
                Err(error) => return Err(failed("making a stream", &error)),
            },
            Err(error) => return Err(error),
        };
        self.check(&wanted, &found.config)?;
        self.adjust(&wanted, found).await
    }

    /// Brings what may change into line with the configuration.
    async fn adjust(&self, wanted: &Config, mut found: Info) -> Result<Info, NatsError> {
        let config = &mut found.config;
        let is_so = config.max_bytes == wanted.max_bytes && config.num_replicas == wanted.num_replicas;
        if is_so {
            return Ok(found);
        }
        config.max_bytes = wanted.max_bytes;
        config.num_replicas = wanted.num_replicas;
        let subject = format!("STREAM.UPDATE.{}", wanted.name);
        self.connection
            .ask::<Info>(subject, &found.config)
            .await
            .map_err(|error| failed("changing a stream", &error))
    }

    /// A stream that somebody else may be making.
    async fn find_soon(&self, stream: &str) -> Result<Info, NatsError> {
        for _ in 1..FINDS_MAX {
            if let Ok(found) = self.find(stream).await {
                return Ok(found);
            }
            tokio::time::sleep(FIND_PAUSE).await;
        }
        self.find(stream).await
    }

    async fn find(&self, stream: &str) -> Result<Info, NatsError> {
        let found = self.connection.ask::<Info>(format!("STREAM.INFO.{stream}"), &()).await;
        found.map_err(|error| match error {
            ApiError::Refused { code, .. } if code == code::STREAM_NOT_FOUND => NatsError::Missing {
                stream: stream.to_owned(),
            },
            error => failed("finding a stream", &error),
        })
    }

    fn shards_wanted(&self, log: LogName) -> u16 {
        match log {
            LogName::Messages => self.config.shards.unwrap_or(SHARDS_DEFAULT),
            LogName::Events | LogName::Dead => 1,
        }
    }

    fn log_stream(&self, log: LogName, shard: Shard, shards: u16, clock: &dyn Clock) -> Config {
        let bytes_max = match log {
            LogName::Messages => self.config.bytes_max,
            LogName::Events => EVENTS_BYTES_MAX,
            LogName::Dead => DEAD_BYTES_MAX,
        };
        // Twice its share: quotas refuse before, and count without the server's bookkeeping.
        let share = (2 * bytes_max / u64::from(shards)).max(STREAM_BYTES_MIN);
        let subjects = self.names.shard_subjects(log, shard);
        let mut metadata = self.metadata();
        metadata.insert(SHARDS_KEY.to_owned(), shards.to_string());
        metadata.insert(INCARNATION_KEY.to_owned(), clock.now().micros().to_string());
        Config {
            name: self.names.stream(log, shard),
            discard: DiscardPolicy::New,
            duplicate_window: match log {
                LogName::Messages => MESSAGE_IDS_WINDOW,
                LogName::Events | LogName::Dead => EVENT_IDS_WINDOW,
            },
            republish: Some(Republish {
                source: subjects.clone(),
                destination: self.names.shard_news(log, shard),
                headers_only: false,
            }),
            subjects: vec![subjects],
            max_bytes: i64::try_from(share).unwrap_or(i64::MAX),
            max_messages_per_subject: -1,
            metadata,
            ..self.common()
        }
    }

    fn bucket(&self, bucket: Bucket) -> Config {
        let subjects = self.names.key_subject(bucket, ">");
        Config {
            name: self.names.bucket_stream(bucket),
            // A stream of one message per subject makes room for the next by dropping the last: only full buckets refuse.
            discard: DiscardPolicy::New,
            republish: Some(Republish {
                source: subjects.clone(),
                destination: self.names.key_news(bucket, ">"),
                headers_only: false,
            }),
            subjects: vec![subjects],
            max_bytes: BUCKET_BYTES_MAX,
            max_messages_per_subject: 1,
            max_age: match bucket {
                Bucket::Leases => LEASE_LENGTH_MAX,
                Bucket::Durable | Bucket::Volatile => Duration::ZERO,
            },
            duplicate_window: MESSAGE_IDS_WINDOW,
            allow_message_ttl: true,
            deny_delete: true,
            metadata: self.metadata(),
            ..self.common()
        }
    }

    fn common(&self) -> Config {
        Config {
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            num_replicas: usize::from(self.config.replicas),
            max_messages: -1,
            max_consumers: -1,
            max_message_size: -1,
            allow_direct: true,
            ..Config::default()
        }
    }

    fn metadata(&self) -> HashMap<String, String> {
        HashMap::from([
            (PLATFORM_KEY.to_owned(), self.platform.to_string()),
            (FORMAT_KEY.to_owned(), FORMAT.to_string()),
        ])
    }

    /// Refuses a stream that is somebody else's or would break a promise.
    fn check(&self, wanted: &Config, found: &Config) -> Result<(), NatsError> {
        let stream = found.name.clone();
        let platform = found
            .metadata
            .get(PLATFORM_KEY)
            .map_or("nobody we know", String::as_str);
        if platform != self.platform.to_string() {
            return Err(NatsError::OtherPlatform {
                stream,
                found: platform.to_owned(),
                expected: self.platform,
            });
        }
        let format = number(found, FORMAT_KEY).unwrap_or(0);
        if format != i64::from(FORMAT) {
            return Err(NatsError::Newer {
                stream,
                found: u32::try_from(format).unwrap_or(0),
                expected: FORMAT,
            });
        }
        match fault_of(wanted, found) {
            Some(why) => Err(NatsError::Incompatible {
                stream,
                why: why.to_owned(),
            }),
            None => Ok(()),
        }
    }
}

/// The first way in which `found` would break a promise that `wanted` keeps.
fn fault_of(wanted: &Config, found: &Config) -> Option<&'static str> {
    let faults = [
        (
            found.retention != wanted.retention,
            "its retention must be `limits`, or entries go before they are stored",
        ),
        (
            found.discard != wanted.discard,
            "it must discard new messages when it is full, or acknowledged ones are lost",
        ),
        (
            found.persist_mode == Some(PersistenceMode::Async),
            "its persist mode must not be `async`, which acknowledges before writing",
        ),
        (
            found.storage != wanted.storage,
            "it must be stored in files, or a restart loses it",
        ),
        (found.no_ack, "it must acknowledge, or nobody knows what is stored"),
        (
            found.max_age != wanted.max_age,
            "its `max_age` must be as `trunkline migrate` made it, or entries go before they are stored",
        ),
        (
            found.max_messages > 0 || found.max_messages_per_subject != wanted.max_messages_per_subject,
            "it must not be limited in messages",
        ),
        (
            found.subjects != wanted.subjects || found.subject_transform.is_some(),
            "it does not take the subjects that it should",
        ),
        (
            found.republish != wanted.republish || !found.allow_direct,
            "it must republish and allow direct access as `trunkline migrate` made it",
        ),
        (
            found.duplicate_window < wanted.duplicate_window,
            "its `duplicate_window` must be as `trunkline migrate` made it, or what is sent again is stored twice",
        ),
        (
            found.allow_rollup,
            "it must not allow rollups, by which whoever may write one key removes all others",
        ),
        (
            found.sealed || found.mirror.is_some(),
            "it must be neither sealed nor a mirror",
        ),
    ];
    faults.into_iter().find_map(|(is_so, why)| is_so.then_some(why))
}

fn number(config: &Config, key: &str) -> Option<i64> {
    config.metadata.get(key)?.parse().ok()
}

fn facts(info: &Info) -> Result<LogFacts, NatsError> {
    let shards = number(&info.config, SHARDS_KEY).and_then(|shards| u16::try_from(shards).ok());
    let incarnation = number(&info.config, INCARNATION_KEY).map(Incarnation);
    match (shards, incarnation) {
        (Some(shards @ 1..), Some(incarnation)) => Ok(LogFacts { shards, incarnation }),
        _ => Err(NatsError::Incompatible {
            stream: info.config.name.clone(),
            why: "it does not say how many shards its log has; it was not made by `trunkline migrate`".to_owned(),
        }),
    }
}

/// Why a step of opening failed.
pub(super) fn failed(step: &'static str, error: &ApiError) -> NatsError {
    match error {
        ApiError::Nobody => NatsError::NoJetStream,
        ApiError::Refused { code, .. } if code::NOT_ENABLED.contains(code) => NatsError::NoJetStream,
        ApiError::Refused { .. } => NatsError::Refused(format!("{step}: {error}")),
        ApiError::Unanswered(cause) => NatsError::Failed {
            step,
            cause: cause.clone(),
        },
    }
}

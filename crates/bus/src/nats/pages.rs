//! Reading streams without leaving anything on the server: by position, by subject, and the last of many subjects.

use std::time::Duration;

use async_nats::datetime::parse_rfc3339;
use async_nats::jetstream;
use async_nats::jetstream::stream::Info;
use async_nats::{HeaderMap, Message, StatusCode, Subscriber};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{ApiError, code};
use super::connect::{ANSWER_WAIT_MAX, Connection};
use crate::log::ReadLimit;

/// Entries that one request gives at most.
const PAGE_ENTRIES_MAX: usize = 1_000;
/// How long the server keeps a cursor that was not closed, in nanoseconds.
const CURSOR_KEPT_NS: u64 = 10_000_000_000;
/// Header of the id by which the server knows a message that comes again.
pub(super) const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The status by which the server ends a page.
const END_OF_PAGE: u16 = 204;

/// One message of a stream.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) subject: String,
    pub(super) sequence: u64,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// The id that its publisher gave a message with these headers.
pub(super) fn message_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(MESSAGE_ID).map(|id| id.as_str())
}

/// The last messages of some subjects, each with its age by the server's clock.
pub(super) type Found = Vec<(Held, Duration)>;

/// The oldest message of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Oldest {
    pub(super) sequence: u64,
    /// When it was stored, by the server's clock, since the Unix epoch.
    pub(super) stored_at: Duration,
}

/// What a stream holds, as its leader says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) messages: u64,
    /// The last sequence that was given.
    pub(super) last: u64,
}

/// What a [`Cursor`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    All,
    /// Headers; the payload's size is the one called `Nats-Msg-Size`.
    Headers,
}

/// The last message of `subject`, asked of the stream's leader.
pub(super) async fn last(connection: &Connection, stream: &str, subject: &str) -> Result<Option<Held>, ApiError> {
    one(connection, stream, &json!({ "last_by_subj": subject })).await
}

/// The message at `sequence`, asked of the stream's leader.
pub(super) async fn at(connection: &Connection, stream: &str, sequence: u64) -> Result<Option<Held>, ApiError> {
    one(connection, stream, &json!({ "seq": sequence })).await
}

async fn one(connection: &Connection, stream: &str, question: &Value) -> Result<Option<Held>, ApiError> {
    #[derive(Deserialize)]
    struct Answer {
        message: Stored,
    }
    #[derive(Deserialize)]
    struct Stored {
        subject: String,
        seq: u64,
        #[serde(default)]
        hdrs: String,
        #[serde(default)]
        data: String,
    }
    let answer = connection
        .ask::<Answer>(format!("STREAM.MSG.GET.{stream}"), question)
        .await;
    let stored = match answer {
        Ok(answer) => answer.message,
        Err(ApiError::Refused {
            code: code::MESSAGE_NOT_FOUND,
            ..
        }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let decode = |text: &str| STANDARD.decode(text).map_err(|error| nonsense(&error));
    Ok(Some(Held {
        headers: read_headers(&decode(&stored.hdrs)?),
        payload: decode(&stored.data)?.into(),
        subject: stored.subject,
        sequence: stored.seq,
    }))
}

/// The last message of each subject that one of `filters` matches.
pub(super) async fn last_of_each(
    connection: &Connection,
    stream: &str,
    filters: Vec<String>,
) -> Result<Found, ApiError> {
    let start = json!({ "deliver_policy": "last_per_subject", "filter_subjects": filters });
    let mut cursor = Cursor::open(connection, stream, start, Parts::All).await?;
    let mut found = Vec::new();
    while let Some(page) = cursor.next().await? {
        let aged = |delivered: Delivered| (delivered.held, cursor.now.saturating_sub(delivered.stored_at));
        found.extend(page.into_iter().map(aged));
    }
    cursor.close().await;
    Ok(found)
}

/// What the stream holds.
pub(super) async fn bounds(connection: &Connection, stream: &str) -> Result<Bounds, ApiError> {
    let info = connection.ask::<Info>(format!("STREAM.INFO.{stream}"), &()).await?;
    Ok(Bounds {
        messages: info.state.messages,
        last: info.state.last_sequence,
    })
}

/// The last sequence that was given, when nothing of `subjects`, which are all, is held from `from` on. A server tells neither a
/// message that it cannot read nor one that a replica does not have yet from one that was removed; so the leader is asked for the last
/// that it holds.
///
/// # Errors
/// [`ApiError::Unanswered`] when something is held there.
pub(super) async fn nothing_from(
    connection: &Connection,
    stream: &str,
    subjects: &str,
    from: u64,
) -> Result<u64, ApiError> {
    let bounds = bounds(connection, stream).await?;
    if bounds.messages == 0 || bounds.last < from {
        return Ok(bounds.last);
    }
    match last(connection, stream, subjects).await? {
        Some(held) if held.sequence < from => Ok(bounds.last),
        Some(_) | None => Err(nonsense(&format!(
            "the server gives nothing of {stream} from {from} on"
        ))),
    }
}

/// Messages from the sequence `from` on; none when there is none, or the server cannot read it.
pub(super) async fn page(
    connection: &Connection,
    stream: &str,
    from: u64,
    limit: ReadLimit,
) -> Result<Vec<Held>, ApiError> {
    let question = json!({
        "seq": from,
        "batch": limit.entries.clamp(1, PAGE_ENTRIES_MAX),
        "max_bytes": limit.bytes.max(1),
        "next_by_subj": ">",
    });
    direct(connection, stream, &question).await
}

/// The oldest message.
pub(super) async fn oldest(connection: &Connection, stream: &str) -> Result<Option<Oldest>, ApiError> {
    let one = ReadLimit { entries: 1, bytes: 1 };
    let page = page(connection, stream, 1, one).await?;
    let Some(held) = page.first() else {
        return Ok(None);
    };
    let stored_at = held.headers.get("Nats-Time-Stamp").map_or("", |time| time.as_str());
    Ok(Some(Oldest {
        sequence: held.sequence,
        stored_at: since_epoch(stored_at)?,
    }))
}

/// The first sequence that was stored at `time`, since the Unix epoch, or after.
pub(super) async fn first_since(
    connection: &Connection,
    stream: &str,
    time: Duration,
) -> Result<Option<u64>, ApiError> {
    let nanos = i128::try_from(time.as_nanos()).unwrap_or(i128::MAX);
    let time = async_nats::datetime::from_nanos(nanos).map_err(|error| nonsense(&error))?;
    let time = time.to_string().replacen(' ', "T", 1).replacen(" +00:00:00", "Z", 1);
    let question = json!({ "start_time": time, "batch": 1, "next_by_subj": ">" });
    let found = direct(connection, stream, &question).await?;
    Ok(found.first().map(|held| held.sequence))
}

async fn direct(connection: &Connection, stream: &str, question: &Value) -> Result<Vec<Held>, ApiError> {
    let prefix = "$JS.API.DIRECT.GET";
    let mut answers = Answers::ask(connection, format!("{prefix}.{stream}"), question).await?;
    let mut held: Vec<Held> = Vec::new();
    while let Some(message) = answers.next().await? {
        let next = read_direct(message)?;
        // Part of a page is lost when the connection breaks in its midst.
        let before = next
            .headers
            .get("Nats-Last-Sequence")
            .map_or("0", |before| before.as_str());
        let expected = held.last().map_or(0, |last| last.sequence);
        if before.parse() != Ok(expected) {
            return Err(nonsense(&"part of a page is missing"));
        }
        held.push(next);
    }
    Ok(held)
}

/// What a cursor gives.
#[derive(Debug)]
pub(super) struct Delivered {
    pub(super) held: Held,
    /// When it was stored, by the server's clock, since the Unix epoch.
    stored_at: Duration,
}

/// Reads through a stream once. The server forgets it when it is not used.
pub(super) struct Cursor<'bus> {
    connection: &'bus Connection,
    next_subject: String,
    end_subject: String,
    pending: u64,
    /// Messages that it gave.
    given: u64,
    /// The server's time when it was opened, since the Unix epoch.
    now: Duration,
}

impl<'bus> Cursor<'bus> {
    /// Opens one where `start` says, in the words of a consumer's configuration.
    pub(super) async fn open(
        connection: &'bus Connection,
        stream: &str,
        start: Value,
        parts: Parts,
    ) -> Result<Self, ApiError> {
        #[derive(Deserialize)]
        struct Made {
            num_pending: u64,
            ts: String,
        }
        let name = uuid::Uuid::new_v4().simple().to_string();
        let mut config = json!({
            "name": name,
            "ack_policy": "none",
            "mem_storage": true,
            "num_replicas": 1,
            "inactive_threshold": CURSOR_KEPT_NS,
            "headers_only": parts == Parts::Headers,
        });
        if let (Some(config), Value::Object(start)) = (config.as_object_mut(), start) {
            config.extend(start);
        }
        let question = json!({ "stream_name": stream, "config": config });
        let made: Made = connection
            .ask(format!("CONSUMER.CREATE.{stream}.{name}"), &question)
            .await?;
        Ok(Self {
            connection,
            next_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"),
            end_subject: format!("$JS.API.CONSUMER.DELETE.{stream}.{name}"),
            pending: made.num_pending,
            given: 0,
            now: since_epoch(&made.ts)?,
        })
    }

    /// The next messages; `None` after the last that was there when it was opened.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Delivered>>, ApiError> {
        if self.pending == 0 {
            return Ok(None);
        }
        let wanted = self.pending.min(PAGE_ENTRIES_MAX as u64);
        let question = json!({ "batch": wanted, "no_wait": true });
        let mut answers = Answers::ask(self.connection, self.next_subject.clone(), &question).await?;
        let mut held = Vec::new();
        while (held.len() as u64) < wanted
            && let Some(message) = answers.next().await?
        {
            let (number, delivered) = read_delivered(message, self.connection)?;
            self.given += 1;
            if number != self.given {
                return Err(nonsense(&"part of a page is missing"));
            }
            held.push(delivered);
        }
        // Messages that went meanwhile are not counted any more, and whoever reads on finds nothing.
        self.pending = if held.is_empty() {
            0
        } else {
            self.pending - held.len() as u64
        };
        Ok(Some(held))
    }

    /// Lets the server forget it now. Whether that succeeds is all the same: it forgets by itself.
    pub(super) async fn close(&self) {
        let sent = self.connection.client.publish(self.end_subject.clone(), Bytes::new());
        let _ = tokio::time::timeout(ANSWER_WAIT_MAX, sent).await;
    }
}

/// The answers to one question.
struct Answers(Subscriber);

impl Answers {
    async fn ask(connection: &Connection, subject: String, question: &Value) -> Result<Self, ApiError> {
        let inbox = connection.client.new_inbox();
        let asked = async {
            let answers = connection
                .client
                .subscribe(inbox.clone())
                .await
                .map_err(|error| nonsense(&error))?;
            let question = Bytes::from(question.to_string());
            let sent = connection.client.publish_with_reply(subject, inbox, question).await;
            sent.map_err(|error| nonsense(&error))?;
            Ok(Self(answers))
        };
        in_time(asked).await
    }

    /// The next answer; `None` when the server says that there is no more.
    async fn next(&mut self) -> Result<Option<Message>, ApiError> {
        let Some(message) = in_time(async { Ok(self.0.next().await) }).await? else {
            return Err(nonsense(&"the connection ended"));
        };
        match message.status {
            None => Ok(Some(message)),
            Some(StatusCode::NO_RESPONDERS) => Err(ApiError::Nobody),
            Some(status) if status == StatusCode::NOT_FOUND || status.as_u16() == END_OF_PAGE => Ok(None),
            Some(status) => Err(nonsense(&format!(
                "status {status}: {}",
                message.description.unwrap_or_default()
            ))),
        }
    }
}

async fn in_time<T>(future: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    match tokio::time::timeout(ANSWER_WAIT_MAX, future).await {
        Ok(outcome) => outcome,
        Err(_) => Err(nonsense(&"no answer in time")),
    }
}

fn read_direct(message: Message) -> Result<Held, ApiError> {
    let headers = message.headers.unwrap_or_default();
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.as_str().to_owned())
            .unwrap_or_default()
    };
    let sequence = text("Nats-Sequence")
        .parse()
        .map_err(|_| nonsense(&"a message without its sequence"))?;
    Ok(Held {
        subject: text("Nats-Subject"),
        sequence,
        payload: message.payload,
        headers,
    })
}

/// A message, and which one of its cursor it is, from 1.
fn read_delivered(message: Message, connection: &Connection) -> Result<(u64, Delivered), ApiError> {
    let message = jetstream::Message {
        message,
        context: connection.jetstream.clone(),
    };
    let info = message.info().map_err(|error| nonsense(&error))?;
    let stored_at = nanos(info.published.unix_timestamp_nanos());
    let (number, sequence) = (info.consumer_sequence, info.stream_sequence);
    let message = message.message;
    let held = Held {
        subject: message.subject.into_string(),
        sequence,
        headers: message.headers.unwrap_or_default(),
        payload: message.payload,
    };
    Ok((number, Delivered { held, stored_at }))
}

/// Headers as they stand on the wire: a line for the version, then one for each.
fn read_headers(wire: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let text = String::from_utf8_lossy(wire);
    for line in text.lines().skip(1) {
        if let Some((name, value)) = line.split_once(':') {
            headers.append(name, value.trim());
        }
    }
    headers
}

fn since_epoch(time: &str) -> Result<Duration, ApiError> {
    let time = parse_rfc3339(time).map_err(|error| nonsense(&error))?;
    Ok(nanos(time.unix_timestamp_nanos()))
}

fn nanos(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

fn nonsense(cause: &(impl std::fmt::Display + ?Sized)) -> ApiError {
    ApiError::Unanswered(cause.to_string())
}

#[cfg(test)]
mod tests {
    use trunkline_testkit::Nats;

    use super::*;
    use crate::nats::NatsConfig;
    use crate::nats::identity::Identity;

    #[tokio::test]
    async fn only_what_the_leader_does_not_hold_counts_as_removed() {
        let nats = Nats::start();
        let config = NatsConfig {
            urls: vec![nats.url()],
            ..NatsConfig::default()
        };
        let connection = Connection::open(&config, Identity::Nobody, "test").await.unwrap();
        let stream = json!({ "name": "s", "subjects": ["s.*"], "storage": "file", "allow_direct": true });
        let _: Value = connection.ask("STREAM.CREATE.s".to_owned(), &stream).await.unwrap();
        for sequence in 1..=10 {
            let subject = if sequence > 7 { "s.late" } else { "s.early" };
            let stored = connection.store(subject.to_owned(), HeaderMap::new(), "x".into());
            assert_eq!(stored.await.unwrap().seq, sequence);
        }
        let whole = ReadLimit {
            entries: 4,
            bytes: 1_000,
        };
        let page = page(&connection, "s", 3, whole).await.unwrap();
        assert!(page.iter().map(|held| held.sequence).eq(3..=6));
        assert!(nothing_from(&connection, "s", "s.*", 3).await.is_err(), "it holds that");
        assert_eq!(nothing_from(&connection, "s", "s.*", 11).await, Ok(10));
        let late = json!({ "filter": "s.late" });
        let _: Value = connection.ask("STREAM.PURGE.s".to_owned(), &late).await.unwrap();
        assert_eq!(nothing_from(&connection, "s", "s.*", 8).await, Ok(10));
        assert!(nothing_from(&connection, "s", "s.*", 7).await.is_err());
        let _: Value = connection.ask("STREAM.PURGE.s".to_owned(), &json!({})).await.unwrap();
        assert_eq!(nothing_from(&connection, "s", "s.*", 1).await, Ok(10));
    }
}

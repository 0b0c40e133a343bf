//! Notices a server that came back with less than it acknowledged: a power cut at tier `written`, or an old copy restored.
//!
//! Sequences and revisions would be given twice, and nobody could tell. So the logs get a new incarnation and the process ends with
//! one sentence. The writer gives it, when it notices the loss or when it starts and finds positions beyond what is held.
//!
//! After each time that a connection broke, what was known of a stream is compared with what it holds. Its last sequence tells only
//! while nobody else has appended since; so whoever follows a shard compares the id of the entry at its position too, before it takes
//! what comes behind that for what comes next. Buckets hold no ids: there the revision alone tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_nats::jetstream::stream::Info;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use trunkline_core::Clock;

use super::connect::Connection;
use super::names::LogName;
use crate::log::Incarnation;
use crate::state::{Expect, Key, State, StateError};

/// Rest before a server that does not answer is asked again.
const RETRY_REST: Duration = Duration::from_secs(1);

/// Tells the sentence with which the process must end, once there is one.
pub(super) type Failure = watch::Receiver<Option<String>>;

/// A stream, and what it is known to have stored.
pub(super) struct Watched {
    pub(super) stream: String,
    pub(super) known: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Watched {
    /// A stream whose highest known sequence is counted in `known`.
    pub(super) fn counted(stream: String, known: Arc<AtomicU64>) -> Self {
        Self {
            stream,
            known: Box::new(move || known.load(Relaxed)),
        }
    }
}

/// Looks after the streams of one process.
pub(super) struct Lookout {
    pub(super) connection: Connection,
    pub(super) watched: Vec<Watched>,
    /// What those who follow a log find lost.
    pub(super) told: mpsc::Receiver<String>,
    /// How to give the logs a new incarnation, where that is our part.
    pub(super) renewal: Option<Renewal>,
    pub(super) tell: watch::Sender<Option<String>>,
}

/// What a new incarnation takes.
pub(super) struct Renewal {
    state: Arc<dyn State>,
    clock: Arc<dyn Clock>,
}

impl Renewal {
    pub(super) fn new(state: &Arc<dyn State>, clock: &Arc<dyn Clock>) -> Self {
        Self {
            state: state.clone(),
            clock: clock.clone(),
        }
    }
}

impl Lookout {
    /// Waits for the first loss, until `closing`.
    pub(super) async fn run(mut self, closing: CancellationToken) {
        // Cancel safe: a comparison that is given up changes nothing, and a loss that is told stays told.
        let lost = tokio::select! {
            () = closing.cancelled() => return,
            Some(sentence) = self.told.recv() => sentence,
            Some(sentence) = compare(&self.connection, &self.watched) => sentence,
            else => return,
        };
        error!("{lost}");
        self.renew().await;
        self.tell.send_replace(Some(lost));
    }

    async fn renew(&self) {
        let Some(Renewal { state, clock }) = &self.renewal else {
            return;
        };
        for log in LogName::ALL {
            let next = Incarnation(clock.now().micros());
            let renewed = match incarnation(&**state, log, next).await {
                Ok((_, expect)) => renew(&**state, log, expect, next).await,
                Err(error) => Err(error),
            };
            if let Err(error) = renewed {
                error!(%error, log = log.as_str(), "the log goes on under its old incarnation");
            }
        }
    }
}

/// Compares the last sequences of all that is `watched` with the server each time that the connection broke, and gives the first
/// loss in one sentence; `None` when there is no connection any more.
async fn compare(connection: &Connection, watched: &[Watched]) -> Option<String> {
    let mut link = connection.link.clone();
    let mut breaks = 0;
    loop {
        let came_back = link.wait_for(|link| link.is_up && link.breaks != breaks).await;
        breaks = came_back.ok()?.breaks;
        for stream in watched {
            if let Some(sentence) = loss(connection, stream).await {
                return Some(sentence);
            }
        }
    }
}

/// What is said when a stream has another entry than before at `sequence`, or none.
pub(super) fn replaced(stream: &str, sequence: u64) -> String {
    format!(
        "the stream `{stream}` on NATS lost what it had acknowledged: the entry at {sequence} is not the one that was there"
    )
}

/// What `watched` lost, in one sentence.
async fn loss(connection: &Connection, watched: &Watched) -> Option<String> {
    let stream = &watched.stream;
    loop {
        // Known before the question, so that what is stored meanwhile cannot look like a loss.
        let known = (watched.known)();
        let info = connection.ask::<Info>(format!("STREAM.INFO.{stream}"), &()).await;
        match info {
            Ok(info) if info.state.last_sequence >= known => return None,
            Ok(info) => {
                let last = info.state.last_sequence;
                return Some(format!(
                    "the stream `{stream}` on NATS lost what it had acknowledged: it was at {known} and is at {last}"
                ));
            }
            Err(error) => warn!(%error, stream, "NATS does not tell what it holds; it is asked again"),
        }
        tokio::time::sleep(RETRY_REST).await;
    }
}

/// The incarnation of `log` in force: the one that it was `made` with, or one that came after a loss.
pub(super) async fn incarnation(
    state: &dyn State,
    log: LogName,
    made: Incarnation,
) -> Result<(Incarnation, Expect), StateError> {
    let Some(entry) = state.get(&key(log)).await? else {
        return Ok((made, Expect::Absent));
    };
    let renewed = entry.value.as_ref().try_into().map(i64::from_be_bytes);
    let incarnation = renewed.map_or(made, |micros| made.max(Incarnation(micros)));
    Ok((incarnation, Expect::Revision(entry.revision)))
}

/// Gives `log` the incarnation `next` after a loss, unless another process did at the same time.
pub(super) async fn renew(
    state: &dyn State,
    log: LogName,
    expect: Expect,
    next: Incarnation,
) -> Result<(), StateError> {
    let value = next.0.to_be_bytes().to_vec().into();
    match state.compare_and_swap(&key(log), expect, value).await {
        Ok(_) | Err(StateError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn key(log: LogName) -> Key {
    Key::durable(format!("bus.incarnation.{}", log.as_str()))
}

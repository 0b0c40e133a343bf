//! The transactional outbox: an event is stored with the change that it tells, and published after the commit.
//!
//! Delivery is at least once; events of one transaction leave in the order in which they were appended, and so do those of
//! transactions that touched the same row. Consumers drop repetitions by the event's id. Several processes may run the outbox
//! of one service: each then publishes every event that it sees, and the repetitions are dropped likewise.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use sea_query::{Alias, Expr, ExprTrait as _, Query};
use trunkline_core::Timestamp;
use uuid::Uuid;

use crate::{Db, Error, Row, Tx, params};

/// Most events that are published at once.
pub const BATCH_MAX: usize = 128;
/// How often the outbox is looked at without being rung for: events that another process stored, or that were left over.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// The wait after the first failure; it doubles with each further one.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The longest wait after a failure.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

const APPEND: &str = "
    INSERT INTO outbox (id, payload, created_at)
    VALUES ($1, $2, $3)";

const OLDEST: &str = "
    SELECT sequence, id, payload
    FROM outbox
    ORDER BY sequence
    LIMIT $1";

/// An event that waits in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the outbox.
    pub sequence: i64,
    /// The event's own id, by which consumers drop repetitions.
    pub id: Uuid,
    /// The encoded event.
    pub payload: Vec<u8>,
}

impl Event {
    fn read(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            sequence: row.get("sequence")?,
            id: row.get("id")?,
            payload: row.get("payload")?,
        })
    }
}

/// Stores an event with the other changes of `tx`. It is published once they are committed.
pub async fn append(tx: &mut Tx<'_>, id: Uuid, payload: &[u8], now: Timestamp) -> Result<(), Error> {
    tx.execute(APPEND, params![id, payload, now]).await?;
    tx.has_events = true;
    Ok(())
}

/// Publishes the events of `db`, oldest first, until `cancel` is done.
///
/// A batch is taken out of the outbox after `publish` has returned `Ok` for it; on an error the same batch is tried again,
/// later and later. Cancelling at any point repeats at most one batch after the next start.
pub async fn run<P, F, E>(db: &Db, publish: P, cancel: impl Future<Output = ()>)
where
    P: Fn(Vec<Event>) -> F,
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    tokio::select! {
        () = cancel => {}
        () = drain_forever(db, publish) => {}
    }
}

async fn drain_forever<P, F, E>(db: &Db, publish: P)
where
    P: Fn(Vec<Event>) -> F,
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    let mut delay = RETRY_DELAY;
    loop {
        match drain(db, &publish).await {
            Ok(()) => {
                delay = RETRY_DELAY;
                // The bell keeps one ring, so an append between the look and this wait is not missed.
                let _ = tokio::time::timeout(POLL_INTERVAL, db.outbox_fed.notified()).await;
            }
            Err(reason) => {
                tracing::warn!(reason, retry_ms = delay.as_millis(), "events could not be published");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(RETRY_DELAY_MAX);
            }
        }
    }
}

/// Publishes batch after batch until the outbox is empty.
async fn drain<P, F, E>(db: &Db, publish: &P) -> Result<(), String>
where
    P: Fn(Vec<Event>) -> F,
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    loop {
        let batch = oldest(db).await.map_err(|error| detail(&error))?;
        if batch.is_empty() {
            return Ok(());
        }
        let sequences = batch.iter().map(|event| event.sequence).collect();
        publish(batch).await.map_err(|error| error.to_string())?;
        remove(db, sequences).await.map_err(|error| detail(&error))?;
    }
}

/// With what lies behind it: this is for the log alone.
fn detail(error: &Error) -> String {
    format!("{error:?}")
}

async fn oldest(db: &Db) -> Result<Vec<Event>, Error> {
    db.fetch_all(OLDEST, params![BATCH_MAX as i64], Event::read).await
}

/// Removes exactly these: on Postgres a lower sequence may be committed later than a higher one.
async fn remove(db: &Db, sequences: Vec<i64>) -> Result<(), Error> {
    let delete = Query::delete()
        .from_table(Alias::new("outbox"))
        .cond_where(Expr::col(Alias::new("sequence")).is_in(sequences))
        .take();
    db.write(|tx| Box::pin(async { tx.execute_built(&delete).await }))
        .await?;
    Ok(())
}

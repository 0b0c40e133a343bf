//! The outbox publishes what was committed, in order, at least once, and nothing else.
#![allow(clippy::unwrap_used, missing_docs)]

mod both;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use both::both;
use tokio::sync::{mpsc, oneshot};
use trunkline_core::Timestamp;
use trunkline_db::outbox::{self, Event};
use trunkline_db::{Db, Error, params};
use uuid::Uuid;

const NOW: Timestamp = Timestamp::from_micros(1);
const DEADLINE: Duration = Duration::from_secs(20);

const WAITING: &str = "
    SELECT COUNT(*) AS n
    FROM outbox";

async fn append(db: &Db, payloads: &[&[u8]]) {
    let appended = db.write(|tx| {
        Box::pin(async {
            for payload in payloads {
                outbox::append(tx, Uuid::now_v7(), payload, NOW).await?;
            }
            Ok::<_, Error>(())
        })
    });
    appended.await.unwrap();
}

async fn waiting(db: &Db) -> i64 {
    db.fetch_one(WAITING, params![], |row| row.get("n")).await.unwrap()
}

/// Runs the outbox of `db` with a publisher that fails `failures` times; gives the published payloads and the way to end it.
fn start(
    db: &Db,
    failures: usize,
) -> (
    mpsc::UnboundedReceiver<Vec<u8>>,
    oneshot::Sender<()>,
    tokio::task::JoinHandle<()>,
) {
    let (published, receiver) = mpsc::unbounded_channel();
    let (cancel, cancelled) = oneshot::channel::<()>();
    let db = db.clone();
    let task = tokio::spawn(async move {
        let tries = AtomicUsize::new(0);
        let publish = |events: Vec<Event>| {
            let is_refused = tries.fetch_add(1, Ordering::Relaxed) < failures;
            let published = published.clone();
            async move {
                assert!(events.len() <= outbox::BATCH_MAX);
                if is_refused {
                    return Err("the bus is away");
                }
                for event in events {
                    published.send(event.payload).unwrap();
                }
                Ok(())
            }
        };
        outbox::run(&db, publish, async { drop(cancelled.await) }).await;
    });
    (receiver, cancel, task)
}

async fn next(receiver: &mut mpsc::UnboundedReceiver<Vec<u8>>) -> Vec<u8> {
    tokio::time::timeout(DEADLINE, receiver.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn committed_events_are_published_in_order_and_then_gone() {
    for opened in both().await {
        append(&opened.db, &[b"1", b"2"]).await;
        let (mut published, cancel, task) = start(&opened.db, 0);
        append(&opened.db, &[b"3"]).await;
        for expected in [b"1", b"2", b"3"] {
            assert_eq!(next(&mut published).await, expected);
        }
        let db = &opened.db;
        trunkline_testkit::until(DEADLINE, || async { waiting(db).await == 0 }).await;
        cancel.send(()).unwrap();
        task.await.unwrap();
    }
}

#[tokio::test]
async fn an_event_whose_change_was_rolled_back_is_not_published() {
    for opened in both().await {
        let refused = opened.db.write(|tx| {
            Box::pin(async {
                outbox::append(tx, Uuid::now_v7(), b"lost", NOW).await?;
                Err::<(), Error>(Error::Foreign)
            })
        });
        assert!(refused.await.is_err());
        append(&opened.db, &[b"kept"]).await;
        let (mut published, cancel, task) = start(&opened.db, 0);
        assert_eq!(next(&mut published).await, b"kept");
        cancel.send(()).unwrap();
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_batch_is_published_again_before_what_follows() {
    for opened in both().await {
        append(&opened.db, &[b"1", b"2"]).await;
        let (mut published, cancel, task) = start(&opened.db, 2);
        append(&opened.db, &[b"3"]).await;
        for expected in [b"1", b"2", b"3"] {
            assert_eq!(next(&mut published).await, expected);
        }
        cancel.send(()).unwrap();
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_batch_is_bounded_and_a_long_outbox_is_emptied_without_pausing() {
    for opened in both().await {
        let payloads = vec![b"x".as_slice(); outbox::BATCH_MAX * 2 + 1];
        append(&opened.db, &payloads).await;
        let started = Instant::now();
        let (mut published, cancel, task) = start(&opened.db, 0);
        for _ in &payloads {
            next(&mut published).await;
        }
        assert!(started.elapsed() < outbox::POLL_INTERVAL);
        cancel.send(()).unwrap();
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_local_append_is_published_without_waiting_for_the_next_look() {
    for opened in both().await {
        let (mut published, cancel, task) = start(&opened.db, 0);
        append(&opened.db, &[b"1"]).await;
        next(&mut published).await;
        // The outbox is idle now; several rings in a row cannot all fall together with a look.
        let started = Instant::now();
        for _ in 0..3 {
            append(&opened.db, &[b"2"]).await;
            next(&mut published).await;
        }
        assert!(started.elapsed() < outbox::POLL_INTERVAL);
        cancel.send(()).unwrap();
        task.await.unwrap();
    }
}

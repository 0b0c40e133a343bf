//! Changes of the durable keyspace, those that wait together in one transaction: it costs one sync, however many they are.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::store::Store;
use super::{Memory, check_expected, closed, unavailable};
use crate::state::{Expect, Key, StateError};

/// Changes of one transaction, and those that wait for the next.
const CHANGES_MAX: usize = 128;

/// What is to become of a key.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) expect: Expect,
    /// The new value; none to delete it.
    pub(super) value: Option<Bytes>,
}

/// A change, and where its answer goes.
struct Job {
    change: Change,
    answer: oneshot::Sender<Result<u64, StateError>>,
}

/// The way to the task that owns the connection for writing.
pub(super) struct Committer {
    jobs: mpsc::Sender<Job>,
}

impl Committer {
    /// Starts the task. It ends, and closes the file, when this is gone; the receiver is told then.
    pub(super) fn start(store: Store, memory: Arc<Memory>) -> (Self, oneshot::Receiver<()>) {
        let (jobs, waiting) = mpsc::channel(CHANGES_MAX);
        let (ended, end) = oneshot::channel();
        tokio::spawn(async move {
            commit_all(store, waiting, &memory).await;
            let _ = ended.send(());
        });
        (Self { jobs }, end)
    }

    /// Makes a change; returns its revision once it is durable. When dropped, it may happen or not.
    ///
    /// # Errors
    /// As [`State::compare_and_swap`](crate::State::compare_and_swap).
    pub(super) async fn change(&self, change: Change) -> Result<u64, StateError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job { change, answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

async fn commit_all(mut store: Store, mut waiting: mpsc::Receiver<Job>, memory: &Memory) {
    let mut jobs = Vec::with_capacity(CHANGES_MAX);
    while waiting.recv_many(&mut jobs, CHANGES_MAX).await > 0 {
        match commit(&mut store, &jobs).await {
            Ok(outcomes) => {
                for (job, outcome) in jobs.drain(..).zip(outcomes) {
                    if let Ok(revision) = outcome {
                        memory.tell(&job.change.key, job.change.value, revision);
                    }
                    let _ = job.answer.send(outcome);
                }
            }
            Err(cause) => {
                for job in jobs.drain(..) {
                    let _ = job.answer.send(Err(unavailable(&cause)));
                }
            }
        }
    }
    if let Err(cause) = store.close().await {
        tracing::warn!(error = %cause, "the state file did not close cleanly");
    }
}

/// Makes the changes in their order, each seeing those before it. Those that do not find what they expect leave the others alone.
async fn commit(store: &mut Store, jobs: &[Job]) -> Result<Vec<Result<u64, StateError>>, sqlx::Error> {
    let mut batch = store.begin().await?;
    let mut outcomes = Vec::with_capacity(jobs.len());
    for Job { change, .. } in jobs {
        let name = change.key.name();
        let current = batch.revision(name).await?;
        outcomes.push(match check_expected(change.expect, current) {
            Ok(()) => Ok(batch.put(name, change.value.as_deref()).await?),
            Err(conflict) => Err(conflict),
        });
    }
    batch.commit().await?;
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, expect: Expect, value: Option<&'static str>) -> Job {
        let (answer, _) = oneshot::channel();
        let change = Change {
            key: Key::durable(name),
            expect,
            value: value.map(|value| Bytes::from_static(value.as_bytes())),
        };
        Job { change, answer }
    }

    #[tokio::test]
    async fn each_change_sees_those_before_it_and_a_conflict_leaves_the_others_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join("state.db")).await.unwrap();
        let jobs = [
            job("a", Expect::Absent, Some("1")),
            job("a", Expect::Absent, Some("2")),
            job("b", Expect::Absent, Some("3")),
            job("a", Expect::Revision(1), Some("4")),
            job("b", Expect::Revision(2), None),
        ];
        let outcomes = commit(&mut store, &jobs).await.unwrap();
        let conflict = Err(StateError::Conflict { current: Some(1) });
        assert_eq!(outcomes, [Ok(1), conflict, Ok(2), Ok(3), Ok(4)]);
        let found = store.get("a").await.unwrap().unwrap();
        assert_eq!((&found.value[..], found.revision), (&b"4"[..], 3));
        assert_eq!(store.get("b").await.unwrap(), None);
    }
}

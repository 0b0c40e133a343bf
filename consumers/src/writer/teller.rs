//! Tells the log what is stored, beside the writer's own work: the log's answer comes with a later commit of its own, and a writer
//! that waited for it would store nothing meanwhile.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::warn;
use trunkline_bus::Log;
use trunkline_bus::log::{LogError, Shard, WRITER_GROUP};

/// The teller of one shard. Told faster than the log answers, it passes on the latest.
pub(super) struct Teller {
    through: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Teller {
    pub(super) fn new(log: Arc<dyn Log>, shard: Shard) -> Teller {
        let (through, told) = watch::channel(0);
        let task = tokio::spawn(pass_on(log, shard, told));
        Teller { through, task }
    }

    /// Everything up to `through` is stored.
    pub(super) fn tell(&self, through: u64) {
        self.through.send_replace(through);
    }

    /// Returns when the log knows the last that was told, or cannot know it any more.
    pub(super) async fn finish(self) {
        drop(self.through);
        // A teller that panicked told nothing; the store tells the same at the next start.
        let _ = self.task.await;
    }
}

async fn pass_on(log: Arc<dyn Log>, shard: Shard, mut told: watch::Receiver<u64>) {
    // What was told last is seen before the end is.
    while told.changed().await.is_ok() {
        let through = *told.borrow_and_update();
        match log.commit(WRITER_GROUP, shard, through).await {
            Ok(()) => {}
            // It costs room in the log until the next time, and nothing else.
            Err(LogError::Failed(cause)) => warn!(%shard, cause, "could not tell the log what is stored"),
            // The writer finds that out as well.
            Err(_) => return,
        }
    }
}

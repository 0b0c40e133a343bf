//! Which shards of the log this node follows: those that somebody here subscribed in, and those that anybody ever retained a message in.
//!
//! A node that only takes messages hears of none: on NATS every follower of a shard costs the server and the node a copy of each message.

use std::sync::Arc;

use tokio::sync::watch;
use trunkline_bus::Log;
use trunkline_bus::log::{LogError, Shard};

use crate::retry::retry;

/// The shards, and where the node began in each.
pub(crate) struct Attendance {
    log: Arc<dyn Log>,
    /// By shard, the last sequence before the first that is followed; none until somebody asks for the shard.
    begins: Vec<watch::Sender<Option<u64>>>,
}

impl Attendance {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        Self {
            begins: (0..log.shards()).map(|_| watch::Sender::new(None)).collect(),
            log,
        }
    }

    /// Has `shard` followed from now on: what is stored after this returns is not missed. Gives the last sequence before the first that
    /// is followed. Cancel safe.
    ///
    /// # Errors
    /// The log has ended. One that cannot answer for the moment is asked again, without end: whoever waits bounds the time.
    pub(crate) async fn attend(&self, shard: Shard) -> Result<u64, LogError> {
        let begin = &self.begins[usize::from(shard.0)];
        if let Some(begun) = *begin.borrow() {
            return Ok(begun);
        }
        let latest = retry(u32::MAX, || self.log.latest(shard)).await?;
        let mut begun = latest;
        begin.send_if_modified(|begin| {
            let is_first = begin.is_none();
            begun = *begin.get_or_insert(latest);
            is_first
        });
        Ok(begun)
    }

    /// Waits until somebody asks for `shard`, and says where to begin. Cancel safe.
    pub(crate) async fn asked_for(&self, shard: Shard) -> Option<u64> {
        let mut begin = self.begins[usize::from(shard.0)].subscribe();
        let begun = begin.wait_for(Option::is_some).await.ok()?;
        *begun
    }
}

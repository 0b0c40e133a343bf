//! Tasks that stop together, and the order in which a node stops them.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tasks that stop together. Dropped, it stops them without waiting.
#[derive(Default)]
pub(crate) struct Phase {
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Phase {
    /// Stops the tasks and waits for their ends.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What stops when, first to last: nobody new, then what was acknowledged reaches its subscribers and its rows, then the rest.
#[derive(Default)]
pub(crate) struct Phases {
    pub(crate) listeners: Phase,
    pub(crate) delivery: Phase,
    pub(crate) background: Phase,
    /// Last of all, so that the operator sees how it ends.
    pub(crate) operator: Phase,
    pub(crate) writer: CancellationToken,
}

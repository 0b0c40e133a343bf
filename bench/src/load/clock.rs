//! One clock for all times of a run: it never goes back, and tells nanoseconds since the Unix epoch.

use std::time::{Duration, Instant, SystemTime};

/// A monotonic clock, set by the wall clock once.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    start_ns: u64,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: Instant::now(),
            start_ns: nanoseconds(since_epoch),
        }
    }

    /// The time, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.start_ns + nanoseconds(self.start.elapsed())
    }

    /// The instant of a time, no earlier than the start.
    pub(crate) fn instant(&self, time_ns: u64) -> tokio::time::Instant {
        (self.start + Duration::from_nanos(time_ns.saturating_sub(self.start_ns))).into()
    }
}

/// Good for 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

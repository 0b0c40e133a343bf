//! Waiting for a condition, with a deadline. A test that waits this way takes as long as it must and no longer.

use std::panic::Location;
use std::time::{Duration, Instant};

/// How long to rest between two looks: short beside any deadline, long enough not to starve what is waited for.
const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds, and looks at least once.
///
/// # Panics
///
/// If it does not hold within `limit`, naming the caller's line.
#[track_caller]
pub fn until<Holds>(limit: Duration, mut condition: impl FnMut() -> Holds) -> impl Future<Output = ()>
where
    Holds: Future<Output = bool>,
{
    until_some(limit, move || {
        let holds = condition();
        async move { holds.await.then_some(()) }
    })
}

/// Waits until `look` finds something and returns it; looks at least once.
///
/// # Panics
///
/// If it finds nothing within `limit`, naming the caller's line.
#[track_caller]
pub fn until_some<Found, Look>(limit: Duration, mut look: impl FnMut() -> Look) -> impl Future<Output = Found>
where
    Look: Future<Output = Option<Found>>,
{
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        loop {
            // A look that hangs must not outlive the deadline either; the first may take all the time there is.
            let remaining = deadline.saturating_duration_since(Instant::now()).max(POLL);
            if let Ok(Some(found)) = tokio::time::timeout(remaining, look()).await {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "what {caller} waits for did not come within {limit:?}"
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Looks for the whole of `time` whether `condition` holds.
///
/// # Panics
///
/// As soon as it does not hold, naming the caller's line.
#[track_caller]
pub fn throughout<Holds>(time: Duration, mut condition: impl FnMut() -> Holds) -> impl Future<Output = ()>
where
    Holds: Future<Output = bool>,
{
    let caller = Location::caller();
    async move {
        let end = Instant::now() + time;
        while Instant::now() < end {
            assert!(condition().await, "what {caller} relies on did not hold for {time:?}");
            tokio::time::sleep(POLL).await;
        }
    }
}

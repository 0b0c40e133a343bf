//! Asking the log again when it could not answer for the moment.

use std::future::Future;

use trunkline_bus::log::LogError;

use crate::limits::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN};

/// Asks up to `attempts_max` times while the backend fails, pausing longer each time. The first failure is logged. Cancel safe
/// if what is asked for is.
///
/// # Errors
/// What asking again does not mend; the last failure.
pub(crate) async fn retry<T, F>(attempts_max: u32, mut ask: impl FnMut() -> F) -> Result<T, LogError>
where
    F: Future<Output = Result<T, LogError>>,
{
    let mut pause = RETRY_PAUSE_MIN;
    for attempt in 1_u32.. {
        match ask().await {
            Err(LogError::Failed(cause)) if attempt < attempts_max => {
                if attempt == 1 {
                    tracing::warn!(cause, "the log could not be read for subscribers and is asked again");
                }
            }
            answer => return answer,
        }
        tokio::time::sleep(pause).await;
        pause = RETRY_PAUSE_MAX.min(pause * 2);
    }
    Err(LogError::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks a log that fails `failures` times.
    async fn ask(failures: u32, attempts_max: u32) -> (Result<u32, LogError>, u32) {
        let mut asked = 0;
        let answer = retry(attempts_max, || {
            asked += 1;
            std::future::ready(match asked > failures {
                true => Ok(asked),
                false => Err(LogError::Failed("busy".to_owned())),
            })
        });
        (answer.await, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_fails_for_a_while_is_asked_until_it_answers() {
        assert_eq!(ask(100, u32::MAX).await.0, Ok(101));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_attempts_are_made_than_allowed() {
        assert_eq!(ask(100, 3).await, (Err(LogError::Failed("busy".to_owned())), 3));
    }

    #[tokio::test]
    async fn a_closed_log_is_not_asked_again() {
        let mut asked = 0;
        let answer = retry(u32::MAX, || {
            asked += 1;
            std::future::ready(Err::<(), _>(LogError::Closed))
        });
        assert_eq!(answer.await, Err(LogError::Closed));
        assert_eq!(asked, 1);
    }
}

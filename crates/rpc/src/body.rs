//! Reading the bodies of calls from outside: each within a size and a time, all of them within one budget.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trunkline_core::error::{Code, Fault, reason};

use crate::stack::SHED_RETRY;

/// Bytes of one body: a message of 1 MiB and the frame around it.
const BODY_BYTES_MAX: usize = 1_024 * 1_024 + 64;
/// Time that one body may take to arrive.
const BODY_WAIT_MAX: Duration = Duration::from_secs(10);

/// The request with its whole body, and the share of `budget` that the body holds.
///
/// # Errors
/// A body that is too large, too slow or broken, or a budget that is used up.
pub(crate) async fn read(
    request: Request,
    budget: &Arc<Semaphore>,
) -> Result<(Request, Vec<OwnedSemaphorePermit>), Fault> {
    let (parts, body) = request.into_parts();
    let collected = tokio::time::timeout(BODY_WAIT_MAX, collect(body, budget)).await;
    let (bytes, held) = collected.unwrap_or_else(|_| {
        let message = format!("the body did not arrive within {} s", BODY_WAIT_MAX.as_secs());
        Err(Fault::new(Code::InvalidArgument, "BODY_INCOMPLETE", message))
    })?;
    Ok((Request::from_parts(parts, Body::from(bytes)), held))
}

async fn collect(mut body: Body, budget: &Arc<Semaphore>) -> Result<(Bytes, Vec<OwnedSemaphorePermit>), Fault> {
    let (mut bytes, mut held) = (BytesMut::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let broken = |_| Fault::new(Code::InvalidArgument, "BODY_INCOMPLETE", "the body broke off");
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > BODY_BYTES_MAX {
            let message = format!("the body is larger than {BODY_BYTES_MAX} bytes");
            return Err(Fault::new(Code::ResourceExhausted, reason::PAYLOAD_TOO_LARGE, message));
        }
        let share = u32::try_from(data.len())
            .ok()
            .and_then(|share| budget.clone().try_acquire_many_owned(share).ok());
        let Some(share) = share else {
            let fault = Fault::new(
                Code::Unavailable,
                reason::OVERLOADED,
                "too many bodies at once; repeat later",
            );
            return Err(fault.retry_after(SHED_RETRY));
        };
        held.push(share);
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), held))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(bytes: usize) -> Request {
        Request::new(Body::from(vec![0; bytes]))
    }

    #[tokio::test]
    async fn a_body_holds_its_share_of_the_budget_and_one_beyond_it_is_shed() {
        let budget = Arc::new(Semaphore::new(1_000));
        let (_, held) = read(request(900), &budget).await.unwrap();
        let refused = read(request(200), &budget).await.unwrap_err();
        assert_eq!(refused.reason, reason::OVERLOADED);
        drop(held);
        assert!(read(request(200), &budget).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let budget = Arc::new(Semaphore::new(10 * BODY_BYTES_MAX));
        let refused = read(request(BODY_BYTES_MAX + 1), &budget).await.unwrap_err();
        assert_eq!(refused.reason, reason::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let refused = read(Request::new(never), &Arc::new(Semaphore::new(10)))
            .await
            .unwrap_err();
        assert_eq!(refused.reason, "BODY_INCOMPLETE");
    }
}

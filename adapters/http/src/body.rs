//! The body of a request, read piece by piece up to the limit.

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use trunkline_core::error::{Code, Fault, reason};

use crate::answer::overloaded;
use crate::limits::{BODY_PAUSE_MAX, BODY_WAIT_MAX};

/// Refuses a body whose declared length is over the limit, before any of it is asked for.
///
/// # Errors
/// PAYLOAD_TOO_LARGE.
pub(crate) fn check_declared(body: &Body, bytes_max: usize) -> Result<(), Fault> {
    let is_too_large = usize::try_from(body.size_hint().lower()).map_or(true, |bytes| bytes > bytes_max);
    if is_too_large {
        Err(too_large(bytes_max))
    } else {
        Ok(())
    }
}

/// The whole body, and the share of `budget` that it holds.
///
/// # Errors
/// PAYLOAD_TOO_LARGE as soon as it is over the limit, EMPTY_MESSAGE, BODY_INCOMPLETE when it broke off or stalled, and OVERLOADED when
/// the bodies of all requests hold the whole budget.
pub(crate) async fn read(
    body: Body,
    bytes_max: usize,
    budget: &Semaphore,
) -> Result<(Bytes, SemaphorePermit<'_>), Fault> {
    let (payload, share) = timeout(BODY_WAIT_MAX, collect(body, bytes_max, budget))
        .await
        .map_err(|_| incomplete(&format!("took longer than {} s", BODY_WAIT_MAX.as_secs())))??;
    if payload.is_empty() {
        let message = "empty message; the body of the request is the message";
        return Err(Fault::new(Code::InvalidArgument, "EMPTY_MESSAGE", message));
    }
    Ok((payload, share))
}

async fn collect(mut body: Body, bytes_max: usize, budget: &Semaphore) -> Result<(Bytes, SemaphorePermit<'_>), Fault> {
    let mut payload = BytesMut::new();
    let mut share = budget.try_acquire_many(0).map_err(|_| overloaded())?;
    loop {
        let frame = timeout(BODY_PAUSE_MAX, body.frame())
            .await
            .map_err(|_| incomplete(&format!("paused for {} s", BODY_PAUSE_MAX.as_secs())))?;
        let Some(frame) = frame else {
            return Ok((payload.freeze(), share));
        };
        // What is no data is trailers, and they say nothing here.
        let Ok(data) = frame.map_err(|_| incomplete("broke off"))?.into_data() else {
            continue;
        };
        if payload.len() + data.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        let bytes = u32::try_from(data.len()).map_err(|_| too_large(bytes_max))?;
        share.merge(budget.try_acquire_many(bytes).map_err(|_| overloaded())?);
        payload.extend_from_slice(&data);
    }
}

/// A message over the limit.
pub(crate) fn too_large(bytes_max: usize) -> Fault {
    let message = format!("the message is larger than {bytes_max} bytes");
    Fault::new(Code::InvalidArgument, reason::PAYLOAD_TOO_LARGE, message)
}

fn incomplete(what: &str) -> Fault {
    Fault::new(Code::InvalidArgument, "BODY_INCOMPLETE", format!("the body {what}"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::{StreamExt as _, stream};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_pauses_too_long_is_given_up() {
        let first = stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"half"))]);
        let body = Body::from_stream(first.chain(stream::pending()));
        assert_eq!(
            read(body, 100, &Semaphore::new(1_000)).await.unwrap_err().reason,
            "BODY_INCOMPLETE"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up_as_well() {
        let clock = tokio::time::interval(BODY_PAUSE_MAX / 2);
        let trickle = stream::unfold(clock, |mut clock| async {
            clock.tick().await;
            Some((Ok::<_, io::Error>(Bytes::from_static(b"x")), clock))
        });
        let message = read(Body::from_stream(trickle), 100, &Semaphore::new(1_000))
            .await
            .unwrap_err()
            .message;
        assert_eq!(message, "the body took longer than 60 s");
    }
}

//! The server stack, written once: what every call passes before it reaches a guard, each layer with its reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::HeaderValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trunkline_core::error::{Code, Fault, reason};
use trunkline_core::{Clock, RequestId};
use trunkline_telemetry::traces::{Scope, Span, within};
use trunkline_telemetry::{Metrics, Tracer};

use crate::body;
use crate::caller::REQUEST_ID;
use crate::peer::{PEER_TOKEN, PEER_UNKNOWN, ServiceKey};
use crate::status;
use crate::trace::{self, known_method};

/// Time that a call may take when nobody set a shorter one.
pub const DEADLINE_MAX: Duration = Duration::from_secs(30);
/// Calls from outside that are worked on at once; further ones are shed.
pub const OUTER_CONCURRENCY_MAX: usize = 1_024;
/// Bytes of request bodies from outside that are held at once, over all calls.
const BODIES_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Wait that a shed caller is told.
pub(crate) const SHED_RETRY: Duration = Duration::from_secs(1);

/// The layers that every call passes, near or far.
pub fn inner(router: Router, metrics: &Metrics, tracer: &Tracer) -> Router {
    let (metrics, tracer) = (metrics.clone(), tracer.clone());
    router.layer(from_fn(move |request: Request, next: Next| {
        let (metrics, tracer) = (metrics.clone(), tracer.clone());
        async move {
            let mut request = request;
            // Everything that is logged or refused names the request, and so does the answer.
            let id = request
                .headers()
                .get(REQUEST_ID)
                .and_then(|value| value.to_str().ok()?.parse().ok())
                .unwrap_or_default();
            request.extensions_mut().insert::<RequestId>(id);
            let path = request.uri().path().to_owned();
            let method = known_method(&path);
            let mut span = trace::serving(&tracer, &request, method);
            let started = Instant::now();
            let scope = span.as_ref().map(Span::scope);
            let mut response = bounded(request, next, scope, (&path, id)).await;
            observe(&metrics, method, &response, started.elapsed());
            if let Some(span) = &mut span {
                span.text("request.id", id.to_string());
                trace::answered(span, response.headers());
            }
            if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
                response.headers_mut().insert(REQUEST_ID, value);
            }
            response
        }
    }))
}

/// Runs a call in a task of its own, until its deadline.
///
/// A caller that goes away or runs out of time does not interrupt the work, so nothing is left half done; a panic ends this call
/// alone. The task ends with the call: its body was read before, or comes from this process, and its own calls have deadlines. Its
/// place among the calls that are worked on is given back only then.
async fn bounded(request: Request, next: Next, scope: Option<Scope>, (path, id): (&str, RequestId)) -> Response {
    let deadline = request
        .headers()
        .get("grpc-timeout")
        .and_then(timeout_of)
        .unwrap_or(DEADLINE_MAX)
        .min(DEADLINE_MAX);
    let place = request.extensions().get::<Place>().cloned();
    let work = tokio::spawn(async move {
        let response = within(scope, next.run(request)).await;
        drop(place);
        response
    });
    match tokio::time::timeout(deadline, work).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            tracing::error!(rpc.path = path, request.id = %id, %error, "a call panicked");
            refusal(status::internal(&id.to_string()))
        }
        Err(_) => refusal(status::from_fault(Fault::new(
            Code::DeadlineExceeded,
            "DEADLINE_EXCEEDED",
            format!("the call took longer than its {} ms", deadline.as_millis()),
        ))),
    }
}

/// Has `router` answer while `is_fit`, and refuse with UNAVAILABLE at other times.
pub fn answering_while(router: Router, is_fit: impl Fn() -> bool + Clone + Send + Sync + 'static) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| {
        let is_fit = is_fit();
        async move {
            if is_fit {
                return next.run(request).await;
            }
            let message = "the service cannot be sure of what it knows at the moment; repeat later";
            let fault = Fault::new(Code::Unavailable, reason::DEPENDENCY_UNAVAILABLE, message);
            refusal(status::from_fault(fault.retry_after(SHED_RETRY)))
        }
    }))
}

/// A place among the calls from outside that are worked on; given back when the last clone is dropped.
#[derive(Clone)]
struct Place(#[allow(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

/// The layers of public listeners, on top of the inner ones.
pub fn outer(router: Router) -> Router {
    let places = Arc::new(Semaphore::new(OUTER_CONCURRENCY_MAX));
    let bodies = Arc::new(Semaphore::new(BODIES_BYTES_MAX));
    router.layer(from_fn(move |request: Request, next: Next| {
        let (places, bodies) = (places.clone(), bodies.clone());
        async move {
            let mut request = request;
            // Nobody outside may say which request this is, which process he is, or that it must be recorded.
            request.headers_mut().remove(PEER_TOKEN);
            trace::mark_outside(&mut request);
            if let Ok(value) = HeaderValue::from_str(&RequestId::new().to_string()) {
                request.headers_mut().insert(REQUEST_ID, value);
            }
            // The body comes first, within its own limits, so that a slow sender holds nobody's place.
            let (mut request, _held) = match body::read(request, &bodies).await {
                Ok(read) => read,
                Err(fault) => return refusal(status::from_fault(fault)),
            };
            // Calls beyond what can be worked on are refused at once, so that those admitted finish in time.
            let Ok(place) = places.try_acquire_owned() else {
                let fault = Fault::new(
                    Code::Unavailable,
                    reason::OVERLOADED,
                    "too many calls at once; repeat later",
                );
                return refusal(status::from_fault(fault.retry_after(SHED_RETRY)));
            };
            request.extensions_mut().insert(Place(Arc::new(place)));
            next.run(request).await
        }
    }))
}

/// The layers of the internal listener, on top of the inner ones: every call proves which process makes it.
pub fn internal(router: Router, key: ServiceKey, clock: Arc<dyn Clock>) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| {
        let proven = request
            .headers()
            .get(PEER_TOKEN)
            .and_then(|token| key.verify(token.to_str().ok()?, clock.now()));
        async move {
            let mut request = request;
            let Some(peer) = proven else {
                let message =
                    "this listener takes calls of the platform's own processes only, with a valid service token";
                return refusal(status::from_fault(Fault::new(
                    Code::Unauthenticated,
                    PEER_UNKNOWN,
                    message,
                )));
            };
            request.extensions_mut().insert(peer);
            next.run(request).await
        }
    }))
}

fn observe(metrics: &Metrics, method: &'static str, response: &Response, took: Duration) {
    let number = status::number_of(response.headers());
    let code = if number == 0 {
        "OK"
    } else {
        Code::from_grpc(number).name()
    };
    metrics
        .counter(
            "trunkline_rpc_calls_total",
            "Calls by method and code.",
            &[("method", method), ("code", code)],
        )
        .increment();
    metrics
        .histogram(
            "trunkline_rpc_seconds",
            "Time that calls took, by method.",
            &[("method", method)],
        )
        .observe(took);
}

/// The time of a `grpc-timeout` header: digits and a unit (gRPC over HTTP/2, "Timeout").
fn timeout_of(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count.saturating_mul(3_600))),
        "M" => Some(Duration::from_secs(count.saturating_mul(60))),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

fn refusal(status: tonic::Status) -> Response {
    status.into_http()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_timeout_reads_in_every_unit() {
        let read = |text: &str| timeout_of(&HeaderValue::from_str(text).unwrap());
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("S"), None);
        assert_eq!(read(""), None);
        assert_eq!(read("5x"), None);
    }
}

//! The hub: it hands out the way to a service by the service's proto name, wherever the service runs.
//!
//! It may be asked before the callee is mounted, so that services can be opened in any order. What every call between services
//! needs is put on here, at both distances: who calls, the trace, the deadline, and retries of methods that the contract declares
//! idempotent.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, RwLock};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt as _, service_fn};
use trunkline_core::error::{Code, Fault, reason};
use trunkline_proto::guards::METHODS;

use crate::peer::{PEER_UNKNOWN, Peer};
use crate::stack::DEADLINE_MAX;
use crate::status;
use crate::trace;
use crate::transport::{PeerStamp, Transport, body_of, buffered};

/// Time that a call between services may take when its caller set none.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(5);
/// Attempts at an idempotent method before its failure is told.
const ATTEMPTS_MAX: u32 = 3;
/// Wait before the second attempt; it doubles with each further one.
const RETRY_WAIT: Duration = Duration::from_millis(20);

/// The ways to every service of the platform, cheap to clone.
#[derive(Clone, Default)]
pub struct Hub {
    routes: Arc<RwLock<HashMap<String, (Transport, PeerStamp)>>>,
}

impl Hub {
    /// Says how `service` is reached, by its proto name such as `trunkline.auth.v1.AuthService`. A second call replaces the first.
    pub fn mount(&self, service: &str, transport: Transport, stamp: PeerStamp) {
        let mut routes = self.routes.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        routes.insert(service.to_owned(), (transport, stamp));
    }

    /// The way to `service` for calls made by the process part `peer`, such as `things`.
    ///
    /// Calls fail with UNAVAILABLE while nothing is mounted under the name.
    pub fn transport(&self, service: &'static str, peer: &'static str) -> Transport {
        self.way(service, Peer(peer.into()), DEADLINE_DEFAULT)
    }

    /// The same for calls that have the time of calls from outside: because they are such and only passed on, or because they wait for
    /// other nodes, such as revocations.
    pub fn patient_transport(&self, service: &'static str, peer: &'static str) -> Transport {
        self.way(service, Peer(peer.into()), DEADLINE_MAX)
    }

    fn way(&self, service: &'static str, peer: Peer, deadline: Duration) -> Transport {
        let hub = self.clone();
        BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
            let (hub, peer) = (hub.clone(), peer.clone());
            async move {
                let mut request = request;
                let mut span = trace::calling(&mut request);
                let call = hub.call(service, &peer, request, deadline);
                let answer = tokio::time::timeout(deadline, call).await.unwrap_or_else(|_| {
                    let message = format!("{service} did not answer in time");
                    Ok(refusal(Code::DeadlineExceeded, &message))
                });
                if let (Some(span), Ok(answer)) = (&mut span, &answer) {
                    trace::answered(span, answer.headers());
                }
                answer
            }
        }))
    }

    async fn call(
        &self,
        service: &str,
        peer: &Peer,
        request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response<Body>, Status> {
        let found = self
            .routes
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(service)
            .cloned();
        let Some((transport, stamp)) = found else {
            return Ok(unavailable(&format!(
                "{service} does not run here and its place is not configured"
            )));
        };
        let mut request = request;
        if let Ok(timeout) = HeaderValue::try_from(format!("{}S", deadline.as_secs())) {
            request.headers_mut().entry("grpc-timeout").or_insert(timeout);
        }
        match attempts(&transport, &stamp, peer, request).await {
            Ok(response) if is_of_stranger(&response) => {
                tracing::error!(
                    rpc.service = service,
                    "a service does not know this process: their service keys differ, or their clocks by more than a minute"
                );
                Ok(unavailable(&format!(
                    "{service} does not take the service token of this process"
                )))
            }
            Ok(response) => Ok(response),
            Err(error) => {
                tracing::warn!(rpc.service = service, error = %error, "a service cannot be reached");
                Ok(unavailable(&format!("{service} cannot be reached")))
            }
        }
    }
}

/// Sends `request`, again while it failed with UNAVAILABLE and the contract says that repeating is harmless.
async fn attempts(
    transport: &Transport,
    stamp: &PeerStamp,
    peer: &Peer,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let (parts, body) = request.into_parts();
    if !is_idempotent(parts.uri.path()) {
        let mut request = Request::from_parts(parts, body);
        stamp.mark(&mut request, peer);
        return transport.clone().oneshot(request).await;
    }
    let body = buffered(body).await?;
    let mut wait = RETRY_WAIT;
    for _ in 1..ATTEMPTS_MAX {
        match once(transport, stamp, peer, &parts, body.clone()).await {
            Ok(response) if !is_unavailable(&response) => return Ok(response),
            Ok(_) | Err(_) => tokio::time::sleep(wait).await,
        }
        wait *= 2;
    }
    once(transport, stamp, peer, &parts, body).await
}

async fn once(
    transport: &Transport,
    stamp: &PeerStamp,
    peer: &Peer,
    parts: &http::request::Parts,
    body: bytes::Bytes,
) -> Result<Response<Body>, Status> {
    let mut request = Request::from_parts(parts.clone(), body_of(body));
    stamp.mark(&mut request, peer);
    transport.clone().oneshot(request).await
}

/// Whether the contract declares the method at `path` idempotent.
fn is_idempotent(path: &str) -> bool {
    static IDEMPOTENT: LazyLock<std::collections::HashSet<&'static str>> = LazyLock::new(|| {
        METHODS
            .iter()
            .filter(|method| method.idempotent)
            .map(|method| method.path)
            .collect()
    });
    IDEMPOTENT.contains(path)
}

fn is_unavailable(response: &Response<Body>) -> bool {
    status::number_of(response.headers()) == Code::Unavailable.grpc()
}

/// Whether the callee did not take this process for one of the platform's. Whoever asked it to call has nothing to do with that, and
/// would take it for an answer about his own credentials.
fn is_of_stranger(response: &Response<Body>) -> bool {
    let headers = response.headers();
    status::number_of(headers) == Code::Unauthenticated.grpc()
        && Status::from_header_map(headers).is_some_and(|status| status::to_fault(&status).reason == PEER_UNKNOWN)
}

fn unavailable(message: &str) -> Response<Body> {
    refusal(Code::Unavailable, message)
}

fn refusal(code: Code, message: &str) -> Response<Body> {
    status::from_fault(Fault::new(code, reason::DEPENDENCY_UNAVAILABLE, message)).into_http()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use trunkline_core::digest::DigestKey;
    use trunkline_core::time::ManualClock;

    use super::*;
    use crate::peer::ServiceKey;
    use crate::stack::internal;
    use crate::transport::in_process;

    const SERVICE: &str = "trunkline.clients.v1.ClientsService";
    const OUR_KEY: [u8; 32] = [1; 32];
    const NOW_S: i64 = 1_000;

    fn key(bytes: [u8; 32]) -> ServiceKey {
        ServiceKey::new(DigestKey::new(bytes))
    }

    fn clock(now_s: i64) -> Arc<ManualClock> {
        Arc::new(ManualClock::at(now_s * 1_000_000_000))
    }

    /// What a caller with this key and this time is told by a service that knows nobody's credentials.
    async fn told(key_bytes: [u8; 32], now_s: i64) -> Fault {
        let unknown = Fault::new(
            Code::Unauthenticated,
            reason::CREDENTIALS_INVALID,
            "no such credentials",
        );
        let unknown = Router::new().fallback(async || status::from_fault(unknown).into_http::<axum::body::Body>());
        let listener = internal(unknown, key(OUR_KEY), clock(NOW_S));
        let hub = Hub::default();
        let stamp = PeerStamp::Signed {
            key: key(key_bytes),
            clock: clock(now_s),
        };
        hub.mount(SERVICE, in_process(listener), stamp);
        let call = Request::post(format!("/{SERVICE}/Authenticate"));
        let way = hub.transport(SERVICE, "gate");
        let answer = way.oneshot(call.body(Body::empty()).unwrap()).await.unwrap();
        status::to_fault(&Status::from_header_map(answer.headers()).unwrap())
    }

    #[tokio::test]
    async fn a_process_that_is_not_known_does_not_say_that_its_callers_are_not() {
        const ANOTHER_KEY: [u8; 32] = [2; 32];
        for (key, now_s) in [(ANOTHER_KEY, NOW_S), (OUR_KEY, NOW_S - 61), (OUR_KEY, NOW_S + 61)] {
            let told = told(key, now_s).await;
            assert_eq!(
                (told.code, &*told.reason),
                (Code::Unavailable, reason::DEPENDENCY_UNAVAILABLE)
            );
            assert!(told.message.contains("service token"), "{told}");
        }
        let told = told(OUR_KEY, NOW_S).await;
        assert_eq!(
            (told.code, &*told.reason),
            (Code::Unauthenticated, reason::CREDENTIALS_INVALID)
        );
    }
}

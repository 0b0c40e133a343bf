//! One type for every way to a service: in process a router, between processes a channel, both behind the same tower service.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt as _;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt as _, service_fn};
use trunkline_core::Clock;

use crate::peer::{PEER_TOKEN, Peer, ServiceKey};
use crate::tls::Tls;

/// How long a connection to another process may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// Time between pings on a connection to another process.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long the answer to a ping may take; then the connection is made anew.
const PING_WAIT: Duration = Duration::from_secs(3);

/// A way to a service, cheap to clone. Its error is a status, which tonic's clients hand to their callers as it is.
pub type Transport = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// Calls `router` in this process. The peer is whoever the caller's own transport says.
pub fn in_process(router: axum::Router) -> Transport {
    BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
        let router = router.clone();
        async move {
            let Ok(response) = router.oneshot(request).await;
            Ok::<_, Status>(response.map(|body| Body::new(body.map_err(|error| Status::from_error(error.into())))))
        }
    }))
}

/// The place of a process, such as `https://things.internal:7072`, with limits by which one that went away is noticed.
///
/// # Errors
/// When it is no URL.
pub fn endpoint(place: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(place.to_owned())?
        .connect_timeout(CONNECT_WAIT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_WAIT)
        .keep_alive_while_idle(true))
}

/// Calls the process at `endpoint`. The connection is made when it is first needed, and again when it was lost.
pub fn remote(endpoint: &Endpoint) -> Transport {
    let channel: Channel = endpoint.connect_lazy();
    BoxCloneSyncService::new(channel.map_err(|error| Status::from_error(error.into())))
}

/// The same over TLS.
pub fn remote_over_tls(endpoint: &Endpoint, tls: &Tls) -> Transport {
    let tls = tls.clone();
    let connector = service_fn(move |place: Uri| tls.clone().connect(place));
    let channel = endpoint.connect_with_connector_lazy(connector);
    BoxCloneSyncService::new(channel.map_err(|error| Status::from_error(error.into())))
}

/// How calls say which process makes them.
#[derive(Clone)]
pub enum PeerStamp {
    /// Put into the request itself: only a callee in this process sees it.
    InProcess,
    /// Signed under the key that the platform's processes share.
    Signed {
        /// The key.
        key: ServiceKey,
        /// The time that tokens lapse by.
        clock: Arc<dyn Clock>,
    },
}

impl PeerStamp {
    /// Marks `request` as coming from `peer`.
    pub(crate) fn mark(&self, request: &mut Request<Body>, peer: &Peer) {
        match self {
            Self::InProcess => {
                request.extensions_mut().insert(peer.clone());
            }
            Self::Signed { key, clock } => {
                if let Ok(token) = HeaderValue::from_str(&key.token(peer, clock.as_ref())) {
                    request.headers_mut().insert(PEER_TOKEN, token);
                }
            }
        }
    }
}

/// The whole body of a unary request, so that it can be sent again.
pub(crate) async fn buffered(body: Body) -> Result<Bytes, Status> {
    Ok(body.collect().await?.to_bytes())
}

/// A body of bytes that are at hand.
pub(crate) fn body_of(bytes: Bytes) -> Body {
    Body::new(http_body_util::Full::new(bytes))
}

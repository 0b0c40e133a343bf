//! MQTT over WebSocket (MQTT 5 section 6): on a port of its own, and by requests that came to another listener.

mod frames;
mod handshake;
mod stream;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::adapter::Adapter;
use crate::limits::WEBSOCKET_REQUEST_BYTES_MAX;
use crate::transport::hidden;
pub use handshake::Origins;
pub(crate) use stream::WebSocket;

/// Where MQTT is, on whatever port.
pub const PATH: &str = "/mqtt";

/// A WebSocket over a connection that began as HTTP.
pub(crate) type UpgradedSocket = WebSocket<TokioIo<Upgraded>>;

/// WebSockets that begin as requests to a listener of somebody else.
pub struct WebSockets {
    adapter: Arc<Adapter>,
    origins: Origins,
    cancel: CancellationToken,
    connections: TaskTracker,
}

impl WebSockets {
    /// For pages of these origins; they are drained from `cancel` on.
    pub fn new(adapter: Arc<Adapter>, origins: Origins, cancel: CancellationToken) -> Self {
        Self {
            adapter,
            origins,
            cancel,
            connections: TaskTracker::new(),
        }
    }

    /// Answers a request for [`PATH`]; after 101 its connection is served as one of MQTT.
    pub fn answer<B>(&self, mut request: Request<B>, peer: SocketAddr) -> Response<String> {
        let answer = handshake::answer(&request, &self.origins);
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return answer;
        }
        let busy = || {
            handshake::refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "there is no room for another client",
                None,
            )
        };
        let Some(arrival) = self.adapter.arrival(peer).filter(|_| !self.cancel.is_cancelled()) else {
            return busy();
        };
        let Some(place) = self.adapter.place() else {
            return busy();
        };
        let (adapter, cancel) = (Arc::clone(&self.adapter), self.cancel.clone());
        let upgrading = hyper::upgrade::on(&mut request);
        self.connections.spawn(async move {
            let _place = place;
            let upgraded = tokio::select! {
                () = cancel.cancelled() => return,
                upgraded = timeout_at(arrival.deadline, upgrading) => upgraded,
            };
            // A client that goes before the answer reaches it is none.
            if let Ok(Ok(upgraded)) = upgraded {
                let stream = WebSocket::new(TokioIo::new(upgraded));
                adapter.connection(stream, hidden, arrival, cancel).await;
            }
        });
        answer
    }

    /// Returns once the last connection has drained, after `cancel`.
    pub async fn drained(&self) {
        self.cancel.cancelled().await;
        self.connections.close();
        self.connections.wait().await;
    }
}

/// Has the one request of a connection answered, and makes the connection a WebSocket. To be called with a time limit.
///
/// # Errors
/// The request was none for that, and was told so.
pub(super) async fn open<S>(stream: S, origins: &Origins) -> io::Result<UpgradedSocket>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgrading: Mutex<Option<OnUpgrade>> = Mutex::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        let mut answer = match request.uri().path() {
            PATH => handshake::answer(&request, origins),
            _ => handshake::refuse(StatusCode::NOT_FOUND, "MQTT is at /mqtt", None),
        };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            *upgrading.lock().unwrap_or_else(PoisonError::into_inner) = Some(hyper::upgrade::on(&mut request));
        } else {
            answer
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let mut builder = http1::Builder::new();
    builder.max_buf_size(WEBSOCKET_REQUEST_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    connection.with_upgrades().await.map_err(io::Error::other)?;
    let upgrading = upgrading.into_inner().unwrap_or_else(PoisonError::into_inner);
    let refused = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "it asked for something else than a WebSocket",
        )
    };
    let upgraded = upgrading.ok_or_else(refused)?.await.map_err(io::Error::other)?;
    Ok(WebSocket::new(TokioIo::new(upgraded)))
}

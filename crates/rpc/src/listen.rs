//! Listeners for HTTP/1.1 and HTTP/2 on one port: accept, serve, drain.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::server_tls::{Budgeted, ServerTls};
use crate::tls::Tls;

/// Time that a client may take for the first bytes of a connection.
const HEADER_READ_MAX: Duration = Duration::from_secs(5);
/// Time from the end of one request to the end of the next one's head on HTTP/1. Clients of the original keep idle connections for
/// 90 s and do not repeat a POST that meets a closed one (compat.md 5.13), so this is longer.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(100);
/// Size of a request's head in bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Streams that one HTTP/2 connection may have open.
const HTTP2_STREAMS_MAX: u32 = 256;
/// Time between pings on a silent HTTP/2 connection, and the wait for their answer.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// Time that connections get to finish when the listener ends.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Connections of one listener that are open at once.
const CONNECTIONS_MAX: usize = 8_192;
/// How every HTTP/2 connection begins (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Wait before a beginning that came in parts is looked at again.
const PEEK_PAUSE: Duration = Duration::from_millis(10);
/// Wait after a failed accept, such as for want of file descriptors.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// Where a request comes from, among its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// Serves `router` on `listener` until `cancel`, then lets the connections finish for at most [`DRAIN_MAX`].
pub async fn serve(listener: TcpListener, router: Router, cancel: CancellationToken) {
    serve_inside(Inside::Plain, listener, router, cancel).await;
}

/// The same inside TLS, for those who come from outside.
pub async fn serve_over(tls: Arc<ServerTls>, listener: TcpListener, router: Router, cancel: CancellationToken) {
    serve_inside(Inside::Public(tls), listener, router, cancel).await;
}

/// The same for HTTP/2 inside TLS, between processes.
pub async fn serve_over_tls(tls: Tls, listener: TcpListener, router: Router, cancel: CancellationToken) {
    serve_inside(Inside::Internal(tls.acceptor), listener, router, cancel).await;
}

/// What HTTP is spoken in.
#[derive(Clone)]
enum Inside {
    Plain,
    Internal(TlsAcceptor),
    Public(Arc<ServerTls>),
}

async fn serve_inside(inside: Inside, listener: TcpListener, router: Router, cancel: CancellationToken) {
    let builder = builder();
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Cancel safety: `acquire_owned` and `accept` lose nothing when they are dropped.
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = cancel.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let connection = Connection {
                    peer: PeerAddress(peer),
                    builder: builder.clone(),
                    watcher: graceful.watcher(),
                    place,
                };
                let (inside, router, cancel) = (inside.clone(), router.clone(), cancel.clone());
                tokio::spawn(connection.run(inside, stream, router, cancel));
            }
            Err(error) => back_off(&error).await,
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_MAX, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections did not finish in time and were closed");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE_MAX)
        .max_buf_size(HEADER_BYTES_MAX as usize * 4);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING);
    builder
}

/// The next connection, once there is a place for it: those beyond wait in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, Option<OwnedSemaphorePermit>)> {
    // The semaphore is never closed.
    let place = places.clone().acquire_owned().await.ok();
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// One connection in its task, which ends with it.
struct Connection {
    peer: PeerAddress,
    builder: auto::Builder<TokioExecutor>,
    watcher: Watcher,
    place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    async fn run(self, inside: Inside, stream: TcpStream, router: Router, cancel: CancellationToken) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        // hyper times the head of a request only once it knows the version, so whoever does not come so far is timed here.
        let begun = async {
            match inside {
                Inside::Internal(tls) => Begun::Internal(tls.accept(stream).await.map(Box::new)),
                Inside::Public(tls) => Begun::Public(tls.accept(stream).await.map(Box::new)),
                Inside::Plain => Begun::Plain(says_its_version(&stream).await.then_some(stream)),
            }
        };
        let begun = tokio::select! {
            begun = tokio::time::timeout(HEADER_READ_MAX, begun) => begun,
            () = cancel.cancelled() => return,
        };
        match begun {
            Ok(Begun::Plain(Some(stream))) => self.serve(stream, router).await,
            Ok(Begun::Internal(Ok(stream))) => self.serve(*stream, router).await,
            Ok(Begun::Public(Ok(stream))) => self.serve(*stream, router).await,
            Ok(Begun::Internal(Err(error))) => tracing::warn!(%error, "a process could not be let in"),
            Ok(Begun::Public(Err(error))) => tracing::debug!(%error, "a TLS handshake failed"),
            Ok(Begun::Plain(None)) | Err(_) => {}
        }
    }

    async fn serve<S>(self, stream: S, router: Router)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = self.peer;
        let service = router.map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request
        });
        let service = TowerToHyperService::new(service);
        let connection = self
            .builder
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(self.place);
    }
}

/// How a connection began.
enum Begun {
    /// With the first bytes of HTTP; none when there were none.
    Plain(Option<TcpStream>),
    /// With the handshake of a process of the platform.
    Internal(io::Result<Box<TlsStream<TcpStream>>>),
    /// With that of somebody else.
    Public(io::Result<Box<TlsStream<Budgeted<TcpStream>>>>),
}

/// Waits until the first bytes tell HTTP/1 from HTTP/2; `false` when there will be none.
async fn says_its_version(stream: &TcpStream) -> bool {
    let mut bytes = [0; HTTP2_PREFACE.len()];
    loop {
        match stream.peek(&mut bytes).await {
            Ok(0) | Err(_) => return false,
            Ok(count) if count == bytes.len() || !HTTP2_PREFACE.starts_with(&bytes[..count]) => return true,
            // What is there was not read, so waiting for readiness would not wait.
            Ok(_) => tokio::time::sleep(PEEK_PAUSE).await,
        }
    }
}

async fn back_off(error: &io::Error) {
    tracing::warn!(%error, "a connection cannot be accepted");
    tokio::time::sleep(ACCEPT_BACK_OFF).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn listening() -> (std::net::SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, cancel) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new().route("/", axum::routing::get(async || "here"));
        tokio::spawn(serve(listener, router, cancel.clone()));
        (address, cancel)
    }

    #[tokio::test]
    async fn a_request_that_comes_byte_by_byte_is_answered() {
        let (address, cancel) = listening().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        for byte in b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n" {
            stream.write_all(&[*byte]).await.unwrap();
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        cancel.cancel();
    }

    #[tokio::test]
    async fn an_idle_connection_is_kept_longer_than_clients_keep_theirs() {
        const CLIENTS_KEEP: Duration = Duration::from_secs(90);
        assert!(KEEP_ALIVE_MAX > CLIENTS_KEEP);
        let (address, cancel) = listening().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
            let mut answer = [0; 512];
            let count = stream.read(&mut answer).await.unwrap();
            assert!(answer[..count].starts_with(b"HTTP/1.1 200"));
            // Nothing comes, not even the end, for longer than a first byte may take.
            let idle =
                tokio::time::timeout(HEADER_READ_MAX + Duration::from_millis(500), stream.read(&mut answer)).await;
            assert!(idle.is_err(), "{idle:?}");
        }
        cancel.cancel();
    }

    #[tokio::test]
    async fn whoever_does_not_say_his_version_is_closed() {
        let (address, cancel) = listening().await;
        let mut streams = Vec::new();
        for beginning in [&b""[..], b"P", b"PRI * HTTP/2.0"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(beginning).await.unwrap();
            streams.push(stream);
        }
        for mut stream in streams {
            let closed = tokio::time::timeout(HEADER_READ_MAX * 3, stream.read(&mut [0])).await;
            assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
        }
        cancel.cancel();
    }
}

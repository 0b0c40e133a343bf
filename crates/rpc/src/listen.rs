//! Listeners for HTTP/1.1 and HTTP/2 on one port: accept, serve, drain.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Time that a client may take for the head of a request.
const HEADER_READ_MAX: Duration = Duration::from_secs(5);
/// Size of a request's head in bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Streams that one HTTP/2 connection may have open.
const HTTP2_STREAMS_MAX: u32 = 256;
/// Time between pings on a silent HTTP/2 connection, and the wait for their answer.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// Time that connections get to finish when the listener ends.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);
/// Wait after a failed accept, such as for want of file descriptors.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `cancel`, then lets the connections finish for at most [`DRAIN_MAX`].
pub async fn serve(listener: TcpListener, router: Router, cancel: CancellationToken) {
    let builder = builder();
    let graceful = GracefulShutdown::new();
    loop {
        // Cancel safety: `accept` loses nothing when it is dropped.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = cancel.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => spawn_connection(&builder, &graceful, stream, router.clone()),
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
        .header_read_timeout(HEADER_READ_MAX)
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

/// One task a connection: it ends with its connection, or when the graceful shutdown drops it.
fn spawn_connection(
    builder: &auto::Builder<TokioExecutor>,
    graceful: &GracefulShutdown,
    stream: TcpStream,
    router: Router,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
    let service = TowerToHyperService::new(router);
    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .into_owned();
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

async fn back_off(error: &io::Error) {
    tracing::warn!(%error, "a connection cannot be accepted");
    tokio::time::sleep(ACCEPT_BACK_OFF).await;
}

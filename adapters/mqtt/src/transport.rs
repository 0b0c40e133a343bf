//! What lies between a socket and MQTT: who is on the other end, TLS, and the time that all of it may take.
//!
//! **Invariant:** whatever comes before CONNECT counts to one time limit and holds one place among unfinished handshakes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use trunkline_rpc::ServerTls;
use trunkline_rpc::server_tls::Budgeted;

use crate::limits::HANDSHAKE_TIME_MAX;

/// The name of MQTT in a TLS handshake, as registered. Who names none is taken for an MQTT client.
pub const ALPN: &[u8] = b"mqtt";

/// An address that clients come to, and what they speak there below MQTT.
pub struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) layers: Arc<Layers>,
}

/// What lies between a socket and MQTT, from the socket up.
#[derive(Default)]
pub(crate) struct Layers {
    tls: Option<Arc<ServerTls>>,
}

/// One connection at the beginning.
pub(crate) struct Arrival {
    /// Where it comes from.
    pub(crate) peer: SocketAddr,
    /// When CONNECT must have its answer.
    pub(crate) deadline: Instant,
    /// Its place among unfinished handshakes.
    pub(crate) handshake: Option<OwnedSemaphorePermit>,
}

/// A stream that carries MQTT.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<Budgeted<TcpStream>>>),
}

impl From<TcpListener> for Listener {
    /// MQTT over plain TCP.
    fn from(socket: TcpListener) -> Self {
        let layers = Arc::default();
        Self { socket, layers }
    }
}

impl Listener {
    /// MQTT over TLS.
    pub fn over_tls(socket: TcpListener, tls: Arc<ServerTls>) -> Self {
        let layers = Arc::new(Layers { tls: Some(tls) });
        Self { socket, layers }
    }
}

impl Arrival {
    /// A connection of now.
    pub(crate) fn new(peer: SocketAddr, handshake: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            peer,
            deadline: Instant::now() + HANDSHAKE_TIME_MAX,
            handshake,
        }
    }
}

impl Layers {
    /// Whether MQTT is spoken on the socket itself.
    pub(crate) fn is_empty(&self) -> bool {
        self.tls.is_none()
    }

    /// Takes the handshakes below MQTT.
    ///
    /// # Errors
    /// The peer does not speak as it must.
    pub(crate) async fn open(&self, stream: TcpStream) -> io::Result<Stream> {
        match &self.tls {
            Some(tls) => tls.accept(stream).await.map(Box::new).map(Stream::Tls),
            None => Ok(Stream::Plain(stream)),
        }
    }
}

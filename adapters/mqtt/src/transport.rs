//! What lies between a socket and MQTT: the word of a proxy, TLS, WebSocket, and the time that all of it may take.
//!
//! **Invariant:** whatever comes before CONNECT counts to one time limit and holds one place among unfinished handshakes.

mod identity;
mod proxy;
pub mod websocket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use trunkline_rpc::ServerTls;
use trunkline_rpc::server_tls::Budgeted;

use crate::limits::{HANDSHAKE_TIME_MAX, SEGMENT_BYTES_MAX};
pub(crate) use identity::Certified;
pub use proxy::Network;
use websocket::{Origins, UpgradedSocket};

/// The name of MQTT in a TLS handshake, as registered. Who names none is taken for an MQTT client.
pub const ALPN: &[u8] = b"mqtt";

/// An address that clients come to, and what they speak there below MQTT.
pub struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) layers: Layers,
}

/// What lies between a socket and MQTT, from the socket up.
#[derive(Default)]
pub(crate) struct Layers {
    /// Where the proxies are that say whom they speak for; without them clients speak for themselves.
    proxies: Option<Vec<Network>>,
    tls: Option<Arc<ServerTls>>,
    /// The pages that may have a WebSocket; without them MQTT is spoken without one.
    websocket: Option<Origins>,
}

/// One connection at the beginning.
pub(crate) struct Arrival {
    /// Where it comes from.
    pub(crate) peer: SocketAddr,
    /// The client that its certificate names, if it showed one that names any.
    pub(crate) certified: Option<Certified>,
    /// When CONNECT must have its answer.
    pub(crate) deadline: Instant,
    /// Its place among unfinished handshakes.
    pub(crate) handshake: Option<OwnedSemaphorePermit>,
}

/// TLS over a socket.
pub(crate) type TlsSocket = TlsStream<Budgeted<TcpStream>>;

/// A stream that carries MQTT.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsSocket>),
    WebSocket(Box<UpgradedSocket>),
}

/// The socket below a stream, if it is to be had.
pub(crate) type Socket<S> = fn(&S) -> Option<&TcpStream>;

/// That of a stream that is one.
pub(crate) const fn itself(stream: &TcpStream) -> Option<&TcpStream> {
    Some(stream)
}

/// That below TLS.
pub(crate) fn below_tls(stream: &TlsSocket) -> Option<&TcpStream> {
    Some(stream.get_ref().0.get_ref())
}

/// That of a stream which does not give it away.
pub(crate) const fn hidden<S>(_: &S) -> Option<&TcpStream> {
    None
}

/// Bytes that the system may have of what it was given for the peer.
pub(crate) fn held_bytes_max(socket: &TcpStream) -> usize {
    let buffer_bytes = SockRef::from(socket).send_buffer_size();
    // Short of memory, Linux makes a buffer as small as half of what is in it.
    buffer_bytes.map_or(usize::MAX, |bytes| (2 * bytes).saturating_add(SEGMENT_BYTES_MAX))
}

/// Has what the system has not sent yet thrown away when the socket is closed. Its peer is told by a reset.
pub(crate) fn discard(socket: &TcpStream) {
    if let Err(error) = socket.set_zero_linger() {
        tracing::debug!(%error, "what a socket holds goes out when it is closed");
    }
}

impl From<TcpListener> for Listener {
    /// MQTT over plain TCP.
    fn from(socket: TcpListener) -> Self {
        let layers = Layers::default();
        Self { socket, layers }
    }
}

impl Listener {
    /// Has every connection come from one of `proxies` and begin with a header of the PROXY protocol.
    #[must_use]
    pub fn behind(mut self, proxies: Vec<Network>) -> Self {
        self.layers.proxies = Some(proxies);
        self
    }

    /// Has TLS spoken, after the proxy's header if there is one.
    #[must_use]
    pub fn over(mut self, tls: Arc<ServerTls>) -> Self {
        self.layers.tls = Some(tls);
        self
    }

    /// Has a WebSocket spoken at [`websocket::PATH`] on top of that, for pages of these origins.
    #[must_use]
    pub fn with_websocket(mut self, origins: Origins) -> Self {
        self.layers.websocket = Some(origins);
        self
    }
}

impl Arrival {
    /// A connection of now. Boxed, since whoever is at rest keeps nothing of it.
    pub(crate) fn new(peer: SocketAddr, handshake: Option<OwnedSemaphorePermit>) -> Box<Self> {
        Box::new(Self {
            peer,
            certified: None,
            deadline: Instant::now() + HANDSHAKE_TIME_MAX,
            handshake,
        })
    }
}

impl Layers {
    /// Whether MQTT is spoken on the socket itself.
    pub(crate) fn is_empty(&self) -> bool {
        self.proxies.is_none() && self.tls.is_none() && self.websocket.is_none()
    }

    /// Whether a proxy speaks before the client.
    pub(crate) fn has_proxies(&self) -> bool {
        self.proxies.is_some()
    }

    /// Reads whom a proxy speaks for, if there is to be one.
    ///
    /// # Errors
    /// The peer is no proxy, or does not speak as one.
    pub(crate) async fn read_origin(&self, stream: &mut TcpStream, arrival: &mut Arrival) -> io::Result<()> {
        if let Some(proxies) = &self.proxies {
            arrival.peer = origin(proxies, stream, arrival.peer).await?;
        }
        Ok(())
    }

    /// Takes the handshakes of the client below MQTT, and notes what they say of it. Comes after [`Layers::read_origin`].
    ///
    /// # Errors
    /// The peer does not speak as it must.
    pub(crate) async fn open(&self, stream: TcpStream, arrival: &mut Arrival) -> io::Result<Stream> {
        let Some(tls) = &self.tls else {
            return Ok(match &self.websocket {
                Some(origins) => Stream::WebSocket(Box::new(websocket::open(stream, origins).await?)),
                None => Stream::Plain(stream),
            });
        };
        let stream = tls.accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        arrival.certified = shown.map(Certified::of).transpose()?.flatten();
        Ok(match &self.websocket {
            Some(origins) => Stream::WebSocket(Box::new(websocket::open(stream, origins).await?)),
            None => Stream::Tls(Box::new(stream)),
        })
    }
}

/// Whom `peer` speaks for, if it is one of `proxies`.
async fn origin(proxies: &[Network], stream: &mut TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
    if !proxies.iter().any(|proxies| proxies.contains(peer.ip())) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is no trusted proxy",
        ));
    }
    Ok(proxy::read(stream).await?.unwrap_or(peer))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// What becomes of a connection from this machine that sends `bytes`, where `proxies` are in front.
    async fn opened(proxies: &str, bytes: &[u8]) -> io::Result<SocketAddr> {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let mut client = TcpStream::connect(socket.local_addr()?).await?;
        client.write_all(bytes).await?;
        client.shutdown().await?;
        let (mut stream, peer) = socket.accept().await?;
        let listener = Listener::from(socket).behind(vec![proxies.parse().unwrap()]);
        let mut arrival = Arrival::new(peer, None);
        listener.layers.read_origin(&mut stream, &mut arrival).await?;
        Ok(arrival.peer)
    }

    #[tokio::test]
    async fn the_peer_is_whom_a_trusted_proxy_speaks_for_and_nobody_without_its_word() {
        let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4660 80\r\n";
        let found = opened("127.0.0.0/8", header).await.unwrap();
        assert_eq!(found, SocketAddr::from(([192, 0, 2, 7], 4660)));
        let itself = opened("127.0.0.1", b"PROXY UNKNOWN\r\n").await.unwrap();
        assert!(itself.ip().is_loopback());
        assert!(opened("10.0.0.0/8", header).await.is_err(), "it believed a stranger");
        let connect = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0];
        assert!(opened("127.0.0.0/8", &connect).await.is_err());
    }
}

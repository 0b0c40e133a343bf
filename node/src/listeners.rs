//! The listeners of a node, bound before anything else happens, so that a taken port leaves nothing behind.

use std::fmt;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::config::Listen;
use crate::error::Error;

/// Bound listeners.
pub(crate) struct Listeners {
    pub(crate) http: TcpListener,
    pub(crate) grpc: TcpListener,
    pub(crate) mqtt: TcpListener,
    pub(crate) ops: TcpListener,
}

/// The addresses that a node really listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// API and messages over HTTP.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// MQTT.
    pub mqtt: SocketAddr,
    /// The operator's listener.
    pub ops: SocketAddr,
}

impl Listeners {
    /// Binds every address.
    ///
    /// # Errors
    /// Names the listener whose address is taken or not ours.
    pub(crate) async fn bind(listen: &Listen) -> Result<Self, Error> {
        Ok(Self {
            http: bind("http", listen.http).await?,
            grpc: bind("grpc", listen.grpc).await?,
            mqtt: bind("mqtt", listen.mqtt).await?,
            ops: bind("ops", listen.ops).await?,
        })
    }

    /// The addresses with the ports that were picked.
    pub(crate) fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            http: self.http.local_addr()?,
            grpc: self.grpc.local_addr()?,
            mqtt: self.mqtt.local_addr()?,
            ops: self.ops.local_addr()?,
        })
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "http={} grpc={} mqtt={} ops={}",
            self.http, self.grpc, self.mqtt, self.ops
        )
    }
}

async fn bind(name: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| Error::Listen {
        name,
        address,
        cause: error.to_string(),
    })
}

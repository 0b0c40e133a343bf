//! The listeners of a node, bound before anything else happens, so that a taken port leaves nothing behind.

use std::fmt;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use trunkline_mqtt::Transport;

use crate::config::Listen;
use crate::error::Error;
use crate::roles::{Role, Roles, Shape};

/// Bound listeners: those that the roles of the process need.
pub(crate) struct Listeners {
    pub(crate) public: Public,
    pub(crate) ops: TcpListener,
    pub(crate) internal: Option<TcpListener>,
}

/// Those that the world comes to.
pub(crate) struct Public {
    pub(crate) http: Option<TcpListener>,
    pub(crate) https: Option<TcpListener>,
    pub(crate) grpc: Option<TcpListener>,
    pub(crate) mqtt: Vec<(Transport, TcpListener)>,
}

/// The addresses that a node really listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// API and messages over HTTP.
    pub http: Option<SocketAddr>,
    /// The same over TLS.
    pub https: Option<SocketAddr>,
    /// gRPC.
    pub grpc: Option<SocketAddr>,
    /// MQTT.
    pub mqtt: Option<SocketAddr>,
    /// MQTT over TLS.
    pub mqtts: Option<SocketAddr>,
    /// MQTT over WebSocket.
    pub ws: Option<SocketAddr>,
    /// MQTT over WebSocket and TLS.
    pub wss: Option<SocketAddr>,
    /// The operator's listener.
    pub ops: SocketAddr,
    /// Calls of the platform's other processes.
    pub internal: Option<SocketAddr>,
}

impl Listeners {
    /// Binds every address that a process of these roles needs.
    ///
    /// # Errors
    /// Names the listener whose address is taken or not ours.
    pub(crate) async fn bind(listen: &Listen, roles: &Roles, shape: Shape) -> Result<Self, Error> {
        let has_http = roles.has_any(&[Role::Http, Role::Gateway]);
        let is_called = shape == Shape::Split && roles.serves_others();
        Ok(Self {
            public: Public {
                http: bind_if(has_http, "http", listen.http).await?,
                https: match listen.https.filter(|_| has_http) {
                    Some(address) => Some(bind("https", address).await?),
                    None => None,
                },
                grpc: bind_if(roles.has(Role::Gateway), "grpc", listen.grpc).await?,
                mqtt: match roles.has(Role::Mqtt) {
                    true => bind_mqtt(listen).await?,
                    false => Vec::new(),
                },
            },
            ops: bind("ops", listen.ops).await?,
            internal: bind_if(is_called, "internal", listen.internal).await?,
        })
    }

    /// The addresses with the ports that were picked.
    pub(crate) fn addresses(&self) -> std::io::Result<Addresses> {
        let picked = |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
        let of = |transport| {
            let mut listeners = self.public.mqtt.iter();
            let found = listeners.find(|(other, _)| *other == transport);
            found.map(|(_, listener)| listener.local_addr()).transpose()
        };
        Ok(Addresses {
            http: picked(&self.public.http)?,
            https: picked(&self.public.https)?,
            grpc: picked(&self.public.grpc)?,
            mqtt: of(Transport::Mqtt)?,
            mqtts: of(Transport::Mqtts)?,
            ws: of(Transport::Ws)?,
            wss: of(Transport::Wss)?,
            ops: self.ops.local_addr()?,
            internal: picked(&self.internal)?,
        })
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            ("http", self.http),
            ("https", self.https),
            ("grpc", self.grpc),
            ("mqtt", self.mqtt),
            ("mqtts", self.mqtts),
            ("ws", self.ws),
            ("wss", self.wss),
            ("internal", self.internal),
        ];
        for (name, address) in named {
            if let Some(address) = address {
                write!(formatter, "{name}={address} ")?;
            }
        }
        write!(formatter, "ops={}", self.ops)
    }
}

async fn bind_if(is_needed: bool, name: &'static str, address: SocketAddr) -> Result<Option<TcpListener>, Error> {
    if is_needed {
        bind(name, address).await.map(Some)
    } else {
        Ok(None)
    }
}

/// The listeners of MQTT, one for each transport that has an address.
async fn bind_mqtt(listen: &Listen) -> Result<Vec<(Transport, TcpListener)>, Error> {
    let mut listeners = Vec::new();
    for transport in Transport::ALL {
        if let Some(address) = listen.mqtt(transport) {
            listeners.push((transport, bind(transport.name(), address).await?));
        }
    }
    Ok(listeners)
}

async fn bind(name: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| Error::Listen {
        name,
        address,
        cause: error.to_string(),
    })
}

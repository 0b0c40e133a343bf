//! The listeners of a node, bound before anything else happens, so that a taken port leaves nothing behind.

use std::fmt;
use std::net::SocketAddr;

use tokio::net::TcpListener;

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
    pub(crate) grpc: Option<TcpListener>,
    pub(crate) mqtt: Option<TcpListener>,
    pub(crate) mqtts: Option<TcpListener>,
}

/// The addresses that a node really listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// API and messages over HTTP.
    pub http: Option<SocketAddr>,
    /// gRPC.
    pub grpc: Option<SocketAddr>,
    /// MQTT.
    pub mqtt: Option<SocketAddr>,
    /// MQTT over TLS.
    pub mqtts: Option<SocketAddr>,
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
        let is_for_devices = roles.has(Role::Mqtt);
        let is_called = shape == Shape::Split && roles.serves_others();
        Ok(Self {
            public: Public {
                http: bind_if(roles.has_any(&[Role::Http, Role::Gateway]), "http", listen.http).await?,
                grpc: bind_if(roles.has(Role::Gateway), "grpc", listen.grpc).await?,
                mqtt: bind_if(is_for_devices, "mqtt", listen.mqtt).await?,
                mqtts: bind_if_given("mqtts", listen.mqtts.filter(|_| is_for_devices)).await?,
            },
            ops: bind("ops", listen.ops).await?,
            internal: bind_if(is_called, "internal", listen.internal).await?,
        })
    }

    /// The addresses with the ports that were picked.
    pub(crate) fn addresses(&self) -> std::io::Result<Addresses> {
        let picked = |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
        Ok(Addresses {
            http: picked(&self.public.http)?,
            grpc: picked(&self.public.grpc)?,
            mqtt: picked(&self.public.mqtt)?,
            mqtts: picked(&self.public.mqtts)?,
            ops: self.ops.local_addr()?,
            internal: picked(&self.internal)?,
        })
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            ("http", self.http),
            ("grpc", self.grpc),
            ("mqtt", self.mqtt),
            ("mqtts", self.mqtts),
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

async fn bind_if_given(name: &'static str, address: Option<SocketAddr>) -> Result<Option<TcpListener>, Error> {
    match address {
        Some(address) => bind(name, address).await.map(Some),
        None => Ok(None),
    }
}

async fn bind(name: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| Error::Listen {
        name,
        address,
        cause: error.to_string(),
    })
}

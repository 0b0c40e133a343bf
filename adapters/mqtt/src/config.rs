//! What an operator may choose of MQTT.

use serde::{Deserialize, Serialize};
use trunkline_rpc::server_tls::TlsFiles;

use crate::transport::Network;

/// The section `[mqtt]` of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What becomes of a 3.1.1 client that publishes where it may not: MQTT 5 clients are told, and 3.1.1 has no word for it.
    pub denied_publish: DeniedPublish,
    /// How much clients are told of why something was refused.
    pub refusals: Refusals,
    /// What the listeners with TLS speak it with.
    pub tls: Option<TlsFiles>,
    /// Load balancers in front of listeners; without them clients speak for themselves.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// MQTT over WebSocket.
    pub websocket: WebSocket,
}

/// The section `[mqtt.websocket]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebSocket {
    /// Origins of the web pages that may connect, such as `https://app.example`, besides those of the host that is asked; `*` is all.
    /// Who sends no origin is no web page, and may.
    pub origins: Vec<String>,
}

/// Where the PROXY protocol is spoken, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyProtocol {
    /// The listeners on which every connection begins with a header of it.
    pub listeners: Vec<Transport>,
    /// Where the load balancers are: `10.0.0.0/8`, or `10.1.2.3`. Connections from elsewhere are closed.
    pub trusted_peers: Vec<Network>,
}

/// The transports of MQTT, each a listener of its name under `[listen]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Plain TCP.
    Mqtt,
    /// TLS.
    Mqtts,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Transport {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Mqtt, Self::Mqtts, Self::Ws, Self::Wss];

    /// Its name, also that of its listener and its flag.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

impl Config {
    /// The load balancers in front of a listener, if there are any.
    pub fn proxies_of(&self, transport: Transport) -> Option<&[Network]> {
        let proxies = self.proxy_protocol.as_ref()?;
        let is_behind = proxies.listeners.contains(&transport);
        is_behind.then_some(&proxies.trusted_peers)
    }
}

/// How much clients are told of why something was refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusals {
    /// The reason code that says most, with words where MQTT 5 has room for them. The default.
    #[default]
    Full,
    /// No words; and for whatever rule of the standard or limit a packet breaks the code Malformed Packet (0x81), Packet Too Large
    /// (0x95), or Protocol Error (0x82) for a topic over the limit. Who connects twice, or sends what only servers send, is told nothing,
    /// and a PUBREL that names no message is answered like any other. For listeners that strangers reach, who then learn less about what
    /// answers.
    Terse,
}

/// What becomes of a 3.1.1 client that publishes where it may not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeniedPublish {
    /// Its connection is closed. The default.
    #[default]
    Close,
    /// It is answered as if the message had been taken; the message is dropped and counted. For devices that would come back and try
    /// again without end.
    Acknowledge,
}

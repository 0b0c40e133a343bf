//! What an operator may choose of MQTT.

use serde::{Deserialize, Serialize};
use trunkline_rpc::server_tls::TlsFiles;

/// The section `[mqtt]` of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What becomes of a 3.1.1 client that publishes where it may not: MQTT 5 clients are told, and 3.1.1 has no word for it.
    pub denied_publish: DeniedPublish,
    /// What the listeners with TLS speak it with.
    pub tls: Option<TlsFiles>,
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

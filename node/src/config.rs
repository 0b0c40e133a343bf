//! The configuration of a process: defaults, one TOML file, the environment, flags, each over the one before.
//!
//! Each service owns its part; this nests them. An unknown key is refused wherever it comes from.

mod check;
mod sources;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
pub use trunkline_bus::nats::NatsConfig;
use trunkline_mqtt::Transport;
use trunkline_rpc::server_tls::TlsFiles;

pub(crate) use check::is_postgres;
pub use sources::{Flags, SliceFlags};

use crate::error::Error;
use crate::roles::{Role, Roles, Shape};

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What `trunkline serve` runs in this process; `trunkline up` runs everything.
    pub roles: Vec<Role>,
    /// Folder that holds everything the platform keeps on embedded storage.
    pub data: PathBuf,
    /// Postgres of every service that names no database of its own; each service has its schema in it.
    pub database_url: Option<String>,
    /// Lets public listeners beyond loopback work without TLS, and spans go to a collector beyond loopback.
    pub allow_plaintext: bool,
    /// Addresses that the process listens on.
    pub listen: Listen,
    /// Where the services are that do not run in this process.
    pub services: Services,
    /// TLS between the platform's processes; without it they speak on this machine alone.
    pub internal_tls: Option<InternalTls>,
    /// The keys of the platform.
    pub keys: Keys,
    /// Postgres users that `trunkline migrate` grants each role's rights to.
    pub grants: Grants,
    /// The first administrator, made when there is no user yet.
    pub admin: Admin,
    /// What is logged.
    pub logging: Logging,
    /// What is recorded in traces, and where it goes.
    pub telemetry: trunkline_telemetry::traces::Config,
    /// Users, domains and roles.
    pub auth: trunkline_auth::Config,
    /// Clients.
    pub things: trunkline_things::Config,
    /// Channels and connections.
    pub channels: trunkline_channels::Config,
    /// What stores messages.
    pub writer: Messages,
    /// What reads stored messages.
    pub reader: Messages,
    /// Where the platform's processes meet; without this section the bus is embedded in the data folder.
    pub nats: Option<NatsConfig>,
    /// The log that every message goes through, where it is embedded.
    pub log: trunkline_bus::embedded::Config,
    /// The HTTP edge.
    pub gateway: trunkline_gateway::Config,
    /// MQTT.
    pub mqtt: trunkline_mqtt::Config,
    /// The listener of HTTP.
    pub http: Http,
}

/// The listener of HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// What `https` speaks TLS with.
    pub tls: Option<TlsFiles>,
}

/// Addresses to listen on. Port 0 picks a free one. A process opens those that its roles need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// API (role `gateway`), messages over HTTP (role `http`), `/health` and `/openapi.json`.
    pub http: SocketAddr,
    /// The same over TLS, as `[http.tls]` says; not opened when absent.
    pub https: Option<SocketAddr>,
    /// gRPC (role `gateway`).
    pub grpc: SocketAddr,
    /// MQTT 3.1.1 and 5 (role `mqtt`).
    pub mqtt: SocketAddr,
    /// The same over TLS, as `[mqtt.tls]` says; not opened when absent.
    pub mqtts: Option<SocketAddr>,
    /// The same over WebSocket, at `/mqtt`, on a port of its own; not opened when absent. It is on `http` as well, where role `http` or
    /// `gateway` runs beside `mqtt`.
    pub ws: Option<SocketAddr>,
    /// The same over WebSocket and TLS; not opened when absent.
    pub wss: Option<SocketAddr>,
    /// Health, readiness and metrics for the operator.
    pub ops: SocketAddr,
    /// Calls of the platform's other processes (roles `auth`, `things`, `channels` and `reader` of `trunkline serve`).
    pub internal: SocketAddr,
}

/// Where services are, as `https://…`, or as `http://…` on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Services {
    /// Users, domains and roles.
    pub auth: Option<String>,
    /// Clients.
    pub things: Option<String>,
    /// Channels and connections.
    pub channels: Option<String>,
    /// Stored messages.
    pub reader: Option<String>,
}

/// Certificates of a process (PEM), which it shows whether it calls or is called; whoever has none of the same authority is no
/// process of the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternalTls {
    /// File with the certificate of the platform's own authority.
    pub authority: PathBuf,
    /// File with the certificate of this process, for the names by which others call it.
    pub certificate: PathBuf,
    /// File with its private key.
    pub key: PathBuf,
}

/// Postgres users, one for each role, that get the rights of the role and no more. A role without one is used by the schema's owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Reads and writes the rows of the schema `auth`.
    pub auth: Option<String>,
    /// The same for `things`.
    pub things: Option<String>,
    /// The same for `channels`.
    pub channels: Option<String>,
    /// Adds to the schema `messages`.
    pub writer: Option<String>,
    /// Reads the schema `messages`.
    pub reader: Option<String>,
}

/// The keys of the platform: files of 32 random bytes, the same for all of its processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Folder with the files `platform` (the platform's id; all roles), `service` (proves processes to each other; all roles), `token`
    /// (signs tokens; role `auth`) and `client-secret` (digests of secrets; role `things`). `trunkline migrate` makes them; a process
    /// needs those of its roles. When absent it is `keys` in the data folder, where the first start of `trunkline up` makes them.
    pub folder: Option<PathBuf>,
}

/// The first administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// E-mail address.
    pub email: String,
    /// File with the password; its trailing newline is no part of it. Without one the first start makes a password.
    pub password_file: Option<PathBuf>,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logging {
    /// Filter such as `info,trunkline_mqtt=debug`. Default `info,async_nats=off`: what the NATS client has to say, the bus says.
    pub filter: String,
}

/// Where stored messages are. The roles `writer` and `reader` have the same database and may be different users there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Messages {
    /// Address of the database; a file in the data folder when absent.
    pub database_url: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            roles: Vec::new(),
            data: PathBuf::from("./trunkline-data"),
            database_url: None,
            allow_plaintext: false,
            listen: Listen::default(),
            services: Services::default(),
            internal_tls: None,
            keys: Keys::default(),
            grants: Grants::default(),
            admin: Admin::default(),
            logging: Logging::default(),
            telemetry: Default::default(),
            auth: Default::default(),
            things: Default::default(),
            channels: Default::default(),
            writer: Messages::default(),
            reader: Messages::default(),
            nats: None,
            log: Default::default(),
            gateway: Default::default(),
            mqtt: Default::default(),
            http: Http::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            http: loopback(8080),
            https: None,
            grpc: loopback(7070),
            mqtt: loopback(1883),
            mqtts: None,
            ws: None,
            wss: None,
            ops: loopback(7071),
            internal: loopback(7072),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            email: "admin@example.com".to_owned(),
            password_file: None,
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            filter: "info,async_nats=off".to_owned(),
        }
    }
}

impl Config {
    /// The effective configuration as TOML, with secrets hidden.
    ///
    /// # Errors
    /// When a value has no form in TOML.
    pub fn render(&self) -> Result<String, Error> {
        let mut shown = self.clone();
        for url in [
            &mut shown.database_url,
            &mut shown.auth.database_url,
            &mut shown.things.database_url,
            &mut shown.channels.database_url,
            &mut shown.writer.database_url,
            &mut shown.reader.database_url,
        ] {
            *url = url.take().map(|url| without_password(&url));
        }
        if let Some(password) = shown.nats.as_mut().and_then(|nats| nats.password.as_mut()) {
            *password = "…".to_owned();
        }
        toml::to_string_pretty(&shown).map_err(|error| Error::Configuration(error.to_string()))
    }

    /// Bytes of the largest message.
    pub(crate) fn payload_bytes_max(&self) -> usize {
        let nats = self.nats.as_ref().map(|nats| nats.payload_bytes_max);
        nats.unwrap_or(self.log.payload_bytes_max)
    }

    /// The roles of a process of `shape`.
    pub(crate) fn roles_of(&self, shape: Shape) -> Roles {
        match shape {
            Shape::Whole | Shape::WholeOverSockets => Roles::all(),
            Shape::Split => Roles::new(&self.roles),
        }
    }

    /// The address of the database of `role`, if the configuration gives one.
    pub(crate) fn database_url(&self, role: Role) -> Option<&str> {
        let own = match role {
            Role::Auth => &self.auth.database_url,
            Role::Things => &self.things.database_url,
            Role::Channels => &self.channels.database_url,
            Role::Writer => &self.writer.database_url,
            Role::Reader => &self.reader.database_url,
            Role::Mqtt | Role::Http | Role::Gateway => &None,
        };
        own.as_deref().or(self.database_url.as_deref())
    }
}

impl Grants {
    /// The Postgres user of a role, if it has one of its own.
    pub(crate) fn user(&self, role: Role) -> Option<&str> {
        match role {
            Role::Auth => self.auth.as_deref(),
            Role::Things => self.things.as_deref(),
            Role::Channels => self.channels.as_deref(),
            Role::Writer => self.writer.as_deref(),
            Role::Reader => self.reader.as_deref(),
            Role::Mqtt | Role::Http | Role::Gateway => None,
        }
    }
}

impl Services {
    /// Where a service is, if the configuration says so.
    pub(crate) fn place(&self, service: Role) -> Option<&str> {
        match service {
            Role::Auth => self.auth.as_deref(),
            Role::Things => self.things.as_deref(),
            Role::Channels => self.channels.as_deref(),
            Role::Reader => self.reader.as_deref(),
            Role::Mqtt | Role::Http | Role::Writer | Role::Gateway => None,
        }
    }
}

impl Listen {
    /// The address of a transport of MQTT, where it is listened on.
    pub(crate) fn mqtt(&self, transport: Transport) -> Option<SocketAddr> {
        match transport {
            Transport::Mqtt => Some(self.mqtt),
            Transport::Mqtts => self.mqtts,
            Transport::Ws => self.ws,
            Transport::Wss => self.wss,
        }
    }

    /// Each address that is always listened on and has no TLS, with the name of its flag.
    pub fn named(&self) -> [(&'static str, SocketAddr); 4] {
        [
            ("http", self.http),
            ("grpc", self.grpc),
            ("mqtt", self.mqtt),
            ("ops", self.ops),
        ]
    }
}

/// An address of a database without the password in it. What follows a `?` may hold one too, so none of it is shown.
fn without_password(url: &str) -> String {
    let (address, query) = url.split_once('?').map_or((url, ""), |(address, _)| (address, "?…"));
    let Some((scheme, rest)) = address.split_once("://") else {
        return format!("{address}{query}");
    };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:…@{host}{query}")
        }
        None => format!("{address}{query}"),
    }
}

//! The configuration of a whole process: defaults, one TOML file, the environment, flags, each over the one before.
//!
//! Each service owns its part; this nests them. An unknown key is refused wherever it comes from.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What every environment variable of the configuration begins with.
const ENVIRONMENT_PREFIX: &str = "TRUNKLINE_";
/// Variables of tests and developer commands, which are no configuration.
const ENVIRONMENT_FOREIGN: [&str; 4] = [
    "TRUNKLINE_TEST_",
    "TRUNKLINE_BLESS",
    "TRUNKLINE_DEPS",
    "TRUNKLINE_BENCH_",
];

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder that holds everything the platform keeps.
    pub data: PathBuf,
    /// Lets listeners beyond loopback work without TLS.
    pub allow_plaintext: bool,
    /// Addresses that the platform listens on.
    pub listen: Listen,
    /// The first administrator, made on the first start.
    pub admin: Admin,
    /// What is logged.
    pub logging: Logging,
    /// Users, domains and roles.
    pub auth: trunkline_auth::Config,
    /// Clients.
    pub things: trunkline_things::Config,
    /// Channels and connections.
    pub channels: trunkline_channels::Config,
    /// The log that every message goes through.
    pub log: trunkline_bus::embedded::Config,
    /// The HTTP edge.
    pub gateway: trunkline_gateway::Config,
}

/// Addresses to listen on. Port 0 picks a free one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// API, messages over HTTP, `/health` and `/openapi.json`.
    pub http: SocketAddr,
    /// gRPC.
    pub grpc: SocketAddr,
    /// MQTT 3.1.1 and 5.
    pub mqtt: SocketAddr,
    /// Health, readiness and metrics for the operator.
    pub ops: SocketAddr,
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
    /// Filter such as `info` or `info,trunkline_mqtt=debug`.
    pub filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("./trunkline-data"),
            allow_plaintext: false,
            listen: Listen::default(),
            admin: Admin::default(),
            logging: Logging::default(),
            auth: Default::default(),
            things: Default::default(),
            channels: Default::default(),
            log: Default::default(),
            gateway: Default::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            http: loopback(8080),
            grpc: loopback(7070),
            mqtt: loopback(1883),
            ops: loopback(7071),
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
            filter: "info".to_owned(),
        }
    }
}

/// What the command line says over everything else.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder that holds everything the platform keeps [default: ./trunkline-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// API, messages over HTTP, /health and /openapi.json [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    pub http: Option<SocketAddr>,
    /// gRPC with health and reflection [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR:PORT")]
    pub grpc: Option<SocketAddr>,
    /// MQTT 3.1.1 and 5 [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR:PORT")]
    pub mqtt: Option<SocketAddr>,
    /// Health, readiness and metrics for the operator [default: 127.0.0.1:7071]
    #[arg(long, value_name = "ADDR:PORT")]
    pub ops: Option<SocketAddr>,
    /// E-mail address of the administrator that the first start makes [default: admin@example.com]
    #[arg(long, value_name = "EMAIL")]
    pub admin_email: Option<String>,
    /// File with the administrator's password; made by the first start when absent
    #[arg(long, value_name = "FILE")]
    pub admin_password_file: Option<PathBuf>,
    /// What is logged, such as `info` or `info,trunkline_mqtt=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Let listeners beyond loopback work without TLS
    #[arg(long)]
    pub allow_plaintext: bool,
}

impl Config {
    /// Reads the configuration from its four sources.
    ///
    /// # Errors
    /// One sentence that names the file, variable or key and what is wrong with it.
    pub fn load(flags: &Flags, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Error> {
        let mut table = match &flags.config {
            Some(file) => read_file(file)?,
            None => toml::Table::new(),
        };
        for (name, value) in environment {
            overlay(&mut table, &name, &value)?;
        }
        let mut config: Self = toml::Value::Table(table).try_into().map_err(|error: toml::de::Error| {
            let source = flags.config.as_ref().map_or("the environment".to_owned(), |file| {
                format!("{} or the environment", file.display())
            });
            Error::Configuration(format!("{} (in {source})", error.message()))
        })?;
        config.apply(flags);
        config.check()?;
        Ok(config)
    }

    fn apply(&mut self, flags: &Flags) {
        fn set<T: Clone>(place: &mut T, flag: &Option<T>) {
            if let Some(value) = flag {
                *place = value.clone();
            }
        }
        set(&mut self.data, &flags.data);
        set(&mut self.listen.http, &flags.http);
        set(&mut self.listen.grpc, &flags.grpc);
        set(&mut self.listen.mqtt, &flags.mqtt);
        set(&mut self.listen.ops, &flags.ops);
        set(&mut self.admin.email, &flags.admin_email);
        set(&mut self.logging.filter, &flags.log);
        if flags.admin_password_file.is_some() {
            self.admin.password_file.clone_from(&flags.admin_password_file);
        }
        self.allow_plaintext |= flags.allow_plaintext;
    }

    /// Refuses what is insecure or cannot work.
    fn check(&self) -> Result<(), Error> {
        self.log.check().map_err(Error::Configuration)?;
        for (name, address) in self.listen.named() {
            if !is_loopback(address.ip()) && !self.allow_plaintext {
                return Err(Error::Configuration(format!(
                    "`{name}` listens on {address}, beyond this machine, without TLS; keep it on 127.0.0.1, or give --allow-plaintext where \
                     the network itself is protected"
                )));
            }
        }
        Ok(())
    }

    /// The effective configuration as TOML, with secrets hidden.
    ///
    /// # Errors
    /// When a value has no form in TOML.
    pub fn render(&self) -> Result<String, Error> {
        let mut shown = self.clone();
        for url in [
            &mut shown.auth.database_url,
            &mut shown.things.database_url,
            &mut shown.channels.database_url,
        ] {
            *url = url.take().map(|url| without_password(&url));
        }
        toml::to_string_pretty(&shown).map_err(|error| Error::Configuration(error.to_string()))
    }
}

impl Listen {
    /// Each address with the name of its flag.
    pub fn named(&self) -> [(&'static str, SocketAddr); 4] {
        [
            ("http", self.http),
            ("grpc", self.grpc),
            ("mqtt", self.mqtt),
            ("ops", self.ops),
        ]
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
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

fn read_file(file: &Path) -> Result<toml::Table, Error> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Error::Configuration(format!(
            "the configuration file {} cannot be read: {error}",
            file.display()
        ))
    })?;
    text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        Error::Configuration(format!("{}, line {line}: {}", file.display(), error.message()))
    })
}

/// Puts one environment variable into its place: `TRUNKLINE_THINGS__DATABASE_URL` is `things.database_url`.
fn overlay(table: &mut toml::Table, name: &str, value: &str) -> Result<(), Error> {
    let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) else {
        return Ok(());
    };
    if ENVIRONMENT_FOREIGN.iter().any(|foreign| name.starts_with(foreign)) || name.ends_with("_BIN") {
        return Ok(());
    }
    let path = path.to_lowercase();
    let mut place = table;
    let mut keys = path.split("__").peekable();
    while let Some(key) = keys.next() {
        if keys.peek().is_none() {
            place.insert(key.to_owned(), parsed(value));
            return Ok(());
        }
        let inner = place
            .entry(key)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = inner
            .as_table_mut()
            .ok_or_else(|| Error::Configuration(format!("{name}: `{key}` has no keys below it")))?;
    }
    Ok(())
}

/// A value as TOML would read it, or else as text.
fn parsed(value: &str) -> toml::Value {
    if let Ok(flag) = value.parse::<bool>() {
        return toml::Value::Boolean(flag);
    }
    value
        .parse::<i64>()
        .map_or_else(|_| toml::Value::String(value.to_owned()), toml::Value::Integer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)], flags: Flags) -> Result<Config, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trunkline.toml");
        std::fs::write(&path, file).unwrap();
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        Config::load(
            &Flags {
                config: Some(path),
                ..flags
            },
            environment.into_iter(),
        )
    }

    #[test]
    fn each_source_goes_over_the_one_before() {
        let file =
            "data = \"from-file\"\n[listen]\nhttp = \"127.0.0.1:1\"\ngrpc = \"127.0.0.1:1\"\nmqtt = \"127.0.0.1:1\"";
        let environment = [
            ("TRUNKLINE_LISTEN__GRPC", "127.0.0.1:2"),
            ("TRUNKLINE_LISTEN__MQTT", "127.0.0.1:2"),
        ];
        let flags = Flags {
            mqtt: Some("127.0.0.1:3".parse().unwrap()),
            ..Flags::default()
        };
        let config = load(file, &environment, flags).unwrap();
        let ports = config.listen.named().map(|(_, address)| address.port());
        assert_eq!(ports, [1, 2, 3, 7071]);
        assert_eq!(config.data, PathBuf::from("from-file"));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name_wherever_it_comes_from() {
        let from_file = load("[listen]\nhtpp = \"127.0.0.1:1\"", &[], Flags::default())
            .unwrap_err()
            .to_string();
        assert!(from_file.contains("unknown field `htpp`"), "{from_file}");
        let from_environment = load("", &[("TRUNKLINE_DTA", "x")], Flags::default())
            .unwrap_err()
            .to_string();
        assert!(from_environment.contains("unknown field `dta`"), "{from_environment}");
        assert!(load("", &[("TRUNKLINE_TEST_POSTGRES", "x")], Flags::default()).is_ok());
    }

    #[test]
    fn a_listener_beyond_loopback_needs_consent() {
        let open = Flags {
            http: Some("0.0.0.0:8080".parse().unwrap()),
            ..Flags::default()
        };
        let refused = load("", &[], open.clone()).unwrap_err().to_string();
        assert!(refused.contains("--allow-plaintext"), "{refused}");
        assert!(
            load(
                "",
                &[],
                Flags {
                    allow_plaintext: true,
                    ..open
                }
            )
            .is_ok()
        );
    }

    #[test]
    fn what_is_shown_has_no_passwords() {
        let mut config = Config::default();
        config.auth.database_url = Some("postgres://trunkline:hunter2@db:5432/auth".into());
        config.things.database_url = Some("postgres://db/things?user=u&password=hunter2".into());
        let shown = config.render().unwrap();
        assert!(
            !shown.contains("hunter2") && shown.contains("trunkline:…@db:5432"),
            "{shown}"
        );
    }
}

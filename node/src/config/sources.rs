//! Where the configuration comes from: one file, the environment, flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Config;
use crate::error::Error;
use crate::roles::Role;

/// What every environment variable of the configuration begins with.
const ENVIRONMENT_PREFIX: &str = "TRUNKLINE_";
/// Variables of tests and developer commands, which are no configuration.
const ENVIRONMENT_FOREIGN: [&str; 4] = [
    "TRUNKLINE_TEST_",
    "TRUNKLINE_BLESS",
    "TRUNKLINE_DEPS",
    "TRUNKLINE_BENCH_",
];

/// What the command line says over everything else.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder that holds everything the platform keeps on embedded storage [default: ./trunkline-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// API, messages over HTTP, /health and /openapi.json [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    pub http: Option<SocketAddr>,
    /// The same over TLS, with the files that `[http.tls]` of the configuration names [default: none]
    #[arg(long, value_name = "ADDR:PORT")]
    pub https: Option<SocketAddr>,
    /// gRPC with health and reflection [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR:PORT")]
    pub grpc: Option<SocketAddr>,
    /// MQTT 3.1.1 and 5 [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR:PORT")]
    pub mqtt: Option<SocketAddr>,
    /// MQTT over WebSocket [default: none, and at /mqtt of --http]
    #[arg(long, value_name = "ADDR:PORT")]
    pub ws: Option<SocketAddr>,
    /// MQTT over WebSocket and TLS [default: none]
    #[arg(long, value_name = "ADDR:PORT")]
    pub wss: Option<SocketAddr>,
    /// MQTT over TLS, with the files that `[mqtt.tls]` of the configuration names [default: none]
    #[arg(long, value_name = "ADDR:PORT")]
    pub mqtts: Option<SocketAddr>,
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
    /// Let public listeners beyond loopback work without TLS
    #[arg(long)]
    pub allow_plaintext: bool,
}

/// What the command line of `trunkline serve` says besides.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SliceFlags {
    /// What runs in this process, such as `auth,things,channels`
    #[arg(long, value_name = "ROLE,…", value_delimiter = ',')]
    pub roles: Vec<Role>,
    /// Calls of the platform's other processes [default: 127.0.0.1:7072]
    #[arg(long, value_name = "ADDR:PORT")]
    pub internal: Option<SocketAddr>,
    /// The other flags.
    #[command(flatten)]
    pub flags: Flags,
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

    /// The same for one process of a split platform.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_slice(flags: &SliceFlags, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Error> {
        let mut config = Self::load(&flags.flags, environment)?;
        if !flags.roles.is_empty() {
            config.roles.clone_from(&flags.roles);
        }
        set(&mut config.listen.internal, &flags.internal);
        Ok(config)
    }

    fn apply(&mut self, flags: &Flags) {
        set(&mut self.data, &flags.data);
        set(&mut self.listen.http, &flags.http);
        self.listen.https = flags.https.or(self.listen.https);
        set(&mut self.listen.grpc, &flags.grpc);
        set(&mut self.listen.mqtt, &flags.mqtt);
        self.listen.mqtts = flags.mqtts.or(self.listen.mqtts);
        self.listen.ws = flags.ws.or(self.listen.ws);
        self.listen.wss = flags.wss.or(self.listen.wss);
        set(&mut self.listen.ops, &flags.ops);
        set(&mut self.admin.email, &flags.admin_email);
        set(&mut self.logging.filter, &flags.log);
        if flags.admin_password_file.is_some() {
            self.admin.password_file.clone_from(&flags.admin_password_file);
        }
        self.allow_plaintext |= flags.allow_plaintext;
    }
}

fn set<T: Clone>(place: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        *place = value.clone();
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
    if let Ok(number) = value.parse::<i64>() {
        return toml::Value::Integer(number);
    }
    // Digits around one point and nothing else: `inf` and `1e5` are words.
    let is_fraction = value.contains('.') && value.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit());
    match value.parse::<f64>() {
        Ok(number) if is_fraction => toml::Value::Float(number),
        _ => toml::Value::String(value.to_owned()),
    }
}

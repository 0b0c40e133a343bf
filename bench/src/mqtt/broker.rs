//! The brokers that are measured, as child processes, and loopback without one.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use trunkline_mqtt_wire::{ConnAck, Version};

use super::Options;
use crate::Place;
use crate::ingest::Trunkline;
use crate::ingest::server::{folder, free_address, quiet, until_it_answers};
use crate::load::{Target, Wire};
use crate::process;
use crate::site::Site;

/// Clients that are made on Trunkline; connections take them in turn.
const CLIENTS: usize = 16;
/// Who connects to mosquitto with a password file.
const USER: &str = "device";
const PASSWORD: &str = "correct-horse-battery";

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// Trunkline whose acknowledgements mean written.
    Written,
    /// The same with a crowd that means harm around it.
    Besieged,
    /// Trunkline as it comes: they mean synced.
    Synced,
    /// Mosquitto that keeps nothing and asks nobody for a password.
    Mosquitto,
    /// Mosquitto that writes its state to disk every now and then, as it comes.
    MosquittoPersistent,
    /// Mosquitto with a password file.
    MosquittoPasswords,
    Rumqttd,
    /// A publisher whose socket ends at its subscriber: what the machine and the generator take by themselves.
    Loopback,
}

impl Peer {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Written => "trunkline, written",
            Self::Besieged => "trunkline, besieged",
            Self::Synced => "trunkline, synced",
            Self::Mosquitto => "mosquitto",
            Self::MosquittoPersistent => "mosquitto, kept",
            Self::MosquittoPasswords => "mosquitto, passwords",
            Self::Rumqttd => "rumqttd",
            Self::Loopback => "no broker",
        }
    }
}

/// A broker that runs. It ends when it is dropped.
pub(super) struct Broker {
    /// Whom to connect as, connection by connection in turn.
    targets: Vec<Target>,
    running: Running,
}

enum Running {
    Trunkline(Trunkline),
    Child { child: Child, _folder: TempDir },
    Nobody,
}

impl Broker {
    pub(super) async fn start(peer: Peer, options: &Options) -> Result<Self> {
        match peer {
            Peer::Written | Peer::Besieged => Self::trunkline(options, &[("TRUNKLINE_LOG__TIER", "written")]).await,
            Peer::Synced => Self::trunkline(options, &[]).await,
            Peer::Mosquitto => Self::mosquitto(options, "allow_anonymous true\npersistence false\n").await,
            Peer::MosquittoPersistent => Self::mosquitto(options, "allow_anonymous true\npersistence true\n").await,
            Peer::MosquittoPasswords => {
                Self::mosquitto(options, "allow_anonymous false\npassword_file passwords\n").await
            }
            Peer::Rumqttd => Self::rumqttd(options).await,
            Peer::Loopback => Ok(Self {
                targets: Vec::new(),
                running: Running::Nobody,
            }),
        }
    }

    async fn trunkline(options: &Options, settings: &[(&str, &str)]) -> Result<Self> {
        let server = Trunkline::start_with(&options.trunkline, &options.folder, settings).await?;
        let site = Site::make(&server.access, 1, CLIENTS).await?;
        Ok(Self {
            targets: site.targets,
            running: Running::Trunkline(server),
        })
    }

    async fn mosquitto(options: &Options, settings: &str) -> Result<Self> {
        let (folder, address) = (folder(&options.folder)?, free_address()?);
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let configuration = format!(
            "listener {} 127.0.0.1\nuser {user}\nlog_type error\nmax_queued_messages 0\n{settings}",
            address.port()
        );
        fs::write(folder.path().join("mosquitto.conf"), configuration)?;
        let mut passwords = Command::new(&options.mosquitto_passwd);
        passwords.args(["-b", "-c", "passwords", USER, PASSWORD]);
        let made = passwords.current_dir(folder.path()).output().await?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::child(&options.mosquitto, &["-c", "mosquitto.conf"], folder, address).await
    }

    async fn rumqttd(options: &Options) -> Result<Self> {
        let (folder, address) = (folder(&options.folder)?, free_address()?);
        let configuration = include_str!("rumqttd.toml").replace("ADDRESS", &address.to_string());
        fs::write(folder.path().join("rumqttd.toml"), configuration)?;
        Self::child(&options.rumqttd, &["-q", "-c", "rumqttd.toml"], folder, address).await
    }

    async fn child(program: &Path, arguments: &[&str], folder: TempDir, address: SocketAddr) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments);
        let child = quiet(command, &folder)?.spawn();
        let child = child.with_context(|| program.display().to_string())?;
        until_it_answers(address, &folder).await?;
        let target = Target {
            http: address,
            mqtt: address,
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
            topic: "bench".to_owned(),
            place: Place {
                domain: String::new(),
                channel: String::new(),
            },
        };
        Ok(Self {
            targets: vec![target],
            running: Running::Child { child, _folder: folder },
        })
    }

    /// Whether there is a broker at all.
    pub(super) const fn is_there(&self) -> bool {
        !matches!(self.running, Running::Nobody)
    }

    /// Whom to connect as.
    pub(super) fn target(&self, connection: usize) -> &Target {
        &self.targets[connection % self.targets.len()]
    }

    /// The topic of a number, for connections of any number.
    pub(super) fn topic(&self, number: usize) -> String {
        let base = self.targets.first().map_or("bench", |target| &target.topic);
        format!("{base}/{number}")
    }

    /// A connection that was admitted.
    pub(super) async fn connect(&self, connection: usize) -> Result<(Wire, ConnAck)> {
        Wire::connect(self.target(connection), Version::V3).await
    }

    /// A publisher, and one that subscribes to what it sends to `topic`.
    pub(super) async fn pair(&self, number: usize, topic: &str, qos: u8) -> Result<(Wire, Wire)> {
        if !self.is_there() {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let publisher = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
            let (subscriber, _) = listener.accept().await?;
            return Ok((
                Wire::over(publisher, Version::V3)?,
                Wire::over(subscriber, Version::V3)?,
            ));
        }
        let (mut subscriber, _) = self.connect(2 * number).await?;
        subscriber.subscribe(topic, qos).await?;
        Ok((self.connect(2 * number + 1).await?.0, subscriber))
    }

    fn id(&self) -> Option<u32> {
        match &self.running {
            Running::Trunkline(server) => Some(server.id()),
            Running::Child { child, .. } => child.id(),
            Running::Nobody => None,
        }
    }

    /// Processor time that the broker has had.
    pub(super) fn worked(&self) -> Result<Option<Duration>> {
        self.id().map(process::processor_time).transpose()
    }

    /// Memory that the broker holds, in bytes.
    pub(super) fn resident_bytes(&self) -> Result<u64> {
        process::resident_bytes(self.id().context("there is no broker")?)
    }
}

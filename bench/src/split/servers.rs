//! A split platform as child processes on a NATS server of its own, grouped and with the rights of `deploy/split`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::ingest::server::{EMAIL, PASSWORD, Ready, folder, free_address, quiet, until_it_answers};
use crate::site::Access;

/// The users on NATS as operators set them up; here the password of each is his name.
const NATS_USERS: &str = include_str!("../../../deploy/split/nats-users.conf");
/// Bytes of the log: room for all parts of a round.
const LOG_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// What the server may set aside for streams: it does so long before anything is written, and left alone it counts the disk's free bytes.
const STORE_BYTES_MAX: u64 = 1024 * 1024 * 1024 * 1024;

/// One process of the platform.
struct Group {
    name: &'static str,
    roles: &'static [&'static str],
    /// Services of it that others call.
    services: &'static [&'static str],
    nats_user: &'static str,
}

/// The processes in the order of their start: whoever is called comes first.
const GROUPS: [Group; 4] = [
    Group {
        name: "core",
        roles: &["auth", "things", "channels"],
        services: &["auth", "things", "channels"],
        nats_user: "service",
    },
    Group {
        name: "store",
        roles: &["writer", "reader"],
        services: &["reader"],
        nats_user: "writer",
    },
    Group {
        name: "adapters",
        roles: &["mqtt", "http"],
        services: &[],
        nats_user: "adapter",
    },
    Group {
        name: "gateway",
        roles: &["gateway"],
        services: &[],
        // It does not speak to NATS.
        nats_user: "adapter",
    },
];

/// A NATS server with JetStream. It ends when it is dropped.
pub(super) struct Nats {
    address: String,
    child: Child,
    _folder: TempDir,
}

impl Nats {
    pub(super) async fn start(program: &Path, on: &Path) -> Result<Self> {
        let folder = folder(on)?;
        let address = free_address()?;
        let configuration = format!(
            "listen: \"{address}\"\njetstream: {{ store_dir: \"store\", max_file_store: {STORE_BYTES_MAX} }}\n{NATS_USERS}"
        );
        fs::write(folder.path().join("nats.conf"), configuration)?;
        let mut command = Command::new(program);
        command.args(["-c", "nats.conf"]);
        for user in ["owner", "service", "writer", "adapter"] {
            command.env(format!("NATS_{}_PASSWORD", user.to_uppercase()), user);
        }
        let child = quiet(command, &folder)?
            .spawn()
            .with_context(|| program.display().to_string())?;
        until_it_answers(address, &folder).await?;
        Ok(Self {
            address: format!("nats://{address}"),
            child,
            _folder: folder,
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }
}

/// A process that runs.
pub(super) struct Process {
    pub(super) name: &'static str,
    child: Child,
    ready: Ready,
    _folder: TempDir,
}

impl Process {
    pub(super) fn id(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }
}

/// What the processes of one platform share.
struct Common<'run> {
    trunkline: &'run Path,
    /// Folder on the disk to measure on.
    on: &'run Path,
    /// Folder of keys and of the administrator's password.
    shared: &'run Path,
    database_url: &'run str,
    nats: &'run str,
}

impl Common<'_> {
    /// A configuration file in `folder` for a process that is `nats_user`.
    fn configure(&self, folder: &TempDir, nats_user: &str, roles: &[&str], services: &str) -> Result<()> {
        let mut text = format!("roles = {roles:?}\ndatabase_url = {:?}\n[listen]\n", self.database_url);
        for listener in ["http", "grpc", "mqtt", "ops", "internal"] {
            // A `String` takes whatever is written to it.
            let _ = writeln!(text, "{listener} = \"127.0.0.1:0\"");
        }
        let (keys, password) = (self.shared.join("keys"), self.shared.join("password"));
        let _ = writeln!(
            text,
            "[keys]\nfolder = {keys:?}\n[admin]\nemail = {EMAIL:?}\npassword_file = {password:?}\n[logging]\nfilter = \"warn\"\n\
             [nats]\nurls = [{:?}]\nuser = {nats_user:?}\npassword = {nats_user:?}\nshards = 4\nbytes_max = {LOG_BYTES_MAX}\n\
             [services]\n{services}",
            self.nats
        );
        Ok(fs::write(folder.path().join("trunkline.toml"), text)?)
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(self.trunkline);
        command.args([subcommand, "--config", "trunkline.toml"]);
        command
    }

    /// `trunkline migrate`, with the owner's rights.
    async fn migrate(&self) -> Result<()> {
        let folder = folder(self.on)?;
        self.configure(&folder, "owner", &[], "")?;
        let status = quiet(self.command("migrate"), &folder)?.status().await?;
        let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        ensure!(status.success(), "the platform cannot be made: {}", log());
        Ok(())
    }

    async fn start(&self, group: &Group, services: &str) -> Result<Process> {
        let folder = folder(self.on)?;
        self.configure(&folder, group.nats_user, group.roles, services)?;
        let (child, ready) = Ready::start(self.command("serve"), &folder)
            .await
            .with_context(|| format!("the process {}", group.name))?;
        Ok(Process {
            name: group.name,
            child,
            ready,
            _folder: folder,
        })
    }
}

/// A platform that runs. Its processes end, without grace, when it is dropped.
pub(super) struct Split {
    /// Callers last.
    pub(super) processes: Vec<Process>,
    shared: TempDir,
}

impl Split {
    /// Makes a platform in an empty database and starts it.
    pub(super) async fn start(trunkline: &Path, on: &Path, database_url: &str, nats: &Nats) -> Result<Self> {
        let shared = folder(on)?;
        fs::write(shared.path().join("password"), PASSWORD)?;
        let common = Common {
            trunkline,
            on,
            // Each process runs in a folder of its own.
            shared: &shared.path().canonicalize()?,
            database_url,
            nats: nats.address(),
        };
        common.migrate().await?;
        let (mut processes, mut services) = (Vec::new(), String::new());
        for group in &GROUPS {
            let process = common.start(group, &services).await?;
            if !group.services.is_empty() {
                let internal = process.ready.address("internal")?;
                for service in group.services {
                    let _ = writeln!(services, "{service} = \"http://{internal}\"");
                }
            }
            processes.push(process);
        }
        Ok(Self { processes, shared })
    }

    /// A folder to keep ledgers in.
    pub(super) fn folder(&self) -> &Path {
        self.shared.path()
    }

    /// Where devices and users come in; `ops` is that of the process that stores.
    pub(super) fn access(&self) -> Result<Access> {
        let [_, store, adapters, gateway] = &self.processes[..] else {
            unreachable!("each group is one process");
        };
        Ok(Access {
            http: gateway.ready.address("http")?,
            messages: adapters.ready.address("http")?,
            mqtt: adapters.ready.address("mqtt")?,
            ops: store.ready.address("ops")?,
            email: EMAIL.to_owned(),
            password: PASSWORD.to_owned(),
        })
    }
}

//! The servers that are measured, as child processes with folders of their own.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::Place;
use crate::load::Target;
use crate::site::Access;

/// How long a server may take to start.
const START_WAIT: Duration = Duration::from_secs(60);
const START_POLL: Duration = Duration::from_millis(20);
/// The administrator of a platform that is measured.
pub(crate) const EMAIL: &str = "bench@example.com";
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A folder on the disk that is measured.
pub(crate) fn folder(on: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix("trunkline-bench-").tempdir_in(on);
    made.with_context(|| format!("{} cannot be written", on.display()))
}

/// A Trunkline on free ports. It ends, without grace, when it is dropped.
pub(crate) struct Trunkline {
    pub(crate) access: Access,
    child: Child,
    folder: TempDir,
}

impl Trunkline {
    pub(crate) async fn start(program: &Path, on: &Path) -> Result<Self> {
        Self::start_with(program, on, &[]).await
    }

    /// The same with settings of its own: variables and what they say.
    pub(crate) async fn start_with(program: &Path, on: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let folder = folder(on)?;
        fs::write(folder.path().join("password"), PASSWORD)?;
        let mut command = Command::new(program);
        command.args([
            "up",
            "--data",
            "data",
            "--admin-email",
            EMAIL,
            "--admin-password-file",
            "password",
        ]);
        command.args(["--log", "warn"]).envs(settings.iter().copied());
        for listener in ["--http", "--grpc", "--mqtt", "--ops"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        let (child, ready) = Ready::start(command, &folder).await?;
        let http = ready.address("http")?;
        let access = Access {
            http,
            messages: http,
            mqtt: ready.address("mqtt")?,
            ops: ready.address("ops")?,
            email: EMAIL.to_owned(),
            password: PASSWORD.to_owned(),
        };
        Ok(Self { access, child, folder })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// What a process of Trunkline said when it was ready.
pub(crate) struct Ready(String);

impl Ready {
    /// Starts one in a folder and waits until it is ready.
    pub(crate) async fn start(command: Command, folder: &TempDir) -> Result<(Child, Self)> {
        let program = command.as_std().get_program().to_owned();
        let mut child = quiet(command, folder)?
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().context("its output was asked for")?);
        timeout(START_WAIT, stdout.read_line(&mut line))
            .await
            .context("it does not start")??;
        let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        ensure!(line.starts_with("ready "), "it does not start: {line}{}", log());
        Ok((child, Self(line)))
    }

    /// The address of a listener, such as `http`.
    pub(crate) fn address(&self, name: &str) -> Result<SocketAddr> {
        let value = |word: &'_ str| word.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        let value = self.0.split_whitespace().find_map(value);
        Ok(value
            .with_context(|| format!("{name} is not in: {}", self.0))?
            .parse()?)
    }
}

/// Mosquitto with persistence on. It ends when it is dropped.
pub(super) struct Mosquitto {
    address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Mosquitto {
    pub(super) async fn start(program: &Path, on: &Path) -> Result<Self> {
        let folder = folder(on)?;
        let address = free_address()?;
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let configuration = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nuser {user}\npersistence true\npersistence_location {}/\n{}",
            address.port(),
            folder.path().display(),
            include_str!("mosquitto.conf")
        );
        let path = folder.path().join("mosquitto.conf");
        fs::write(&path, configuration)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(path);
        let child = quiet(command, &folder)?
            .spawn()
            .with_context(|| program.display().to_string())?;
        until_it_answers(address, &folder).await?;
        Ok(Self {
            address,
            child,
            _folder: folder,
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    pub(super) fn target(&self) -> Target {
        Target {
            http: self.address,
            mqtt: self.address,
            user: String::new(),
            password: String::new(),
            topic: "bench".to_owned(),
            place: Place {
                domain: String::new(),
                channel: String::new(),
            },
        }
    }
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until a server that runs in `folder` takes connections.
pub(crate) async fn until_it_answers(address: SocketAddr, folder: &TempDir) -> Result<()> {
    let deadline = Instant::now() + START_WAIT;
    while TcpStream::connect(address).is_err() {
        let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        ensure!(Instant::now() < deadline, "a server does not start: {}", log());
        tokio::time::sleep(START_POLL).await;
    }
    Ok(())
}

/// Runs in a folder, its complaints in a file there, and not longer than its owner.
pub(crate) fn quiet(mut command: Command, folder: &TempDir) -> Result<Command> {
    let log = File::create(folder.path().join("log"))?;
    command
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true);
    Ok(command)
}

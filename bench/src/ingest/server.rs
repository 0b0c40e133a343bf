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
const EMAIL: &str = "bench@example.com";
const PASSWORD: &str = "correct horse battery";

/// A folder on the disk that is measured.
pub(super) fn folder(on: &Path) -> Result<TempDir> {
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
        command.args(["--log", "warn"]);
        for listener in ["--http", "--grpc", "--mqtt", "--ops"] {
            command.args([listener, "127.0.0.1:0"]);
        }
        let mut child = quiet(command, &folder)?
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let mut ready = String::new();
        let mut stdout = BufReader::new(child.stdout.take().context("its output was asked for")?);
        timeout(START_WAIT, stdout.read_line(&mut ready))
            .await
            .context("it does not start")??;
        let address = |name: &str| -> Result<SocketAddr> {
            let word = ready.split_whitespace().find_map(|word| word.strip_prefix(name));
            let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            Ok(word
                .with_context(|| format!("it does not start: {ready}{}", log()))?
                .parse()?)
        };
        let access = Access {
            http: address("http=")?,
            mqtt: address("mqtt=")?,
            ops: address("ops=")?,
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

/// Mosquitto with persistence on. It ends when it is dropped.
pub(super) struct Mosquitto {
    address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Mosquitto {
    pub(super) async fn start(program: &Path, on: &Path) -> Result<Self> {
        let folder = folder(on)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
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
        let deadline = Instant::now() + START_WAIT;
        while TcpStream::connect(address).is_err() {
            let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            ensure!(Instant::now() < deadline, "mosquitto does not start: {}", log());
            tokio::time::sleep(START_POLL).await;
        }
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

/// Runs in a folder, its complaints in a file there, and not longer than its owner.
fn quiet(mut command: Command, folder: &TempDir) -> Result<Command> {
    let log = File::create(folder.path().join("log"))?;
    command
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true);
    Ok(command)
}

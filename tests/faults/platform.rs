//! The platform in a process of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use trunkline_bench::site::Access;
use trunkline_testkit::TempDir;

/// How long a start may take on a busy machine.
const START_WAIT: Duration = Duration::from_secs(60);
const EMAIL: &str = "admin@example.com";
const PASSWORD: &str = "correct horse battery";

/// What a platform is started on. It outlives the processes.
pub(crate) struct Ground {
    folder: TempDir,
    /// Variables of configuration.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// A program, with its arguments, that runs the platform as its child.
    pub(crate) runner: Vec<String>,
    /// Where the first process listened, and the later ones do too.
    listen: Option<[SocketAddr; 4]>,
}

/// A process that is ready.
pub(crate) struct Platform {
    child: Child,
    id: u32,
    /// Where it listens.
    pub(crate) access: Access,
}

const LISTENERS: [&str; 4] = ["http", "grpc", "mqtt", "ops"];

impl Ground {
    pub(crate) fn new() -> Self {
        let folder = trunkline_testkit::free_dir();
        fs::write(folder.path().join("password"), PASSWORD).unwrap();
        Self {
            folder,
            environment: Vec::new(),
            runner: Vec::new(),
            listen: None,
        }
    }

    /// The same with a key of the configuration, such as `LOG__DOMAIN_BYTES_MAX`.
    pub(crate) fn with(mut self, key: &'static str, value: &str) -> Self {
        self.environment.push((key, value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of the data folder.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.path("data").join(name)
    }

    /// What the process wrote to its log, of all its lives.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A process that was started and may not be ready.
    pub(crate) fn spawn(&self) -> Child {
        let program = Path::new(env!("CARGO_BIN_EXE_platform"));
        let mut command = match self.runner.split_first() {
            None => Command::new(program),
            Some((runner, arguments)) => {
                let mut command = Command::new(runner);
                command.args(arguments).arg(program);
                command
            }
        };
        command.args([
            "up",
            "--data",
            "data",
            "--admin-password-file",
            "password",
            "--log",
            "warn",
        ]);
        for (i, listener) in LISTENERS.iter().enumerate() {
            let address = self
                .listen
                .map_or("127.0.0.1:0".to_owned(), |listen| listen[i].to_string());
            command.arg(format!("--{listener}")).arg(address);
        }
        for (key, value) in &self.environment {
            command.env(format!("TRUNKLINE_{key}"), value);
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// A process that is ready.
    pub(crate) async fn start(&mut self) -> Platform {
        let mut child = self.spawn();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        let read = timeout(START_WAIT, stdout.read_line(&mut ready)).await;
        let is_ready = read.is_ok_and(|read| read.is_ok()) && ready.starts_with("ready ");
        assert!(is_ready, "the platform does not start: {ready} {}", self.log());
        let listen = LISTENERS.map(|listener| address(&ready, listener));
        self.listen = Some(listen);
        let [http, _, mqtt, ops] = listen;
        let access = Access {
            http,
            messages: http,
            mqtt,
            ops,
            email: EMAIL.to_owned(),
            password: PASSWORD.to_owned(),
        };
        let id = child.id().expect("it has not ended");
        Platform { child, id, access }
    }
}

impl Platform {
    /// Ends it at once, as a power switch would end the process alone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Asks it to end, as an operator does.
    pub(crate) fn terminate(&self) {
        let told = std::process::Command::new("kill")
            .args(["-TERM", &self.id.to_string()])
            .status();
        assert!(told.unwrap().success());
    }

    /// Waits until it has ended by itself, and returns its exit code.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Option<i32> {
        let ended = timeout(limit, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("it has not ended after {limit:?}"));
        status.unwrap().code()
    }
}

fn address(ready: &str, listener: &str) -> SocketAddr {
    let name = format!("{listener}=");
    let word = ready.split_whitespace().find_map(|word| word.strip_prefix(&name));
    word.unwrap().parse().unwrap()
}

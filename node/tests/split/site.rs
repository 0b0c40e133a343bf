//! A split platform of child processes: the binary, configuration files, a Postgres database and a NATS server of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};

use tempfile::TempDir;
use trunkline_testkit::{Database, Nats, Postgres};

/// Password of the administrator.
const PASSWORD: &str = "correct horse battery";

/// Bytes of the log: servers of tests set aside little.
const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What the processes of one platform share.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) database: Database,
    pub(crate) nats: Nats,
    /// Lines for the section [services] of whoever starts from now on.
    pub(crate) services: String,
    /// The section [telemetry] of whoever starts from now on; empty for none.
    pub(crate) telemetry: String,
}

/// One process.
pub(crate) struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Site {
    /// Servers, and nothing made on them.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("password"), PASSWORD).unwrap();
        Self {
            folder,
            database: Postgres::database().await,
            nats: Nats::start(),
            services: String::new(),
            telemetry: String::new(),
        }
    }

    /// A platform with its keys, streams and schemas.
    pub(crate) async fn migrated() -> Self {
        let site = Self::new().await;
        let output = site.command("migrate", &site.config()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        site
    }

    /// The configuration that all processes have in common.
    pub(crate) fn config(&self) -> String {
        let listen: String = ["http", "grpc", "mqtt", "ops", "internal"]
            .map(|name| format!("{name} = \"127.0.0.1:0\"\n"))
            .concat();
        format!(
            "database_url = {:?}\n[listen]\n{listen}[keys]\nfolder = \"keys\"\n[admin]\npassword_file = \"password\"\n\
             [nats]\nurls = [{:?}]\nbytes_max = {LOG_BYTES_MAX}\n{}[services]\n{}",
            self.database.url(),
            self.nats.url(),
            self.telemetry,
            self.services
        )
    }

    /// The binary with a subcommand and a configuration, in the site's folder.
    pub(crate) fn command(&self, subcommand: &str, config: &str) -> Command {
        let file = tempfile::Builder::new()
            .suffix(".toml")
            .tempfile_in(self.folder.path())
            .unwrap();
        file.as_file().write_all(config.as_bytes()).unwrap();
        let (_, path) = file.keep().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.arg(subcommand).arg("--config").arg(path);
        command
    }

    /// `trunkline serve` with these roles.
    pub(crate) fn serve(&self, roles: &str) -> Command {
        let mut command = self.command("serve", &self.config());
        command.args(["--roles", roles]);
        command
    }

    /// Starts `trunkline serve` with these roles and waits until it is ready; whoever starts later calls its services.
    pub(crate) fn start(&mut self, roles: &str) -> Process {
        let mut process = Process::spawn(&mut self.serve(roles));
        let addresses = process.ready();
        if let Some(internal) = address(&addresses, "internal") {
            for role in ["auth", "things", "channels", "reader"] {
                if roles.split(',').any(|part| part == role) {
                    self.services += &format!("{role} = \"http://{internal}\"\n");
                }
            }
        }
        process
    }

    /// Runs a client command, such as `demo`, as the administrator; whether it succeeded, and what it printed.
    pub(crate) fn ask(&self, command: &str, http: SocketAddr, mqtt: SocketAddr, more: &[&str]) -> (bool, String) {
        let mut asking = Command::new(env!("CARGO_BIN_EXE_trunkline"));
        asking.current_dir(self.folder.path()).stdin(Stdio::null());
        asking.args([command, "--email", "admin@example.com", "--password-file", "password"]);
        asking.args(["--url", &format!("http://{http}"), "--mqtt", &mqtt.to_string()]);
        let output = asking.args(more).output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(told).unwrap())
    }
}

impl Process {
    /// Starts a process without waiting for anything.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self {
            stdout: BufReader::new(child.stdout.take().unwrap()),
            stderr: BufReader::new(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Waits until it is ready; its addresses as it prints them.
    pub(crate) fn ready(&mut self) -> String {
        let line = self.line();
        assert!(line.starts_with("ready "), "{line:?} {}", self.end());
        line
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Reads its log up to a line with `words`, and returns that line.
    pub(crate) fn logs(&mut self, words: &str) -> String {
        let mut line = String::new();
        while self.stderr.read_line(&mut line).unwrap() > 0 {
            if line.contains(words) {
                return line;
            }
            line.clear();
        }
        panic!("`{words}` was never logged");
    }

    /// Holds it still.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Has it end by itself, and waits until it did.
    pub(crate) fn stopped(&mut self) -> ExitStatus {
        self.signal("-TERM");
        self.child.wait().unwrap()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Kills it and returns what it logged last.
    pub(crate) fn end(&mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        let _ = self.stderr.read_to_string(&mut text);
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address of a listener in a line such as `http=127.0.0.1:80 ops=…`.
pub(crate) fn address(line: &str, name: &str) -> Option<SocketAddr> {
    let name = format!("{name}=");
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(&name))?;
    // In a log, words end at the quotes of their line.
    word.split('"').next()?.parse().ok()
}

/// Status code and body of a GET.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

//! A Postgres server of one test: its own files, a loopback port that it keeps over restarts, and an end at any moment.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::tool::variable;

/// How long a server may take to come up on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// Who runs the server when we are root, whom it refuses.
const NOBODY: u32 = 65534;
/// It keeps what it acknowledged when its processes are killed, though not when the machine is.
const SETTINGS: [&str; 6] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=100",
    "fsync=off",
    "jit=off",
    "lc_messages=C",
];

/// Runs the server as its child; kills it when our end of the pipe closes, however we end. Its own children end with it.
const KEEPER: &str = r#"
log=$1; shift
"$@" >>"$log" 2>&1 &
server=$!
exec 2>/dev/null
read -r _
kill -KILL "$server"
wait "$server"
"#;

/// A server that trusts everyone on this machine. Dropping it kills it and removes its files.
pub struct PostgresServer {
    folder: TempDir,
    port: u16,
    keeper: Option<Child>,
}

impl PostgresServer {
    /// Makes an empty server and starts it.
    ///
    /// # Panics
    ///
    /// If `TRUNKLINE_TEST_POSTGRES_BIN` does not say where its programs are, or it does not come up.
    #[must_use]
    pub fn start() -> Self {
        let folder = crate::free_dir();
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("root may give a folder away");
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("our folder has our rights");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
        let port = free.local_addr().expect("a bound listener has an address").port();
        let mut server = Self {
            folder,
            port,
            keeper: None,
        };
        server.make();
        drop(free);
        server.restart();
        server
    }

    /// Where its superuser connects.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address())
    }

    /// Where it listens, as `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            // However it ended, it is gone.
            let _ = keeper.wait();
        }
    }

    /// Starts it on its old port with its old files, and waits until it lets connections in. Ends it first if it runs.
    ///
    /// # Panics
    ///
    /// If it does not come up.
    pub fn restart(&mut self) {
        self.kill();
        let log = self.folder.path().join("log");
        let deadline = Instant::now() + DEADLINE;
        // What is left of a server that was killed ends by itself, and holds up the next one until then.
        loop {
            fs::write(&log, "").expect("the server's folder can be written");
            if is_root() {
                chown(&log, Some(NOBODY), Some(NOBODY)).expect("root may give a file away");
            }
            self.keeper = Some(self.spawn(&log));
            if is_up(&log, deadline) {
                return;
            }
            let text = fs::read_to_string(&log).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "Postgres did not come up within {DEADLINE:?}:\n{text}"
            );
            self.kill();
        }
    }

    fn make(&self) {
        let mut make = self.unprivileged(Command::new(program("initdb")));
        make.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--pgdata",
        ]);
        let made = make.arg(self.data()).output().expect("initdb can be started");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn spawn(&self, log: &Path) -> Child {
        let mut keeper = self.unprivileged(Command::new("sh"));
        keeper.args(["-c", KEEPER, "keeper"]).arg(log).arg(program("postgres"));
        keeper.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        keeper.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        keeper.stdin(Stdio::piped()).stdout(Stdio::null());
        keeper.spawn().expect("a shell can be started")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Has a program run in the server's folder, as nobody if we are root.
    fn unprivileged(&self, mut command: Command) -> Command {
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program(name: &str) -> PathBuf {
    PathBuf::from(variable("TRUNKLINE_TEST_POSTGRES_BIN")).join(name)
}

/// Whether a server that was started lets connections in; it says so in its log, as it says why it gave up.
fn is_up(log: &Path, deadline: Instant) -> bool {
    while Instant::now() < deadline {
        let text = fs::read_to_string(log).unwrap_or_default();
        // While it recovers it refuses others, which is FATAL to them alone.
        if text.contains("ready to accept connections") {
            return true;
        }
        if text.contains("database system is shut down")
            || text.contains("FATAL:  pre-existing")
            || text.contains("FATAL:  lock file")
        {
            return false;
        }
        std::thread::sleep(POLL);
    }
    false
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

//! A NATS server of one test: its own folder, free loopback ports that it keeps over restarts, and every way to fail.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::tool::variable;

/// How long a server may take to come up or to go down on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);
/// The file of the server's configuration in its folder.
const CONFIG_FILE: &str = "nats.conf";

/// Runs the server as its child and tells its process id; kills it when our end of the pipe closes, however we end.
const KEEPER: &str = r#"
log=$1; shift
"$@" >>"$log" 2>&1 &
server=$!
echo "$server"
exec 2>/dev/null
read -r _
kill -KILL "$server"
wait "$server"
"#;

/// A server with JetStream and monitoring. Dropping it kills it and removes its files.
pub struct Nats {
    folder: TempDir,
    /// More lines for its configuration.
    settings: String,
    running: Option<Running>,
    port: u16,
    monitoring_port: u16,
}

struct Running {
    keeper: Child,
    server: Pid,
}

impl Nats {
    /// Starts a server that lets everybody do everything.
    ///
    /// # Panics
    ///
    /// If `TRUNKLINE_TEST_NATS_SERVER` does not say where it is, or it does not come up.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("jetstream: { store_dir: $STORE }")
    }

    /// Starts a server with these lines of configuration beside listening and monitoring; `$STORE` stands for its data folder.
    ///
    /// # Panics
    ///
    /// As [`Nats::start`].
    #[must_use]
    pub fn start_with(settings: &str) -> Self {
        let mut nats = Self {
            settings: String::new(),
            folder: crate::free_dir(),
            running: None,
            port: 0,
            monitoring_port: 0,
        };
        nats.restart_with(settings);
        nats
    }

    /// Starts it as [`Nats::restart`] does, with other lines of configuration.
    ///
    /// # Panics
    ///
    /// As [`Nats::start`].
    pub fn restart_with(&mut self, settings: &str) {
        let store = format!("{:?}", self.store());
        self.settings = settings.replace("$STORE", &store);
        self.restart();
    }

    /// Where clients connect, as `nats://…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it tells of itself, as `http://…`.
    #[must_use]
    pub fn monitoring_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitoring_port)
    }

    /// The folder of its data.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Its process id, while it runs.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        u32::try_from(self.server().as_raw_nonzero().get()).expect("a process id is positive")
    }

    /// Ends it at once, as `kill -9` does.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.end();
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Panics
    ///
    /// If it does not run, or does not end.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        // Its keeper has not looked after it yet, so it remains as a zombie.
        let process = PathBuf::from(format!("/proc/{}", self.pid()));
        wait_for("the end of nats-server", || {
            matches!(state_of(&process), None | Some('Z')).then_some(())
        });
        self.end();
    }

    /// Holds it still: its connections stay open and nothing answers. Returns when it does stand still.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let threads = PathBuf::from(format!("/proc/{}/task", self.pid()));
        wait_for("the standstill of nats-server", || stand_still(&threads).then_some(()));
    }

    /// Lets it go on after [`Nats::freeze`].
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts it on its old ports with its old data, and waits until it answers. Ends it first if it runs.
    ///
    /// # Panics
    ///
    /// As [`Nats::start`].
    pub fn restart(&mut self) {
        if self.running.is_some() {
            self.kill();
        }
        self.write_config();
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(self.folder.path().join("log"))
            .arg(variable("TRUNKLINE_TEST_NATS_SERVER"))
            .arg("-c")
            .arg(self.folder.path().join(CONFIG_FILE))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let mut line = String::new();
        let told = BufReader::new(keeper.stdout.take().expect("the shell's output is piped")).read_line(&mut line);
        let server = told.ok().and_then(|_| line.trim().parse().ok()).and_then(Pid::from_raw);
        let server = server.expect("the shell tells the server's process id");
        self.running = Some(Running { keeper, server });
        self.wait_until_ready();
    }

    fn write_config(&self) {
        let folder = self.folder.path();
        // A port of -1 is one that the server finds free itself, and tells in a file.
        let port = |port: u16| if port == 0 { -1 } else { i32::from(port) };
        let config = format!(
            "listen: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\nports_file_dir: {folder:?}\n{}\n",
            port(self.port),
            port(self.monitoring_port),
            self.settings
        );
        fs::write(folder.join(CONFIG_FILE), config).expect("the server's folder can be written");
    }

    fn wait_until_ready(&mut self) {
        let (folder, pid) = (self.folder.path().to_owned(), self.pid());
        let ready = try_wait_for(|| {
            let ports = ports_of(&folder, pid)?;
            answers(ports.0).then_some(ports)
        });
        let Some((port, monitoring_port)) = ready else {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            panic!("nats-server did not come up within {DEADLINE:?}:\n{log}");
        };
        (self.port, self.monitoring_port) = (port, monitoring_port);
    }

    fn server(&self) -> Pid {
        self.running.as_ref().expect("nats-server runs").server
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.server(), signal).expect("nats-server can be signalled");
    }

    /// Waits for the keeper, which kills what is left.
    fn end(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running.keeper.stdin.take());
            // However it ended, it is gone.
            let _ = running.keeper.wait();
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.end();
    }
}

/// The ports that the server of this process id has told.
fn ports_of(folder: &Path, pid: u32) -> Option<(u16, u16)> {
    let files = fs::read_dir(folder).ok()?;
    let ending = format!("_{pid}.ports");
    let file = files
        .filter_map(Result::ok)
        .find(|file| file.file_name().to_string_lossy().ends_with(&ending))?;
    let told: Value = serde_json::from_str(&fs::read_to_string(file.path()).ok()?).ok()?;
    let port = |list: &str| told[list][0].as_str()?.rsplit(':').next()?.parse().ok();
    Some((port("nats")?, port("monitoring")?))
}

/// Whether every thread in this folder of the kernel's is stopped.
fn stand_still(threads: &Path) -> bool {
    let threads = fs::read_dir(threads).map(|threads| threads.filter_map(Result::ok).collect::<Vec<_>>());
    threads.is_ok_and(|threads| threads.iter().all(|thread| state_of(&thread.path()) == Some('T')))
}

/// The kernel's letter for how a process or thread is doing; none when it is gone.
fn state_of(folder: &Path) -> Option<char> {
    let stat = fs::read_to_string(folder.join("stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

/// Whether somebody on `port` greets as NATS does.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut greeting = [0; 5];
    stream.set_read_timeout(Some(DEADLINE)).is_ok() && stream.read_exact(&mut greeting).is_ok() && &greeting == b"INFO "
}

fn wait_for<Found>(what: &str, look: impl FnMut() -> Option<Found>) -> Found {
    try_wait_for(look).unwrap_or_else(|| panic!("{what} did not come within {DEADLINE:?}"))
}

fn try_wait_for<Found>(mut look: impl FnMut() -> Option<Found>) -> Option<Found> {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if start.elapsed() > DEADLINE {
            return None;
        }
        std::thread::sleep(POLL);
    }
}

//! The Postgres that one run of the tests or of a measurement shares: a throw-away cluster on a free loopback port. It trusts everyone
//! on this machine, so it is nothing to keep data in.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command;
use crate::deps::{Deps, POSTGRES};

/// How long a server may take to come up on a busy machine.
const START_DEADLINE: Duration = Duration::from_secs(60);
const START_POLL: Duration = Duration::from_millis(20);
/// Another process may take the free port between our look and the server's bind.
const START_TRIES: u32 = 5;
/// Debian's `nobody`, who runs the server when we are root: Postgres refuses root.
const NOBODY: u32 = 65534;

/// What every server is started with. Every test holds a few connections of its own.
const SETTINGS: [&str; 6] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=300",
    "jit=off",
    "lc_messages=C",
    "logging_collector=off",
];

/// For tests, which have nothing to lose.
const FAST: &[&str] = &["fsync=off", "synchronous_commit=off", "full_page_writes=off"];

/// For measurements, which count only what is kept; with room so that checkpoints do not fall into one part and not into another.
const DURABLE: &[&str] = &[
    "fsync=on",
    "synchronous_commit=on",
    "shared_buffers=512MB",
    "max_wal_size=4GB",
];

/// Runs the server as its child and stops it when our end of the pipe closes, which happens however we end: by return,
/// by ctrl-C, by SIGKILL. `$1` is the folder to remove at last; the rest is the server's command line.
const KEEPER: &str = r#"
folder=$1; shift
"$@" >"$folder/log" 2>&1 &
server=$!
read -r _
kill -INT "$server" 2>/dev/null
wait "$server"
cd / && rm -rf -- "$folder"
"#;

/// A running server; dropping it stops it and removes its files.
pub(crate) struct Postgres {
    keeper: Child,
    port: u16,
    programs: PathBuf,
}

impl Postgres {
    /// Makes a cluster and starts its server, fast and forgetful.
    pub(crate) fn start(deps: &Deps) -> Result<Postgres> {
        Self::start_with(deps, FAST)
    }

    /// The same with one that keeps what it acknowledges, if the folder for temporary files is on a disk.
    pub(crate) fn start_durable(deps: &Deps) -> Result<Postgres> {
        Self::start_with(deps, DURABLE)
    }

    fn start_with(deps: &Deps, settings: &[&str]) -> Result<Postgres> {
        for _ in 1..START_TRIES {
            if let Ok(server) = Self::try_start(deps, settings) {
                return Ok(server);
            }
        }
        Self::try_start(deps, settings).context("cannot start Postgres")
    }

    /// The superuser's address of the server.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The folder of its programs, where whoever may run them can reach them.
    pub(crate) fn programs(&self) -> &Path {
        &self.programs
    }

    fn try_start(deps: &Deps, settings: &[&str]) -> Result<Postgres> {
        let folder = tempfile::Builder::new().prefix("trunkline-postgres-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        let (postgres, initdb) = programs(deps, folder.path())?;
        let data = folder.path().join("data");
        let programs = postgres.parent().map(Path::to_owned).unwrap_or_default();

        let mut make = unprivileged(Command::new(initdb), folder.path())?;
        make.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--pgdata",
        ]);
        command::quiet(make.arg(&data))?;

        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut keeper = unprivileged(Command::new("sh"), folder.path())?;
        keeper
            .args(["-c", KEEPER, "postgres-keeper"])
            .arg(folder.path())
            .arg(postgres)
            .arg("-D")
            .arg(&data);
        keeper
            .arg("-p")
            .arg(port.to_string())
            .args(SETTINGS.iter().chain(settings).flat_map(|setting| ["-c", setting]));
        // In a process group of its own, ctrl-C reaches it through the pipe only, after those who use the server.
        let keeper = keeper
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let server = Postgres { keeper, port, programs };

        // From here on the keeper removes the folder.
        let log = folder.keep().join("log");
        wait_until_ready(&log)?;
        Ok(server)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        if let Err(error) = self.keeper.wait() {
            eprintln!("xtask: cannot wait for Postgres to stop: {error}");
        }
    }
}

/// The server says in its log when it is ready and why it gave up; nobody connects before, so FATAL is its own.
fn wait_until_ready(log: &Path) -> Result<()> {
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        if text.contains("ready to accept connections") {
            return Ok(());
        }
        if text.contains("FATAL:") || Instant::now() > deadline {
            bail!("the server did not come up: {}", text.trim().replace('\n', " / "));
        }
        std::thread::sleep(START_POLL);
    }
}

/// The server's programs, where the one who runs them can reach them: root's cache is usually closed to others.
fn programs(deps: &Deps, folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let (postgres, initdb) = (deps.program(&POSTGRES, "postgres"), deps.program(&POSTGRES, "initdb"));
    if !is_root()? {
        return Ok((postgres, initdb));
    }
    let tree = deps.tree(&POSTGRES);
    let copy = folder.join("postgres");
    let is_cached = postgres.starts_with(&tree);
    if is_cached {
        command::quiet(Command::new("cp").args(["-R", "--reflink=auto"]).arg(&tree).arg(&copy))?;
    }
    command::quiet(
        Command::new("chown")
            .arg("-R")
            .arg(format!("{NOBODY}:{NOBODY}"))
            .arg(folder),
    )?;
    Ok(if is_cached {
        (copy.join("bin/postgres"), copy.join("bin/initdb"))
    } else {
        (postgres, initdb)
    })
}

/// Has a program run in `folder`, as nobody if we are root.
fn unprivileged(mut command: Command, folder: &Path) -> Result<Command> {
    command.current_dir(folder).env("LC_ALL", "C");
    if is_root()? {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok(command)
}

fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self")
        .context("/proc is not there to tell who we are")?
        .uid()
        == 0)
}

//! `deploy/split/start`, as the README has it: servers and processes on this machine, a message through them, and an end.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::{env, fs};

use trunkline_testkit::{free_dir, tool};

const README: &str = include_str!("../../../README.md");
/// The script as the README names it.
const SCRIPT: &str = "deploy/split/start";
/// Every port in the configurations beside it.
const PORTS: [u16; 13] = [
    1883, 4222, 5432, 7070, 7071, 7072, 7073, 7081, 7082, 7083, 8008, 8080, 8222,
];

/// The script as a terminal runs it, in a process group of its own. It is killed with the test.
struct Script {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Script {
    fn start(folder: &Path, path: &str, ports: &[u16]) -> Self {
        let pairs: Vec<String> = PORTS
            .iter()
            .zip(ports)
            .map(|(old, new)| format!("{old}={new}"))
            .collect();
        let mut command = Command::new(format!("{}/../{SCRIPT}", env!("CARGO_MANIFEST_DIR")));
        command.arg(folder).env("PATH", path).env("PORTS", pairs.join(" "));
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    /// Reads what it prints up to a line with `words`, and returns all of it.
    fn prints(&mut self, words: &str) -> String {
        let mut text = String::new();
        while !text.lines().next_back().is_some_and(|line| line.contains(words)) {
            let count = self.output.read_line(&mut text).unwrap();
            assert!(count > 0, "`{words}` was never printed: {text}");
        }
        text
    }

    /// Signals it and everything that it started; whether there was anybody.
    fn signal(&self, signal: &str) -> bool {
        let group = format!("-{}", self.child.id());
        let mut kill = Command::new("kill");
        kill.args([signal, "--", &group]).stderr(Stdio::null());
        kill.status().unwrap().success()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.signal("-KILL");
        let _ = self.child.wait();
    }
}

/// Where the shell finds what the README brings, and the binary that this tree builds.
fn path(shims: &Path) -> String {
    symlink(env!("CARGO_BIN_EXE_trunkline"), shims.join("trunkline")).unwrap();
    symlink(tool("nats_server"), shims.join("nats-server")).unwrap();
    let postgres = tool("postgres_bin");
    format!(
        "{}:{}:{}",
        shims.display(),
        postgres.display(),
        env::var("PATH").unwrap()
    )
}

fn free_ports() -> Vec<u16> {
    let held = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.iter().map(|held| held.local_addr().unwrap().port()).collect()
}

/// Every right on a database that one of the platform's users has, and on the schema that each database begins with; the latter belongs
/// to the owner where the server is new.
const RIGHTS: &str = "
    SELECT rolname || ' ' || datname || ' ' || privilege
    FROM pg_roles, pg_database, unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) AS privilege
    WHERE rolname LIKE 'trunkline_%' AND datallowconn AND has_database_privilege(rolname, datname, privilege)
    UNION ALL
    SELECT rolname || ' schema public ' || privilege
    FROM pg_roles, unnest(ARRAY['USAGE', 'CREATE']) AS privilege
    WHERE rolname LIKE 'trunkline_%' AND rolname <> 'trunkline_owner' AND has_schema_privilege(rolname, 'public', privilege)
    ORDER BY 1";

/// Asks Postgres as its superuser; a line for each row.
fn ask_postgres(folder: &Path, port: u16, question: &str) -> Vec<String> {
    let mut psql = Command::new(tool("postgres_bin").join("psql"));
    psql.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port.to_string(),
        "-U",
        "postgres",
        "-d",
        "trunkline",
    ]);
    psql.args(["-A", "-t", "-c", question])
        .env("PGPASSFILE", folder.join("secrets/pgpass"));
    let output = psql.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_script_of_the_readme_starts_a_platform_and_ends_all_of_it() {
    assert!(
        README.lines().any(|line| line.starts_with(SCRIPT)),
        "the README runs it"
    );
    let (folder, shims, ports) = (free_dir(), free_dir(), free_ports());
    let path = path(shims.path());
    let mut script = Script::start(folder.path(), &path, &ports);
    let told = script.prints("--ops");
    for process in ["core", "store", "adapters", "gateway"] {
        assert!(told.contains(&format!("{process}: ready ")), "{process} in {told}");
    }

    let doctor = &told[told.find("trunkline doctor").unwrap()..];
    let mut shell = Command::new("bash");
    shell.args(["-c", doctor]).env("PATH", &path).stdin(Stdio::null());
    let output = shell.output().unwrap();
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{told}");
    for step in ["log MQTT", "log HTTP", "writer", "reader", "clean-up"] {
        assert!(told.contains(&format!("✓ {step}")), "{step} in {told}");
    }

    let port = PORTS.iter().position(|port| *port == 5432).unwrap();
    let owners = ["trunkline CONNECT", "trunkline CREATE", "trunkline TEMPORARY"].map(|right| ("owner", right));
    let others = ["auth", "channels", "reader", "things", "writer"].map(|user| (user, "trunkline CONNECT"));
    let mut rights: Vec<String> = [&owners[..], &others[..]]
        .concat()
        .iter()
        .map(|(user, right)| format!("trunkline_{user} {right}"))
        .collect();
    rights.sort();
    assert_eq!(ask_postgres(folder.path(), ports[port], RIGHTS), rights);

    script.signal("-INT");
    assert_eq!(script.child.wait().unwrap().code(), Some(0), "Ctrl-C is how it ends");
    assert!(!script.signal("-0"), "a process is left");
    let log = |name: &str| fs::read_to_string(folder.path().join("logs").join(name)).unwrap();
    assert!(log("postgres.log").contains("database system is shut down"));
    for process in ["core", "store", "adapters", "gateway"] {
        let log = log(&format!("{process}.log"));
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{process}: {log}");
    }
}

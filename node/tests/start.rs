//! Starting the binary: what an operator sees when it works, and the one sentence when it does not.

#![allow(clippy::unwrap_used)]

mod steps;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use tempfile::TempDir;

/// `trunkline up` on free ports, with its first line of output.
struct Platform {
    child: Child,
    stdout: BufReader<ChildStdout>,
    ready: String,
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn trunkline(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn up(folder: &Path) -> Command {
    let mut command = trunkline(folder);
    command.args(["up", "--data", "data"]);
    for listener in ["--http", "--grpc", "--mqtt", "--ops"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    command
}

fn start(command: &mut Command) -> Platform {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut ready = String::new();
    stdout.read_line(&mut ready).unwrap();
    assert!(ready.starts_with("ready "), "{ready:?} {}", stderr_of(&mut child));
    Platform { child, stdout, ready }
}

fn stderr_of(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = child.kill();
        let _ = stderr.read_to_string(&mut text);
    }
    text
}

impl Platform {
    fn address(&self, name: &str) -> SocketAddr {
        let name = format!("{name}=");
        let word = self.ready.split_whitespace().find_map(|word| word.strip_prefix(&name));
        word.unwrap().parse().unwrap()
    }

    /// Ends it as an operator does, and returns its exit code and its log.
    fn terminate(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

/// Asserts that the command ends with code 2 and one sentence that has each of `parts`.
fn refused(output: &Output, parts: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.trim().lines().count(), 1, "one sentence: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "`{part}` is missing in: {stderr}");
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    use std::io::Write as _;
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_first_start_says_where_it_listens_and_what_to_type_next() {
    let folder = folder();
    let mut platform = start(&mut up(folder.path()));
    let mut next = String::new();
    platform.stdout.read_line(&mut next).unwrap();
    let wanted = "next: trunkline demo --email admin@example.com --password-file ";
    assert!(next.starts_with(wanted), "{next}");
    for name in ["http", "grpc", "mqtt", "ops"] {
        assert!(TcpStream::connect(platform.address(name)).is_ok(), "{name}");
    }
    assert!(get(platform.address("http"), "/health").starts_with("HTTP/1.1 200"));
    assert!(get(platform.address("ops"), "/ready").starts_with("HTTP/1.1 200"));
    assert!(get(platform.address("ops"), "/metrics").contains("trunkline_log_appended_total"));
    let api = get(platform.address("ops"), "/users/profile");
    assert!(
        api.starts_with("HTTP/1.1 404"),
        "the operator's listener has no API: {api}"
    );
}

#[test]
fn the_password_that_was_made_is_for_the_operators_eyes_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let platform = start(&mut up(folder.path()));
    let file = folder.path().join("data/admin-password");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let password = fs::read_to_string(&file).unwrap();
    let (code, log) = platform.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(
        !log.contains(password.trim()) && log.contains("admin-password"),
        "{log}"
    );
}

#[test]
fn a_second_start_goes_on_where_the_first_ended() {
    let folder = folder();
    let first = start(&mut up(folder.path()));
    let platform_id = |platform: &Platform| {
        let health = get(platform.address("http"), "/health");
        health.split("\"platform_id\":\"").nth(1).unwrap()[..36].to_owned()
    };
    let id = platform_id(&first);
    assert_eq!(first.terminate().0, Some(0));
    let second = start(up(folder.path()).args(["--admin-email", "other@example.com"]));
    assert_eq!(platform_id(&second), id);
    let (_, log) = second.terminate();
    assert!(log.contains("are ignored"), "{log}");
}

#[test]
fn a_data_folder_in_use_is_refused() {
    let folder = folder();
    let _first = start(&mut up(folder.path()));
    let second = up(folder.path()).output().unwrap();
    refused(&second, &["data", "another trunkline uses it", "--data DIR"]);
}

#[test]
fn a_taken_port_is_refused_and_leaves_nothing_behind() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = trunkline(folder.path());
    command.args(["up", "--data", "data", "--mqtt", &address]);
    for listener in ["--http", "--grpc", "--ops"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    refused(
        &command.output().unwrap(),
        &["mqtt cannot listen on", &address, "--mqtt ADDR:PORT"],
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let folder = folder();
    fs::create_dir(folder.path().join("data")).unwrap();
    let format = "version = 99\nplatform_id = \"01937d2e-0000-7000-8000-000000000000\"\n";
    fs::write(folder.path().join("data/format"), format).unwrap();
    refused(&up(folder.path()).output().unwrap(), &["newer version", "99"]);
    assert_eq!(fs::read_to_string(folder.path().join("data/format")).unwrap(), format);
    assert!(!folder.path().join("data/auth.db").exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("data"), "a file is in the way").unwrap();
    refused(&up(folder.path()).output().unwrap(), &["data", "--data DIR"]);
}

#[test]
fn an_unknown_key_is_refused_by_its_name() {
    let folder = folder();
    let file = folder.path().join("trunkline.toml");
    fs::write(file, "[listen]\nhtpp = \"127.0.0.1:0\"\n").unwrap();
    let output = up(folder.path()).args(["--config", "trunkline.toml"]).output().unwrap();
    refused(&output, &["htpp", "expected one of", "http", "trunkline.toml"]);
    let output = up(folder.path())
        .env("TRUNKLINE_LISTEN__HTPP", "127.0.0.1:0")
        .output()
        .unwrap();
    refused(&output, &["htpp", "the environment"]);
    assert!(!folder.path().join("data").exists());
}

#[test]
fn a_bad_password_or_address_for_the_administrator_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("password"), "short\n").unwrap();
    let output = up(folder.path())
        .args(["--admin-password-file", "password"])
        .output()
        .unwrap();
    refused(&output, &["administrator", "8 to 1024"]);
    let output = up(folder.path()).args(["--admin-email", "nobody"]).output().unwrap();
    refused(&output, &["administrator", "e-mail address"]);
    assert!(!folder.path().join("data").exists());
    // Neither attempt may stand in the way of the right one.
    fs::write(folder.path().join("password"), "long enough\n").unwrap();
    start(up(folder.path()).args(["--admin-password-file", "password"]));
}

#[test]
fn the_effective_configuration_can_be_printed_and_checked() {
    let folder = folder();
    let output = trunkline(folder.path())
        .args(["config", "--http", "127.0.0.1:9"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("http = \"127.0.0.1:9\""));
    let open = ["config", "--check", "--http", "0.0.0.0:9"];
    let output = trunkline(folder.path()).args(open).output().unwrap();
    refused(&output, &["0.0.0.0:9", "--allow-plaintext"]);
}

#[test]
fn an_idle_platform_holds_less_than_20_megabytes_besides_its_code_also_after_logins() {
    let folder = folder();
    let platform = start(&mut up(folder.path()));
    let (url, mqtt) = (
        format!("http://{}", platform.address("http")),
        platform.address("mqtt").to_string(),
    );
    for _ in 0..3 {
        let mut demo = trunkline(folder.path());
        demo.args([
            "demo",
            "--email",
            "admin@example.com",
            "--password-file",
            "data/admin-password",
        ]);
        assert!(
            demo.args(["--url", &url, "--mqtt", &mqtt])
                .stdout(Stdio::null())
                .status()
                .unwrap()
                .success()
        );
    }
    let status = fs::read_to_string(format!("/proc/{}/status", platform.child.id())).unwrap();
    let held = |what: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    // Code is in the page cache: a debug build has three times as much of it as a release build.
    let kib = held("RssAnon:") + held("RssShmem:");
    assert!(kib < 20 * 1024, "{kib} KiB");
}

#[test]
fn the_doctor_follows_a_message_by_each_adapter_and_names_the_first_step_that_fails() {
    let folder = folder();
    let platform = start(&mut up(folder.path()));
    fs::write(folder.path().join("wrong"), "not the password").unwrap();
    let doctor = |password: &str, mqtt: SocketAddr| {
        let mut doctor = trunkline(folder.path());
        doctor.args(["doctor", "--email", "admin@example.com", "--password-file", password]);
        doctor.args(["--url", &format!("http://{}", platform.address("http"))]);
        doctor.args([
            "--mqtt",
            &mqtt.to_string(),
            "--ops",
            &platform.address("ops").to_string(),
        ]);
        let output = doctor.output().unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), told)
    };
    let (password, mqtt) = ("data/admin-password", platform.address("mqtt"));
    let (is_well, told) = doctor(password, mqtt);
    assert!(is_well, "{told}");
    steps::each_is_taken(&told);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (password, mqtt, step) in [("wrong", mqtt, "login"), (password, nobody, "ports")] {
        let (is_well, told) = doctor(password, mqtt);
        assert!(
            !is_well && told.contains(&format!("the first step that fails is `{step}`")),
            "{told}"
        );
    }
}

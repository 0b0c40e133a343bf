//! The README's commands, run as they stand there, against the binary that this tree builds.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const README: &str = include_str!("../../README.md");
/// What the README runs the binary with.
const RUN: &str = "cargo run --release -- ";

/// The platform, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The blocks that are meant to be typed.
fn blocks() -> Vec<&'static str> {
    let after_fence = README.split("```sh\n").skip(1);
    after_fence
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect()
}

/// Starts the platform as the first block does, on free ports, and returns it with its HTTP and MQTT address.
fn up(folder: &Path, block: &str) -> (Running, String, String) {
    let arguments = block.trim().strip_prefix(RUN).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null());
    for listener in ["HTTP", "GRPC", "MQTT", "OPS"] {
        command.env(format!("TRUNKLINE_LISTEN__{listener}"), "127.0.0.1:0");
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    let running = Running(child);
    let address = |name: &str| {
        let found = ready.split_whitespace().find_map(|word| word.strip_prefix(name));
        found.unwrap_or_else(|| panic!("{ready}")).to_owned()
    };
    (running, address("http="), address("mqtt="))
}

/// Puts a `cargo` before the real one that runs the binary, and mosquitto's tools where the shell finds them.
fn path_with_shims(folder: &Path, http: &str, mqtt: &str) -> String {
    let shims = folder.join("shims");
    fs::create_dir(&shims).unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$1 $2 $3\" = 'run --release --' ] || exit 9\nshift 3\nexec {} \"$@\" --url http://{http} --mqtt {mqtt}\n",
        env!("CARGO_BIN_EXE_trunkline")
    );
    fs::write(shims.join("cargo"), script).unwrap();
    fs::set_permissions(shims.join("cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    let mosquitto_pub = trunkline_testkit::tool("mosquitto_pub");
    std::os::unix::fs::symlink(&mosquitto_pub, shims.join("mosquitto_pub")).unwrap();
    format!("{}:{}", shims.display(), std::env::var("PATH").unwrap())
}

#[test]
fn the_commands_of_the_readme_work_as_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let blocks = blocks();
    let [first, demo, by_hand] = blocks.as_slice() else {
        panic!("the README has {} blocks to type", blocks.len())
    };
    let (_running, http, mqtt) = up(folder.path(), first);
    let path = path_with_shims(folder.path(), &http, &mqtt);
    let run = |block: &str| {
        let (host, port) = mqtt.split_once(':').unwrap();
        let script = block
            .replace("127.0.0.1:8080", &http)
            .replace("-h 127.0.0.1 -p 1883", &format!("-h {host} -p {port}"));
        let mut shell = Command::new("bash");
        shell
            .args(["-euo", "pipefail", "-c", &script])
            .env("PATH", &path)
            .current_dir(folder.path());
        let mut child = shell
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut output, mut errors) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert!(child.wait().unwrap().success(), "{output}\n{errors}");
        output
    };
    assert!(run(demo).contains("read them back"));
    // The last command reads at once; the writer is allowed a moment, so it is repeated until both records are there.
    let read = by_hand.rfind("\napi /").unwrap();
    let wait =
        "for _ in $(seq 50); do api /$DOMAIN/channels/$CHANNEL/messages | grep -q 71.5 && break; sleep 0.1; done";
    let output = run(&format!("{}\n{wait}{}", &by_hand[..read], &by_hand[read..]));
    for fact in [
        "71.5",
        "48",
        "\"subtopic\": \"upper\"",
        "\"subtopic\": \"lower\"",
        "\"protocol\": \"http\"",
        "\"unit\": \"Cel\"",
    ] {
        assert!(output.contains(fact), "`{fact}` is missing in {output}");
    }
}

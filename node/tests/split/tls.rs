//! Processes that speak TLS to each other, and who is kept out.

use std::path::Path;
use std::process::{Command, Stdio};

use trunkline_testkit::until;

use crate::PATIENCE;
use crate::site::{Process, Site, address, get};

/// Makes an authority and a certificate of it for this machine, in the files `<name>-ca.pem`, `<name>.pem` and `<name>.key`.
fn certify(folder: &Path, name: &str) {
    let script = format!(
        "set -e
        key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
        openssl req -x509 $key -keyout {name}-ca.key -out {name}-ca.pem -subj /CN=authority -days 2
        openssl req $key -keyout {name}.key -out {name}.csr -subj /CN=process
        printf 'subjectAltName=DNS:localhost\\n' > {name}.ext
        openssl x509 -req -in {name}.csr -CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.pem"
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(folder).stdin(Stdio::null());
    let output = shell.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "openssl is needed (`apt install openssl`): {complaint}"
    );
}

fn tls(name: &str) -> String {
    format!("[internal_tls]\nauthority = \"{name}-ca.pem\"\ncertificate = \"{name}.pem\"\nkey = \"{name}.key\"\n")
}

#[tokio::test]
async fn processes_speak_tls_to_those_of_their_own_authority_alone() {
    let mut site = Site::migrated().await;
    certify(site.folder.path(), "ours");
    certify(site.folder.path(), "theirs");
    let serve = |site: &Site, tls: &str, roles: &str| {
        let mut command = site.command("serve", &(site.config() + tls));
        Process::spawn(command.args(["--roles", roles]))
    };
    let mut core = serve(&site, &tls("ours"), "auth");
    let internal = address(&core.ready(), "internal").unwrap();
    site.services = format!("auth = \"https://localhost:{}\"\n", internal.port());

    let mut friend = serve(&site, &tls("ours"), "things");
    let ops = address(&friend.ready(), "ops").unwrap();
    let is_well = r#""service:auth":[{"status":"pass"}]"#;
    until(PATIENCE, async || get(ops, "/health").1.contains(is_well)).await;

    let mut stranger = serve(&site, &tls("theirs"), "things");
    let ops = address(&stranger.ready(), "ops").unwrap();
    until(PATIENCE, async || get(ops, "/health").1.contains("cannot be reached")).await;

    site.services = format!("auth = \"http://{internal}\"\n");
    let mut plain = serve(&site, "", "things");
    let ops = address(&plain.ready(), "ops").unwrap();
    until(PATIENCE, async || get(ops, "/health").1.contains("cannot be reached")).await;
}

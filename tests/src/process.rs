//! The processes of a platform, all of them in the test's own: a node each, with its own listeners.

use std::fs;
use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trunkline::{Addresses, Config, Error, Node, Shape};
use trunkline_testkit::{Database, Nats};

/// E-mail address of the platform's administrator.
pub(crate) const ADMIN: &str = "admin@example.com";
/// Password of every user in tests.
pub const PASSWORD: &str = "correct horse battery";

/// Where processes keep their things. Everything is removed when this is dropped.
pub(crate) struct Places {
    /// Data, keys and the administrator's password.
    pub(crate) folder: TempDir,
    /// What a split platform runs on.
    pub(crate) servers: Option<(Database, Nats)>,
}

/// A node that runs.
pub(crate) struct Process {
    /// Where it listens.
    pub(crate) addresses: Addresses,
    stop: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
}

impl Process {
    /// Opens a node and runs it.
    pub(crate) async fn start(config: &Config, shape: Shape) -> Self {
        let node = Node::open(config, shape)
            .await
            .unwrap_or_else(|error| panic!("the platform does not start: {error}"));
        let addresses = node.addresses();
        let stop = CancellationToken::new();
        let running = tokio::spawn(node.run(stop.clone()));
        Self {
            addresses,
            stop,
            running,
        }
    }

    /// Stops it as SIGTERM does, and waits until it is gone.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let ended = self.running.await.expect("the platform does not panic");
        ended.unwrap_or_else(|error| panic!("the platform ended with: {error}"));
    }
}

/// A configuration with free ports and a known administrator.
pub(crate) fn config(folder: &TempDir) -> Config {
    let password_file = folder.path().join("password");
    fs::write(&password_file, format!("{PASSWORD}\n")).expect("the folder can be written");
    let mut config = Config::default();
    config.admin.email = ADMIN.to_owned();
    config.admin.password_file = Some(password_file);
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    config.listen = trunkline::config::Listen {
        http: free,
        grpc: free,
        mqtt: free,
        ops: free,
        internal: free,
    };
    config
}

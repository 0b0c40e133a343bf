//! The processes of a platform, all of them in the test's own, and what outlives them: its storage, its keys, its configuration.

use std::fs;
use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trunkline::{Addresses, Config, Error, Node, Shape};

use crate::split::Split;

/// E-mail address of the platform's administrator.
pub(crate) const ADMIN: &str = "admin@example.com";
/// Password of every user in tests.
pub const PASSWORD: &str = "correct horse battery";

/// A platform that may run. What it keeps is removed when this is dropped.
pub(crate) struct Platform {
    form: Form,
    folder: TempDir,
}

enum Form {
    /// One process with everything in its data folder.
    Whole(Box<Config>, Shape),
    /// Several on Postgres and NATS.
    Split(Box<Split>),
}

impl Platform {
    /// Makes one that has never run, with a configuration that `adjust` had the last word on.
    pub(crate) async fn make(shape: Shape, adjust: impl FnOnce(&mut Config)) -> Self {
        let folder = trunkline_testkit::free_dir();
        let mut config = config(&folder);
        adjust(&mut config);
        let form = match shape {
            Shape::Whole | Shape::WholeOverSockets => {
                config.data = folder.path().join("data");
                Form::Whole(Box::new(config), shape)
            }
            Shape::Split => Form::Split(Box::new(Split::make(config, &folder).await)),
        };
        Self { form, folder }
    }

    /// Starts its processes, on ports that are free now. They are in the order in which they stop: whoever calls comes first.
    pub(crate) async fn start(&self) -> Vec<Process> {
        match &self.form {
            Form::Whole(config, shape) => vec![Process::start(config, *shape).await],
            Form::Split(split) => split.start().await,
        }
    }

    /// A folder in which tests may put files.
    pub(crate) const fn folder(&self) -> &TempDir {
        &self.folder
    }
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
fn config(folder: &TempDir) -> Config {
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
        ..Default::default()
    };
    config
}

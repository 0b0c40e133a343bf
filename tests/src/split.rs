//! A split platform: processes with a few roles each, that meet on Postgres and NATS with the rights of their roles and no more.

use std::net::SocketAddr;

use tempfile::TempDir;
use trunkline::config::{Grants, NatsConfig, Services};
use trunkline::{Config, Role, Shape, migrate};
use trunkline_testkit::{Database, Nats, Postgres};

use crate::platform::Process;

/// The roles of each process, in the order of their start: whoever is called comes first. Three of them let devices in, two by MQTT.
const GROUPS: [&[Role]; 5] = [
    &[Role::Auth, Role::Things, Role::Channels],
    &[Role::Writer, Role::Reader],
    &[Role::Gateway, Role::Http],
    &[Role::Mqtt],
    &[Role::Mqtt],
];
/// The users on NATS as operators set them up.
const NATS_USERS: &str = include_str!("../../deploy/split/nats-users.conf");

/// Bytes of the log: servers of tests set aside little.
const LOG_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// What the processes have in common.
pub(crate) struct Split {
    config: Config,
    // What it runs on, gone with it.
    _database: Database,
    _nats: Nats,
}

impl Split {
    /// Makes a platform on servers of its own.
    pub(crate) async fn make(mut config: Config, folder: &TempDir) -> Self {
        let (database, nats) = (Postgres::database().await, Nats::start_with(&nats_settings()));
        config.keys.folder = Some(folder.path().join("keys"));
        config.nats = Some(NatsConfig {
            urls: vec![nats.url()],
            bytes_max: LOG_BYTES_MAX,
            ..NatsConfig::default()
        });
        become_nats_user(&mut config, "owner");
        let users = Users::make(&database).await;
        let owner = Config {
            database_url: Some(database.url().to_owned()),
            grants: users.grants(),
            ..config.clone()
        };
        let made = migrate(&owner).await;
        made.unwrap_or_else(|error| panic!("the platform cannot be made: {error}"));
        users.use_in(&mut config);
        Self {
            config,
            _database: database,
            _nats: nats,
        }
    }

    /// Starts a process for each group, each with the addresses of those before it.
    pub(crate) async fn start(&self) -> Vec<Process> {
        let mut config = self.config.clone();
        let mut processes = Vec::new();
        for roles in GROUPS {
            config.roles = roles.to_vec();
            become_nats_user(&mut config, nats_user(roles));
            let process = Process::start(&config, Shape::Split).await;
            if let Some(address) = process.addresses.internal {
                place(roles, address, &mut config.services);
            }
            processes.insert(0, process);
        }
        processes
    }
}

/// Settings of a NATS server with JetStream and the operators' users, whose passwords are their names.
pub fn nats_settings() -> String {
    let users = ["owner", "adapter", "writer", "service"].into_iter();
    let users = users.fold(NATS_USERS.to_owned(), |conf, user| {
        conf.replace(&format!("$NATS_{}_PASSWORD", user.to_uppercase()), user)
    });
    format!("jetstream: {{ store_dir: $STORE }}\n{users}")
}

/// The NATS user with the rights of these roles.
pub fn nats_user(roles: &[Role]) -> &'static str {
    if roles.contains(&Role::Auth) {
        "service"
    } else if roles.contains(&Role::Writer) {
        "writer"
    } else {
        "adapter"
    }
}

fn become_nats_user(config: &mut Config, user: &str) {
    if let Some(nats) = &mut config.nats {
        (nats.user, nats.password) = (Some(user.to_owned()), Some(user.to_owned()));
    }
}

/// Says in `services` where the services among `roles` are.
fn place(roles: &[Role], address: SocketAddr, services: &mut Services) {
    let set = |role: Role, service: &mut Option<String>| {
        if roles.contains(&role) {
            *service = Some(format!("http://{address}"));
        }
    };
    set(Role::Auth, &mut services.auth);
    set(Role::Things, &mut services.things);
    set(Role::Channels, &mut services.channels);
    set(Role::Reader, &mut services.reader);
}

/// A Postgres user for each role that keeps rows: his name, and where he connects.
struct Users {
    auth: (String, String),
    things: (String, String),
    channels: (String, String),
    writer: (String, String),
    reader: (String, String),
}

impl Users {
    async fn make(database: &Database) -> Self {
        Self {
            auth: database.user().await,
            things: database.user().await,
            channels: database.user().await,
            writer: database.user().await,
            reader: database.user().await,
        }
    }

    fn grants(&self) -> Grants {
        let name = |(name, _): &(String, String)| Some(name.clone());
        Grants {
            auth: name(&self.auth),
            things: name(&self.things),
            channels: name(&self.channels),
            writer: name(&self.writer),
            reader: name(&self.reader),
        }
    }

    /// Gives each role its own user.
    fn use_in(&self, config: &mut Config) {
        let url = |(_, url): &(String, String)| Some(url.clone());
        config.auth.database_url = url(&self.auth);
        config.things.database_url = url(&self.things);
        config.channels.database_url = url(&self.channels);
        config.writer.database_url = url(&self.writer);
        config.reader.database_url = url(&self.reader);
    }
}

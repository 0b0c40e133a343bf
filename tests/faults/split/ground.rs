//! Four processes on a NATS and a Postgres of their own. Every line between any two of them goes through a proxy.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use trunkline_bench::site::Access;
use trunkline_bench::{Place, Row, process, store};
use trunkline_testkit::http::Client as Http;
use trunkline_testkit::{Nats, PostgresServer, Proxy, TempDir, throughout};
use trunkline_tests::{Domain, PASSWORD, Role, nats_settings, nats_user};

use crate::kill::variable;

/// How long a start may take on a busy machine.
const START_WAIT: Duration = Duration::from_secs(60);
/// Bytes of the log: servers of tests set aside little.
const LOG_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Seconds that NATS stands still unless `TRUNKLINE_TEST_FREEZE_SECONDS` says otherwise: longer than any lease.
const FREEZE_SECONDS: u64 = 4;
const EMAIL: &str = "admin@example.com";
const LISTENERS: [&str; 5] = ["http", "grpc", "mqtt", "ops", "internal"];

/// A process by what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Who may do what.
    Services,
    /// Stores and reads messages.
    Store,
    /// The API, and messages over HTTP.
    Edge,
    /// Messages over MQTT.
    Mqtt,
    /// The same once more, where a test wants two.
    MqttToo,
}

impl Part {
    /// Every process that there is by default, in the order of their start: whoever is called comes first.
    pub(crate) const ALL: [Self; 4] = [Self::Services, Self::Store, Self::Edge, Self::Mqtt];

    const fn roles(self) -> &'static [Role] {
        match self {
            Self::Services => &[Role::Auth, Role::Things, Role::Channels],
            Self::Store => &[Role::Writer, Role::Reader],
            Self::Edge => &[Role::Gateway, Role::Http],
            Self::Mqtt | Self::MqttToo => &[Role::Mqtt],
        }
    }
}

/// A split platform that runs.
pub(crate) struct Ground {
    folder: TempDir,
    pub(crate) nats: Nats,
    pub(crate) postgres: PostgresServer,
    processes: Vec<Process>,
}

/// One process, and the lines from it.
pub(crate) struct Process {
    part: Part,
    child: Option<Child>,
    /// Where it listens, by the names of [`LISTENERS`]; the same over all its lives.
    listen: [Option<SocketAddr>; 5],
    pub(crate) to_nats: Proxy,
    pub(crate) to_postgres: Proxy,
    /// To the processes before it that are called.
    pub(crate) to_services: Vec<(Part, Proxy)>,
}

impl Ground {
    pub(crate) async fn start() -> Self {
        let mut ground = Self::make().await;
        for part in Part::ALL {
            ground.add(part).await;
        }
        ground
    }

    /// The same with a second process that devices connect to.
    pub(crate) async fn start_with_two_nodes() -> Self {
        let mut ground = Self::start().await;
        ground.add(Part::MqttToo).await;
        ground
    }

    async fn make() -> Self {
        let folder = trunkline_testkit::free_dir();
        fs::write(folder.path().join("password"), PASSWORD).unwrap();
        let ground = Self {
            folder,
            nats: Nats::start_with(&nats_settings()),
            postgres: PostgresServer::start(),
            processes: Vec::new(),
        };
        let config = ground.config(&ground.nats.url(), "owner", &ground.postgres.url());
        let made = trunkline::migrate(&toml::from_str(&config).unwrap()).await;
        made.unwrap_or_else(|error| panic!("the platform cannot be made: {error}"));
        ground
    }

    async fn add(&mut self, part: Part) {
        let mut process = Process {
            part,
            child: None,
            listen: [None; 5],
            to_nats: Proxy::before(self.nats.url().trim_start_matches("nats://")).await,
            to_postgres: Proxy::before(&self.postgres.address()).await,
            to_services: self.proxies().await,
        };
        self.run(&mut process).await;
        self.processes.push(process);
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What the processes wrote to their log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn process(&self, part: Part) -> &Process {
        &self.processes[part as usize]
    }

    pub(crate) fn access(&self) -> Access {
        let http = self.process(Part::Edge).address("http").unwrap();
        Access {
            http,
            messages: http,
            mqtt: self.process(Part::Mqtt).address("mqtt").unwrap(),
            ops: self.process(Part::Store).address("ops").unwrap(),
            email: EMAIL.to_owned(),
            password: PASSWORD.to_owned(),
        }
    }

    /// What the store has of a channel, in the order of the log.
    pub(crate) async fn rows(&self, place: &Place) -> Vec<Row> {
        store::rows_on_postgres(&self.postgres.url(), place).await.unwrap()
    }

    /// The most that each process has held in its life, in bytes of memory.
    pub(crate) fn peaks(&self) -> Vec<(Part, u64)> {
        let running = self
            .processes
            .iter()
            .filter_map(|process| Some((process.part, process.child.as_ref()?.id()?)));
        running
            .map(|(part, pid)| (part, process::peak_resident_bytes(pid).unwrap()))
            .collect()
    }

    /// A fresh domain of the administrator.
    pub(crate) async fn domain(&self, route: &str) -> Domain {
        let anonymous = Http::new(self.access().http);
        let login = json!({ "username": EMAIL, "password": PASSWORD });
        let token = anonymous
            .post("/users/tokens/issue", &login)
            .await
            .expect(201)
            .text_at("/access_token");
        let owner = anonymous.with_token(&token);
        let domain = owner
            .post("/domains", &json!({ "name": route, "route": route }))
            .await
            .expect(201);
        Domain {
            id: domain.text_at("/id"),
            route: route.to_owned(),
            owner,
        }
    }

    /// Ends a process as `kill -9` does.
    pub(crate) async fn kill(&mut self, part: Part) {
        let child = self.processes[part as usize].child.take();
        child.expect("it runs").kill().await.unwrap();
    }

    /// Has a process stand still: its connections stay open, and nothing of it answers.
    pub(crate) async fn freeze(&self, part: Part) {
        self.signal(part, "-STOP").await;
    }

    /// Lets a process go on that stood still.
    pub(crate) async fn thaw(&self, part: Part) {
        self.signal(part, "-CONT").await;
    }

    /// Has NATS stand still until all leases have lapsed.
    pub(crate) async fn freeze_nats_for_a_while(&self) {
        self.nats.freeze();
        let seconds = variable("TRUNKLINE_TEST_FREEZE_SECONDS").unwrap_or(FREEZE_SECONDS);
        throughout(Duration::from_secs(seconds), async || self.nats.pid() > 0).await;
        self.nats.thaw();
    }

    async fn signal(&self, part: Part, signal: &str) {
        let child = self.process(part).child.as_ref();
        let id = child.and_then(Child::id).expect("it runs").to_string();
        let status = Command::new("kill").args([signal, &id]).status().await;
        assert!(status.unwrap().success());
    }

    /// Starts a process that was killed, where it was before, and waits until it is ready.
    pub(crate) async fn restart(&mut self, part: Part) {
        let mut process = self.processes.remove(part as usize);
        self.run(&mut process).await;
        self.processes.insert(part as usize, process);
    }

    /// A line to each process that is called.
    async fn proxies(&self) -> Vec<(Part, Proxy)> {
        let mut proxies = Vec::new();
        for process in &self.processes {
            if let Some(internal) = process.address("internal") {
                proxies.push((process.part, Proxy::before(&internal.to_string()).await));
            }
        }
        proxies
    }

    async fn run(&self, process: &mut Process) {
        let nats = format!("nats://{}", process.to_nats.address());
        let postgres = format!("postgres://postgres@{}/postgres", process.to_postgres.address());
        let mut config = self.config(&nats, nats_user(process.part.roles()), &postgres);
        config += "[services]\n";
        for (part, proxy) in &process.to_services {
            for role in part.roles().iter().filter(|role| **role != Role::Writer) {
                config += &format!("{role} = \"http://{}\"\n", proxy.address());
            }
        }
        let file = self.path().join(format!("{:?}.toml", process.part));
        fs::write(&file, config).unwrap();
        let mut child = self.spawn(process, &file);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        let read = timeout(START_WAIT, stdout.read_line(&mut ready)).await;
        let is_ready = read.is_ok_and(|read| read.is_ok()) && ready.starts_with("ready ");
        assert!(is_ready, "{:?} does not start: {ready}\n{}", process.part, self.log());
        process.listen = LISTENERS.map(|name| {
            let name = format!("{name}=");
            let word = ready.split_whitespace().find_map(|word| word.strip_prefix(&name))?;
            word.parse().ok()
        });
        process.child = Some(child);
    }

    fn spawn(&self, process: &Process, config: &Path) -> Child {
        let roles: Vec<String> = process.part.roles().iter().map(Role::to_string).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_platform"));
        command
            .args(["serve", "--log", "warn", "--roles", &roles.join(","), "--config"])
            .arg(config);
        for (name, address) in LISTENERS.iter().zip(process.listen) {
            let address = address.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
            command.arg(format!("--{name}")).arg(address.to_string());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path().join("log"))
            .unwrap();
        command
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// The configuration of one who comes to NATS as `user`, up to the section [services].
    fn config(&self, nats: &str, user: &str, postgres: &str) -> String {
        let folder = self.path();
        format!(
            "database_url = {postgres:?}\n[keys]\nfolder = {:?}\n[admin]\nemail = {EMAIL:?}\npassword_file = {:?}\n\
             [nats]\nurls = [{nats:?}]\nuser = {user:?}\npassword = {user:?}\nbytes_max = {LOG_BYTES_MAX}\n",
            folder.join("keys"),
            folder.join("password"),
        )
    }
}

impl Process {
    pub(crate) fn address(&self, listener: &str) -> Option<SocketAddr> {
        let i = LISTENERS.iter().position(|name| *name == listener)?;
        self.listen[i]
    }

    /// The lines to the services that decide.
    pub(crate) fn to_deciders(&self) -> impl Iterator<Item = &Proxy> {
        self.to_services
            .iter()
            .filter(|(part, _)| *part == Part::Services)
            .map(|(_, proxy)| proxy)
    }
}

//! Client libraries of four makes, each behind a program that does one task and prints what it receives. Three of the programs are ours
//! and take the task as JSON; mosquitto's own take it as flags.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use trunkline_testkit::tool;
use trunkline_tests::{Device, World};

/// No step of a program takes longer on a busy machine.
const STEP_TIME_MAX: Duration = Duration::from_secs(30);

/// A library that devices are built with, by its language.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Make {
    /// rumqttc.
    Rust,
    /// Eclipse Paho.
    Python,
    /// MQTT.js.
    JavaScript,
    /// libmosquitto, in mosquitto's tools.
    C,
}

/// All of them.
pub(crate) const MAKES: [Make; 4] = [Make::Rust, Make::Python, Make::JavaScript, Make::C];

/// Both versions by their number on the wire.
pub(crate) const VERSIONS: [u8; 2] = [4, 5];

/// One connection from CONNECT to DISCONNECT and what it is for.
#[derive(Debug, Clone)]
pub(crate) struct Task<'a> {
    /// Its number on the wire.
    pub(crate) version: u8,
    /// The MQTT client id.
    pub(crate) id: String,
    pub(crate) device: &'a Device,
    /// Whether its session goes on from the last connection and outlives this one.
    pub(crate) is_lasting: bool,
    /// Topic and payload of its will, which is of QoS 1.
    pub(crate) will: Option<(String, String)>,
    pub(crate) work: Work,
}

/// What a connection is for.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Publish one message and leave when it is acknowledged as its QoS demands.
    Publish {
        topic: String,
        payload: String,
        qos: u8,
        is_retained: bool,
    },
    /// Subscribe, and leave when `count` messages were received and acknowledged.
    Receive { filter: String, qos: u8, count: usize },
}

/// One message as a library hands it to its application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) qos: u8,
    pub(crate) is_retained: bool,
    pub(crate) topic: String,
    pub(crate) payload: String,
}

/// A program at its task. Dropping it ends it as `kill -9` does.
pub(crate) struct Running {
    program: Child,
    output: Lines<BufReader<ChildStdout>>,
    /// Those that were read already.
    messages: Vec<Message>,
}

impl Make {
    /// Starts a task.
    pub(crate) fn start(self, world: &World, task: &Task<'_>) -> Running {
        let port = world.addresses.mqtt.port();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/makes");
        let mut command = match self {
            Make::Rust => Command::new(env!("CARGO_BIN_EXE_rumqttc")),
            Make::Python => Command::new("python3"),
            Make::JavaScript => Command::new("node"),
            Make::C => mosquitto(port, task),
        };
        match self {
            Make::Rust | Make::C => {}
            Make::Python => {
                command
                    .env("PYTHONPATH", tool("paho"))
                    .arg("-B")
                    .arg(folder.join("with_paho.py"));
            }
            Make::JavaScript => {
                command
                    .env("NODE_PATH", tool("mqttjs"))
                    .arg(folder.join("with_mqttjs.js"));
            }
        }
        if self != Make::C {
            command.arg(in_json(port, task).to_string());
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut program = command.kill_on_drop(true).spawn().unwrap();
        let output = BufReader::new(program.stdout.take().unwrap()).lines();
        Running {
            program,
            output,
            messages: Vec::new(),
        }
    }

    /// Does a task to its end; returns what it received.
    pub(crate) async fn finish(self, world: &World, task: &Task<'_>) -> Vec<Message> {
        self.start(world, task).finish().await
    }
}

impl Running {
    /// Waits until its subscription is acknowledged.
    pub(crate) async fn subscribed(mut self) -> Self {
        while let Some(line) = self.line().await {
            if line.to_lowercase().starts_with("subscribed") {
                return self;
            }
        }
        panic!("not subscribed: {}", self.words().await);
    }

    /// Waits until it has done its work; returns what it received, in order.
    pub(crate) async fn finish(mut self) -> Vec<Message> {
        while self.line().await.is_some() {}
        let status = within(self.program.wait()).await.unwrap();
        let words = self.words().await;
        assert!(status.success() && words.is_empty(), "{status}: {words}");
        self.messages
    }

    /// Waits until it received `count` messages, and ends it without a goodbye; returns them.
    pub(crate) async fn received(mut self, count: usize) -> Vec<Message> {
        while self.messages.len() < count {
            assert!(self.line().await.is_some(), "it is gone: {}", self.words().await);
        }
        std::mem::take(&mut self.messages)
    }

    /// Waits until it gave up; returns what its user reads.
    pub(crate) async fn refusal(mut self) -> String {
        while self.line().await.is_some() {}
        let status = within(self.program.wait()).await.unwrap();
        assert!(!status.success(), "a refusal is no success");
        self.words().await
    }

    /// Ends it without a goodbye.
    pub(crate) async fn kill(mut self) {
        self.program.kill().await.unwrap();
    }

    /// The next line; a message is kept.
    async fn line(&mut self) -> Option<String> {
        let line = tokio::time::timeout(STEP_TIME_MAX, self.output.next_line()).await;
        let line = line
            .unwrap_or_else(|_| panic!("it hangs after {:#?}", self.messages))
            .unwrap()?;
        self.messages.extend(Message::parse(&line));
        Some(line)
    }

    /// All that it said on standard error, which it has closed.
    async fn words(&mut self) -> String {
        let mut words = String::new();
        let mut errors = self.program.stderr.take().unwrap();
        within(errors.read_to_string(&mut words)).await.unwrap();
        words
    }
}

impl Message {
    fn parse(line: &str) -> Option<Message> {
        let mut fields = line.strip_prefix("message ")?.splitn(4, ' ');
        let mut field = || fields.next().unwrap().to_owned();
        Some(Message {
            qos: field().parse().unwrap(),
            is_retained: field() == "1",
            topic: field(),
            payload: field(),
        })
    }
}

async fn within<T>(step: impl Future<Output = T>) -> T {
    tokio::time::timeout(STEP_TIME_MAX, step)
        .await
        .expect("a program hangs")
}

/// A task for the programs that are ours.
fn in_json(port: u16, task: &Task<'_>) -> Value {
    let (publish, receive) = match &task.work {
        Work::Publish {
            topic,
            payload,
            qos,
            is_retained,
        } => (
            json!({ "topic": topic, "payload": payload, "qos": qos, "retain": is_retained }),
            Value::Null,
        ),
        Work::Receive { filter, qos, count } => (Value::Null, json!({ "filter": filter, "qos": qos, "count": count })),
    };
    let will = task
        .will
        .as_ref()
        .map(|(topic, payload)| json!({ "topic": topic, "payload": payload }));
    json!({
        "port": port,
        "version": task.version,
        "id": task.id,
        "user": task.device.id,
        "password": task.device.secret,
        "lasting": task.is_lasting,
        "will": will,
        "publish": publish,
        "receive": receive,
    })
}

/// A task in the flags of mosquitto's tools.
fn mosquitto(port: u16, task: &Task<'_>) -> Command {
    let program = match &task.work {
        Work::Publish { .. } => "mosquitto_pub",
        Work::Receive { .. } => "mosquitto_sub",
    };
    // Into a pipe it says that it is subscribed only with the first message, unless each line leaves at once.
    let mut command = Command::new("stdbuf");
    command.arg("--output=L").arg(tool(program));
    let version = if task.version == 5 { "mqttv5" } else { "mqttv311" };
    command.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port.to_string(),
        "-V",
        version,
        "-i",
        &task.id,
    ]);
    command.args(["-u", &task.device.id, "-P", &task.device.secret]);
    if task.is_lasting {
        command.arg("-c");
        command.args(["-x", "3600"].into_iter().filter(|_| task.version == 5));
    }
    if let Some((topic, payload)) = &task.will {
        command.args(["--will-qos", "1", "--will-topic", topic, "--will-payload", payload]);
    }
    match &task.work {
        Work::Publish {
            topic,
            payload,
            qos,
            is_retained,
        } => {
            command.args(["-t", topic, "-q", &qos.to_string()]);
            command.args(is_retained.then_some("-r"));
            match payload.as_str() {
                "" => command.arg("-n"),
                text => command.args(["-m", text]),
            };
        }
        Work::Receive { filter, qos, count } => {
            // It says that it is subscribed only among its other steps.
            command.args(["-d", "-F", "message %q %r %t %p", "-t", filter, "-q", &qos.to_string()]);
            match count {
                0 => command.arg("-E"),
                count => command.args(["-C", &count.to_string()]),
            };
        }
    }
    command
}

//! Does what its one argument says as a client built with rumqttc: the keys are those that `scenarios/makes/driver.rs` writes.
//!
//! It prints `subscribed` when that is acknowledged and `message QOS RETAINED TOPIC PAYLOAD` for each one received, and says goodbye when
//! its work is done. A refusal goes to standard error.

use std::error::Error;
use std::process::ExitCode;

use serde_json::Value;

/// Longer than any test waits.
const SESSION_EXPIRY_S: u32 = 3600;
/// Requests that wait for the connection; a task makes three at most.
const REQUESTS_MAX: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let done = match serde_json::from_str(&argument).map(Task) {
        Ok(task) if task.0["version"] == 5 => v5::run(&task).await,
        Ok(task) => v3::run(&task).await,
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What to do.
struct Task(Value);

impl Task {
    fn text(&self, pointer: &str) -> String {
        self.0
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    fn number(&self, pointer: &str) -> u64 {
        self.0.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
    }

    fn qos(&self, pointer: &str) -> u8 {
        u8::try_from(self.number(pointer)).unwrap_or(u8::MAX)
    }

    fn port(&self) -> u16 {
        u16::try_from(self.number("/port")).unwrap_or_default()
    }

    fn is(&self, pointer: &str) -> bool {
        self.0.pointer(pointer) == Some(&Value::Bool(true))
    }

    fn has(&self, key: &str) -> bool {
        self.0[key].is_object()
    }
}

/// The two versions have the same interface in types of their own.
macro_rules! run {
    () => {
        pub(super) async fn run(task: &Task) -> Result<(), Box<dyn Error>> {
            let (client, mut events) = AsyncClient::new(options(task), REQUESTS_MAX);
            let mut left = task.number("/receive/count");
            let is_exact = |message: &Publish| message.qos == QoS::ExactlyOnce;
            loop {
                match events.poll().await? {
                    Event::Incoming(Packet::ConnAck(_)) => start(&client, task).await?,
                    Event::Outgoing(Outgoing::Publish(_)) if task.qos("/publish/qos") == 0 => {
                        client.disconnect().await?
                    }
                    Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => client.disconnect().await?,
                    Event::Incoming(Packet::SubAck(_)) => {
                        println!("subscribed");
                        finish_if(left == 0, &client).await?;
                    }
                    Event::Incoming(Packet::Publish(message)) => {
                        let topic = String::from_utf8_lossy(AsRef::<[u8]>::as_ref(&message.topic));
                        let payload = String::from_utf8_lossy(&message.payload);
                        println!(
                            "message {} {} {topic} {payload}",
                            message.qos as u8,
                            u8::from(message.retain)
                        );
                        // One at QoS 2 is here before its exchange is over.
                        left = left.saturating_sub(u64::from(!is_exact(&message)));
                        finish_if(left == 0, &client).await?;
                    }
                    Event::Outgoing(Outgoing::PubComp(_)) => {
                        left = left.saturating_sub(1);
                        finish_if(left == 0, &client).await?;
                    }
                    Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
                    _ => {}
                }
            }
        }

        async fn finish_if(is_done: bool, client: &AsyncClient) -> Result<(), Box<dyn Error>> {
            if is_done {
                client.disconnect().await?;
            }
            Ok(())
        }

        async fn start(client: &AsyncClient, task: &Task) -> Result<(), Box<dyn Error>> {
            let level = |pointer| level(task.qos(pointer)).ok_or("no such QoS");
            if task.has("publish") {
                let (topic, payload) = (task.text("/publish/topic"), task.text("/publish/payload"));
                client
                    .publish(topic, level("/publish/qos")?, task.is("/publish/retain"), payload)
                    .await?;
            } else {
                client
                    .subscribe(task.text("/receive/filter"), level("/receive/qos")?)
                    .await?;
            }
            Ok(())
        }
    };
}

mod v3 {
    use rumqttc::{AsyncClient, Event, LastWill, MqttOptions, Outgoing, Packet, Publish, QoS};

    use super::{Error, REQUESTS_MAX, Task};

    fn options(task: &Task) -> MqttOptions {
        let mut options = MqttOptions::new(task.text("/id"), "127.0.0.1", task.port());
        options.set_credentials(task.text("/user"), task.text("/password"));
        options.set_clean_session(!task.is("/lasting"));
        if task.has("will") {
            let (topic, payload) = (task.text("/will/topic"), task.text("/will/payload"));
            options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, false));
        }
        options
    }

    fn level(number: u8) -> Option<QoS> {
        rumqttc::qos(number).ok()
    }

    run!();
}

mod v5 {
    use rumqttc::Outgoing;
    use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, Publish};
    use rumqttc::v5::mqttbytes::{QoS, qos as level};
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};

    use super::{Error, REQUESTS_MAX, SESSION_EXPIRY_S, Task};

    fn options(task: &Task) -> MqttOptions {
        let mut options = MqttOptions::new(task.text("/id"), "127.0.0.1", task.port());
        options.set_credentials(task.text("/user"), task.text("/password"));
        options.set_clean_start(!task.is("/lasting"));
        options.set_session_expiry_interval(task.is("/lasting").then_some(SESSION_EXPIRY_S));
        if task.has("will") {
            let (topic, payload) = (task.text("/will/topic"), task.text("/will/payload"));
            options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, false, None));
        }
        options
    }

    run!();
}

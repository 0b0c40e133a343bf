//! The way of messages through a platform: in by each adapter, through log and writer, and out by the reader.

use std::time::{Duration, Instant};

use trunkline_core::Secret;

use super::{Finding, because};
use crate::Error;
use crate::api::Platform;
use crate::demo::random_letters;
use crate::mqtt::{self, Message};
use crate::transcript::Transcript;

/// How long a message may take from its acknowledgement to the reader.
const STORE_WAIT: Duration = Duration::from_secs(10);
/// How long the removal of what was made may take.
const REMOVE_WAIT: Duration = Duration::from_secs(5);
/// Pause between two looks at the reader.
const READ_PAUSE: Duration = Duration::from_millis(50);
/// Name of the domain that is kept for the next run, and of what is made in it.
const NAME: &str = "Doctor";
const CONTENT_TYPE: &str = "application/senml+json";

/// A way in for messages, and the one that takes it: one record of SenML (RFC 8428), named after the way.
struct Entrance {
    name: &'static str,
    publish: &'static str,
    log: &'static str,
    payload: &'static str,
}

const MQTT: Entrance = Entrance {
    name: "mqtt",
    publish: "publish MQTT",
    log: "log MQTT",
    payload: r#"[{"n":"mqtt","v":1}]"#,
};
const HTTP: Entrance = Entrance {
    name: "http",
    publish: "publish HTTP",
    log: "log HTTP",
    payload: r#"[{"n":"http","v":1}]"#,
};

/// What is followed, and where it is told.
pub(super) struct Passage<'a, 'out> {
    pub(super) platform: &'a Platform,
    /// Where MQTT is spoken.
    pub(super) mqtt: &'a str,
    /// Where messages are taken over HTTP, if anywhere.
    pub(super) messages: Option<String>,
    /// What an acknowledgement promises, in words.
    pub(super) tier: String,
    pub(super) transcript: &'a mut Transcript<'out>,
}

/// What the messages need on their way.
struct Site {
    domain_id: String,
    channel_id: String,
    client_id: String,
    secret: Secret,
}

impl Passage<'_, '_> {
    /// Makes what messages need, sends them, finds them, and removes what was made.
    pub(super) async fn walk(mut self) -> Result<(), Finding> {
        let site = make(self.platform).await.map_err(because("registry"))?;
        self.done("registry", "made a client and a channel, and connected them")?;
        let passed = self.pass(&site).await;
        // What was made goes in any case; an ill platform may not manage to.
        let removed = tokio::time::timeout(REMOVE_WAIT, remove(self.platform, &site)).await;
        passed?;
        let in_time = removed.map_err(|_| format!("it took longer than {} s", REMOVE_WAIT.as_secs()));
        in_time.map_err(because("clean-up"))?.map_err(because("clean-up"))?;
        self.done("clean-up", "removed what was made")
    }

    /// Sends a message by each way and waits for all of them at the other end.
    async fn pass(&mut self, site: &Site) -> Result<(), Finding> {
        let topic = format!("m/{}/c/{}", site.domain_id, site.channel_id);
        let by = |entrance: &Entrance| Message {
            client_id: &site.client_id,
            secret: &site.secret,
            topic: &topic,
            content_type: CONTENT_TYPE,
            payload: entrance.payload,
        };
        let mut names = vec![MQTT.name];
        let outcome = mqtt::publish(self.mqtt, &by(&MQTT)).await;
        self.is_in(&MQTT, outcome)?;
        match self.messages.take() {
            Some(url) => {
                let platform = Platform::at(&url).map_err(because(HTTP.publish))?;
                let outcome = platform.publish(&by(&HTTP)).await;
                self.is_in(&HTTP, outcome)?;
                names.push(HTTP.name);
            }
            None => self
                .transcript
                .left_out(
                    HTTP.publish,
                    "no process at --ops takes messages; --messages says who does",
                )
                .map_err(because(HTTP.publish))?,
        }
        self.until_stored(site, &names).await
    }

    /// Tells how a message came in, and how far.
    fn is_in(&mut self, entrance: &Entrance, outcome: Result<Duration, Error>) -> Result<(), Finding> {
        let took = outcome.map_err(|error| match &error {
            Error::Mqtt { step, .. } if *step == mqtt::TAKE_STEP => because(entrance.log)(error),
            Error::NotKept { .. } => because(entrance.log)(error),
            _ => because(entrance.publish)(error),
        })?;
        self.done(entrance.publish, "the client was admitted")?;
        let words = format!("acknowledged after {} ms, {}", took.as_millis().max(1), self.tier);
        self.done(entrance.log, &words)
    }

    /// Waits until the reader has a record of each of these names.
    async fn until_stored(&mut self, site: &Site, names: &[&str]) -> Result<(), Finding> {
        let acknowledged = Instant::now();
        loop {
            let records = self.platform.records(&site.domain_id, &site.channel_id).await;
            let records = records.map_err(because("reader"))?;
            let is_stored = |name: &&str| records.iter().any(|record| record.name.as_deref() == Some(*name));
            let Some(missing) = names.iter().find(|name| !is_stored(name)) else {
                break;
            };
            if acknowledged.elapsed() > STORE_WAIT {
                let why = format!(
                    "the message by {} was acknowledged and is not stored after {} s",
                    missing.to_uppercase(),
                    STORE_WAIT.as_secs()
                );
                return Err(Finding { step: "writer", why });
            }
            tokio::time::sleep(READ_PAUSE).await;
        }
        let words = format!("stored within {} ms", acknowledged.elapsed().as_millis().max(1));
        self.done("writer", &words)?;
        self.done("reader", "read back over HTTP")
    }

    fn done(&mut self, step: &'static str, what: &str) -> Result<(), Finding> {
        self.transcript.done(step, what).map_err(because(step))
    }
}

/// A domain, and a client that may publish to a channel in it.
async fn make(platform: &Platform) -> Result<Site, Error> {
    let domain = match platform.find_domain(NAME).await? {
        Some(domain) => domain,
        None => {
            let route = format!("doctor-{}", random_letters());
            platform.create_domain(NAME, &route).await?
        }
    };
    let route = format!("doctor-{}", random_letters());
    let channel = platform.create_channel(&domain.id, NAME, &route).await?;
    let client = platform.create_client(&domain.id, NAME).await?;
    platform.connect(&domain.id, &channel.id, &client.id).await?;
    Ok(Site {
        domain_id: domain.id,
        channel_id: channel.id,
        client_id: client.id,
        secret: client.secret,
    })
}

async fn remove(platform: &Platform, site: &Site) -> Result<(), Error> {
    let domain = &site.domain_id;
    platform
        .delete(&format!("/{domain}/clients/{}", site.client_id))
        .await?;
    platform
        .delete(&format!("/{domain}/channels/{}", site.channel_id))
        .await
}

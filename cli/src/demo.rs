//! `trunkline demo`: a first message, from a device over MQTT to the reader, on a platform that runs.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use trunkline_core::secret::random_bytes;

use crate::Error;
use crate::api::{Platform, Record};
use crate::login::Login;
use crate::mqtt;
use crate::transcript::{ByHand, Transcript};

/// How long the records may take from their acknowledgement to the reader.
const READ_WAIT: Duration = Duration::from_secs(10);
/// Pause between two looks at the reader.
const READ_PAUSE: Duration = Duration::from_millis(50);
const CHANNEL_ROUTE: &str = "climate";
const SUBTOPIC: &str = "kitchen";
const CONTENT_TYPE: &str = "application/senml+json";
/// A SenML pack (RFC 8428): the base name stands before the names of both records.
const PACK: &str = r#"[{"bn":"kitchen:","n":"temperature","u":"Cel","v":21.5},{"n":"humidity","u":"%RH","v":48}]"#;
const PACK_RECORDS: usize = 2;

/// Show a first message: make a domain, a channel and a client, publish over MQTT and read the message back.
#[derive(Debug, Clone, clap::Args)]
pub struct Demo {
    /// E-mail address to log in with; asked for when absent.
    #[arg(long)]
    pub email: Option<String>,
    /// File that holds the password; asked for when absent.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Where the platform serves HTTP.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Where the platform listens for MQTT.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:1883")]
    pub mqtt: String,
    /// Where the platform takes messages over HTTP, if not at the URL.
    #[arg(long, value_name = "URL")]
    pub messages: Option<String>,
}

/// Runs the demo and prints what it does on standard output.
///
/// # Errors
/// The first step that failed; see [`Error`].
pub async fn demo(demo: Demo) -> Result<(), Error> {
    let is_coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut out = io::stdout();
    demo.show(&mut Transcript::new(&mut out, is_coloured)).await
}

impl Demo {
    async fn show(&self, transcript: &mut Transcript<'_>) -> Result<(), Error> {
        let mut platform = Platform::at(&self.url)?;
        let messages = self.messages.as_deref().map(Platform::at).transpose()?;
        let login = Login::ask(self.email.as_deref(), self.password_file.as_deref())?;
        platform.log_in(&login).await?;
        transcript
            .title("A first message, from a device to the reader")
            .and_then(|()| transcript.done("logged in", &login.email))
            .map_err(Error::Output)?;
        let mut done = |step: &str, what: &str| transcript.done(step, what).map_err(Error::Output);

        let route = format!("demo-{}", random_letters());
        let domain = platform.create_domain("Demo", &route).await?;
        done("made a domain", &route)?;
        let channel = platform.create_channel(&domain.id, "Climate", CHANNEL_ROUTE).await?;
        done("made a channel", CHANNEL_ROUTE)?;
        let client = platform.create_client(&domain.id, "Thermometer").await?;
        done("made a client", &client.id)?;
        platform.connect(&domain.id, &channel.id, &client.id).await?;
        done("connected them", "to publish and to subscribe")?;

        let topic = format!("m/{route}/c/{CHANNEL_ROUTE}/{SUBTOPIC}");
        let message = mqtt::Message {
            client_id: &client.id,
            secret: &client.secret,
            topic: &topic,
            content_type: CONTENT_TYPE,
            payload: PACK,
        };
        let took = mqtt::publish(&self.mqtt, &message).await?;
        let what = format!(
            "{PACK_RECORDS} records over MQTT to {topic}, kept after {}",
            millis(took)
        );
        done("published", &what)?;
        let (records, took) = read_back(&platform, &domain.id, &channel.id).await?;
        done("read them back", &format!("over HTTP, after {}", millis(took)))?;

        let names = ByHand {
            url: platform.base(),
            messages: messages.as_ref().unwrap_or(&platform).base(),
            mqtt: host_and_port(&self.mqtt),
            topic: &topic,
            domain_id: &domain.id,
            channel_id: &channel.id,
            client_id: &client.id,
            secret: client.secret.expose(),
            content_type: CONTENT_TYPE,
            payload: PACK,
        };
        transcript
            .records(&records)
            .and_then(|()| transcript.by_hand(&names))
            .map_err(Error::Output)
    }
}

/// The records of the pack in its order, once all can be read, and how long that took.
async fn read_back(platform: &Platform, domain_id: &str, channel_id: &str) -> Result<(Vec<Record>, Duration), Error> {
    let started = Instant::now();
    loop {
        let mut records = platform.records(domain_id, channel_id).await?;
        if records.len() >= PACK_RECORDS {
            records.reverse();
            return Ok((records, started.elapsed()));
        }
        if started.elapsed() >= READ_WAIT {
            return Err(Error::NotRead {
                found: records.len(),
                expected: PACK_RECORDS,
                waited: READ_WAIT,
            });
        }
        tokio::time::sleep(READ_PAUSE).await;
    }
}

/// Four letters and digits that are not mistaken for each other, so that a demo can be run again and again.
pub(crate) fn random_letters() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    random_bytes::<4>()
        .into_iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]))
        .collect()
}

/// Host and port of an address as `mosquitto_pub` takes them: an IPv6 host without its brackets.
fn host_and_port(address: &str) -> (&str, &str) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "1883"));
    (host.trim_matches(['[', ']']), port)
}

fn millis(took: Duration) -> String {
    format!("{} ms", took.as_millis().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_for_the_demo_is_four_plain_characters() {
        let letters = random_letters();
        assert_eq!(letters.len(), 4);
        assert!(
            letters
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        );
    }

    #[test]
    fn an_address_is_taken_apart_for_the_commands() {
        assert_eq!(host_and_port("127.0.0.1:1883"), ("127.0.0.1", "1883"));
        assert_eq!(host_and_port("[::1]:41883"), ("::1", "41883"));
        assert_eq!(host_and_port("broker"), ("broker", "1883"));
    }
}

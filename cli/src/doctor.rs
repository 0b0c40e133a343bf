//! `trunkline doctor`: follows a message through a platform that runs, from the outside, and names the first step that fails.
//!
//! It works on a platform of one process and on one of many alike. What it makes it removes again, but for its domain, which the next
//! run uses.

use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::TcpStream;
use trunkline_core::Secret;

use crate::Error;
use crate::api::{Health, Platform};
use crate::demo::random_letters;
use crate::login::Login;
use crate::mqtt;
use crate::transcript::Transcript;

/// How far clocks may be apart: half of what service tokens bear.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(30);
/// How long a port may take to be opened.
const PORT_WAIT: Duration = Duration::from_secs(3);
/// How long a message may take from its acknowledgement to the reader.
const STORE_WAIT: Duration = Duration::from_secs(10);
/// How long the removal of what was made may take.
const REMOVE_WAIT: Duration = Duration::from_secs(5);
/// Pause between two looks at the reader.
const READ_PAUSE: Duration = Duration::from_millis(50);
/// Name of the domain that is kept for the next run, and of what is made in it.
const NAME: &str = "Doctor";
/// The message: one record of SenML (RFC 8428).
const PAYLOAD: &str = r#"[{"n":"doctor","v":1}]"#;
const CONTENT_TYPE: &str = "application/senml+json";

/// Follow a message through a platform that runs, and name the first step that fails.
#[derive(Debug, Clone, clap::Args)]
pub struct Doctor {
    /// Where the platform serves HTTP.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Where the platform listens for MQTT.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:1883")]
    pub mqtt: String,
    /// The operator's listener, of each process of a split platform.
    #[arg(
        long,
        value_name = "ADDR:PORT,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:7071"
    )]
    pub ops: Vec<String>,
    /// E-mail address to log in with; asked for when absent.
    #[arg(long)]
    pub email: Option<String>,
    /// File that holds the password; asked for when absent.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// A step that failed, and why.
struct Finding {
    step: &'static str,
    why: String,
}

/// What the message needs on its way.
struct Site {
    domain_id: String,
    channel_id: String,
    client_id: String,
    secret: Secret,
}

/// Follows a message and prints each step on standard output.
///
/// # Errors
/// [`Error::Ill`] with the first step that failed.
pub async fn doctor(doctor: Doctor) -> Result<(), Error> {
    let is_coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let login = Login::ask(doctor.email.as_deref(), doctor.password_file.as_deref())?;
    let mut out = io::stdout();
    let mut transcript = Transcript::new(&mut out, is_coloured);
    let title = format!("Following a message through the platform at {}", doctor.url);
    transcript.title(&title).map_err(Error::Output)?;
    let Err(finding) = doctor.follow(&login, &mut transcript).await else {
        return Ok(());
    };
    transcript.failed(finding.step, &finding.why).map_err(Error::Output)?;
    for fault in doctor.faults().await {
        transcript.more(&fault).map_err(Error::Output)?;
    }
    Err(Error::Ill { step: finding.step })
}

impl Doctor {
    async fn follow(&self, login: &Login, transcript: &mut Transcript<'_>) -> Result<(), Finding> {
        let mut done = |step: &'static str, what: &str| transcript.done(step, what).map_err(because(step));
        self.open_ports().await?;
        done("ports", &format!("all {} are open", 2 + self.ops.len()))?;
        let apart = self.compare_clocks().await?;
        done("clock", &format!("at most {} ms apart", apart.as_millis()))?;
        let mut platform = Platform::at(&self.url).map_err(because("login"))?;
        platform.log_in(login).await.map_err(because("login"))?;
        done("login", &login.email)?;
        let site = make(&platform).await.map_err(because("registry"))?;
        done("registry", "made a client and a channel, and connected them")?;
        let passed = self.pass(&platform, &site, &mut done).await;
        // What was made goes in any case; an ill platform may not manage to.
        let removed = tokio::time::timeout(REMOVE_WAIT, remove(&platform, &site)).await;
        passed?;
        let in_time = removed.map_err(|_| format!("it took longer than {} s", REMOVE_WAIT.as_secs()));
        in_time.map_err(because("clean-up"))?.map_err(because("clean-up"))?;
        done("clean-up", "removed what was made")
    }

    /// Sends the message and waits for it at the other end.
    async fn pass(
        &self,
        platform: &Platform,
        site: &Site,
        done: &mut impl FnMut(&'static str, &str) -> Result<(), Finding>,
    ) -> Result<(), Finding> {
        let topic = format!("m/{}/c/{}", site.domain_id, site.channel_id);
        let message = mqtt::Message {
            client_id: &site.client_id,
            secret: &site.secret,
            topic: &topic,
            content_type: CONTENT_TYPE,
            payload: PAYLOAD,
        };
        let took = mqtt::publish(&self.mqtt, &message)
            .await
            .map_err(|error| match &error {
                Error::Mqtt { step, .. } if *step == mqtt::TAKE_STEP => because("log")(error),
                _ => because("publish")(error),
            })?;
        done("publish", "the client was admitted over MQTT")?;
        let tier = self.tier().await;
        done(
            "log",
            &format!("acknowledged after {} ms, {tier}", took.as_millis().max(1)),
        )?;
        let sent = Instant::now();
        loop {
            let records = platform.records(&site.domain_id, &site.channel_id).await;
            if !records.map_err(because("reader"))?.is_empty() {
                break;
            }
            if sent.elapsed() > STORE_WAIT {
                let why = format!(
                    "the message was acknowledged and is not stored after {} s",
                    STORE_WAIT.as_secs()
                );
                return Err(Finding { step: "writer", why });
            }
            tokio::time::sleep(READ_PAUSE).await;
        }
        done(
            "writer",
            &format!("stored within {} ms", sent.elapsed().as_millis().max(1)),
        )?;
        done("reader", "read back over HTTP")
    }

    async fn open_ports(&self) -> Result<(), Finding> {
        let http = self.url.strip_prefix("http://").unwrap_or(&self.url);
        let mut addresses = vec![("HTTP", http.trim_end_matches('/')), ("MQTT", &self.mqtt)];
        addresses.extend(self.ops.iter().map(|ops| ("the operator", ops.as_str())));
        for (whom, address) in addresses {
            let closed = |why: &dyn Display| Finding {
                step: "ports",
                why: format!("nobody listens for {whom} at {address}: {why}"),
            };
            match tokio::time::timeout(PORT_WAIT, TcpStream::connect(address)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(closed(&error)),
                Err(_) => return Err(closed(&"no answer")),
            }
        }
        Ok(())
    }

    /// How far the clock of any process is from ours.
    async fn compare_clocks(&self) -> Result<Duration, Finding> {
        let mut farthest = Duration::ZERO;
        for ops in &self.ops {
            let health = health_at(ops).await.map_err(because("clock"))?;
            let apart = Duration::from_millis(health.time_ms.abs_diff(now_ms()));
            if apart > CLOCKS_APART_MAX {
                let why = format!(
                    "the clock at {ops} is {} s away from ours; let NTP set both",
                    apart.as_secs()
                );
                return Err(Finding { step: "clock", why });
            }
            farthest = farthest.max(apart);
        }
        Ok(farthest)
    }

    /// What the acknowledgement promises, as the processes say.
    async fn tier(&self) -> String {
        for ops in &self.ops {
            if let Ok(Health { tier: Some(tier), .. }) = health_at(ops).await {
                return format!("at tier {tier}");
            }
        }
        "at a tier that no process told".to_owned()
    }

    /// What the processes themselves know to be wrong.
    async fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for ops in &self.ops {
            let Ok(health) = health_at(ops).await else {
                faults.push(format!("{ops} does not answer"));
                continue;
            };
            let roles: Vec<&str> = health.roles.keys().map(String::as_str).collect();
            for (name, checks) in &health.checks {
                let wrong = checks.iter().filter_map(|check| check.output.as_ref());
                faults.extend(wrong.map(|why| format!("{ops} ({}) says of {name}: {why}", roles.join(", "))));
            }
        }
        faults
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

async fn health_at(ops: &str) -> Result<Health, Error> {
    Platform::at(&format!("http://{ops}"))?.health().await
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// For `map_err`: the step in which it happened.
fn because<E: Display>(step: &'static str) -> impl FnOnce(E) -> Finding {
    move |error| Finding {
        step,
        why: error.to_string(),
    }
}

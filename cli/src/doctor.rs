//! `trunkline doctor`: follows a message through a platform that runs, from the outside, and names the first step that fails.
//!
//! It works on a platform of one process and on one of many alike, and comes in by every adapter that there is. What it makes it removes
//! again, but for its domain, which the next run uses.

mod passage;

use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::TcpStream;

use crate::Error;
use crate::api::{Health, Platform};
use crate::login::Login;
use crate::transcript::Transcript;
use passage::Passage;

/// How far clocks may be apart: half of what service tokens bear.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(30);
/// How long a port may take to be opened.
const PORT_WAIT: Duration = Duration::from_secs(3);
/// The role that takes messages over HTTP.
const HTTP_ROLE: &str = "http";

/// Follow a message through a platform that runs, and name the first step that fails.
#[derive(Debug, Clone, clap::Args)]
pub struct Doctor {
    /// Where the platform serves HTTP.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Where the platform listens for MQTT.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:1883")]
    pub mqtt: String,
    /// Where the platform takes messages over HTTP, if not at the URL.
    #[arg(long, value_name = "URL")]
    pub messages: Option<String>,
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
        let ports = self.open_ports().await?;
        let all_open = format!("all {ports} are open");
        transcript.done("ports", &all_open).map_err(because("ports"))?;
        let (healths, apart) = self.look_at_each().await?;
        let at_most = format!("at most {} ms apart", apart.as_millis());
        transcript.done("clock", &at_most).map_err(because("clock"))?;
        let mut platform = Platform::at(&self.url).map_err(because("login"))?;
        platform.log_in(login).await.map_err(because("login"))?;
        transcript.done("login", &login.email).map_err(because("login"))?;
        let passage = Passage {
            platform: &platform,
            mqtt: &self.mqtt,
            messages: self.messages_url(&healths),
            tier: tier(&healths),
            transcript,
        };
        passage.walk().await
    }

    /// Where messages are taken over HTTP; none when nobody says that they are.
    fn messages_url(&self, healths: &[Health]) -> Option<String> {
        let takes_them = healths.iter().any(|health| health.roles.contains_key(HTTP_ROLE));
        let here = takes_them.then_some(&self.url);
        self.messages.as_ref().or(here).cloned()
    }

    /// How many ports were looked at, all of them open.
    async fn open_ports(&self) -> Result<usize, Finding> {
        let host = |url: &str| {
            url.strip_prefix("http://")
                .unwrap_or(url)
                .trim_end_matches('/')
                .to_owned()
        };
        let mut addresses = vec![("HTTP", host(&self.url)), ("MQTT", self.mqtt.clone())];
        addresses.extend(self.messages.iter().map(|url| ("messages over HTTP", host(url))));
        addresses.extend(self.ops.iter().map(|ops| ("the operator", ops.clone())));
        for (whom, address) in &addresses {
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
        Ok(addresses.len())
    }

    /// What each process says of itself, and how far the clock of any of them is from ours.
    async fn look_at_each(&self) -> Result<(Vec<Health>, Duration), Finding> {
        let (mut healths, mut farthest) = (Vec::new(), Duration::ZERO);
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
            healths.push(health);
        }
        Ok((healths, farthest))
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

/// What the acknowledgement promises, as the processes say.
fn tier(healths: &[Health]) -> String {
    match healths.iter().find_map(|health| health.tier.as_ref()) {
        Some(tier) => format!("at tier {tier}"),
        None => "at a tier that no process told".to_owned(),
    }
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

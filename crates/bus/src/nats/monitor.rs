//! What the servers' monitoring proves of how they keep what they acknowledge: when a process opens the bus, and after each time that
//! the connection broke, since a server may have come back with another configuration.

use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connect::Connection;
use super::{NatsConfig, NatsError};
use crate::log::{Durability, Tier};

/// How long a server may take to tell.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(3);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Rest before monitoring that proves nothing for now is asked again.
const RETRY_REST: Duration = Duration::from_secs(1);
/// How long it may prove nothing while the server is connected, before that counts as an answer.
const PROOF_WAIT_MAX: Duration = Duration::from_secs(30);

/// What `/varz` says that we look at.
#[derive(Deserialize)]
struct Varz {
    server_id: String,
    #[serde(default)]
    jetstream: JetStream,
}

#[derive(Default, Deserialize)]
struct JetStream {
    #[serde(default)]
    config: Option<JetStreamConfig>,
}

#[derive(Deserialize)]
struct JetStreamConfig {
    #[serde(default)]
    sync_always: bool,
}

/// Why it is not proven that every server syncs each write.
#[derive(Debug)]
enum Unproven {
    /// Nothing was told to the purpose; that may pass.
    ForNow(String),
    /// It is told, or configured, otherwise.
    Denied(String),
}

impl Unproven {
    fn into_sentence(self) -> String {
        match self {
            Self::ForNow(why) | Self::Denied(why) => why,
        }
    }
}

/// What an acknowledgement promises; `server_id` is the server that we talk to.
pub(super) async fn durability(config: &NatsConfig, server_id: &str) -> Result<Durability, NatsError> {
    let proven = proof(config, server_id).await;
    let given = if proven.is_ok() { Tier::Synced } else { Tier::Written };
    if let (Some(wanted), Err(why)) = (config.tier.map(Tier::from), proven)
        && wanted > given
    {
        let why = why.into_sentence();
        return Err(NatsError::Tier { wanted, given, why });
    }
    Ok(Durability {
        tier: config.tier.map_or(given, Tier::from),
        copies: config.replicas,
    })
}

/// Looks after the promise that each write is synced, where it was proven when the bus was opened.
pub(super) struct Proof {
    pub(super) config: NatsConfig,
    pub(super) connection: Connection,
    /// Takes the sentence with which the process must end.
    pub(super) tell: watch::Sender<Option<String>>,
}

impl Proof {
    /// Has it proven again after each time that the connection broke, until `closing`.
    pub(super) async fn run(self, closing: CancellationToken) {
        // Cancel safe: it only asks.
        let why = tokio::select! {
            () = closing.cancelled() => return,
            Some(why) = self.missing() => why,
            else => return,
        };
        let sentence = format!(
            "NATS does not give the tier `{}` any more, which this process promises: {why}",
            Tier::Synced
        );
        tracing::error!("{sentence}");
        self.tell.send_replace(Some(sentence));
    }

    /// Why it is not proven any more; `None` when there is no connection any more.
    async fn missing(&self) -> Option<String> {
        let mut link = self.connection.link.clone();
        let mut breaks = 0;
        loop {
            let came_back = link.wait_for(|link| link.is_up && link.breaks != breaks).await;
            breaks = came_back.ok()?.breaks;
            let deadline = Instant::now() + PROOF_WAIT_MAX;
            while link.borrow().breaks == breaks {
                let server_id = self.connection.client.server_info().server_id;
                match proof(&self.config, &server_id).await {
                    Ok(()) => break,
                    Err(Unproven::Denied(why)) => return Some(why),
                    Err(Unproven::ForNow(why)) if Instant::now() < deadline => {
                        tracing::warn!(
                            why,
                            "monitoring of NATS does not prove that each write is synced; it is asked again"
                        );
                        tokio::time::sleep(RETRY_REST).await;
                    }
                    Err(Unproven::ForNow(why)) => return Some(why),
                }
            }
        }
    }
}

/// Proves that every server syncs each write.
async fn proof(config: &NatsConfig, server_id: &str) -> Result<(), Unproven> {
    if config.monitoring_urls.is_empty() {
        let why = "no `monitoring_urls` are configured to prove more".to_owned();
        return Err(Unproven::Denied(why));
    }
    if config.monitoring_urls.len() < usize::from(config.replicas) {
        let why = format!("`monitoring_urls` must name all {} servers", config.replicas);
        return Err(Unproven::Denied(why));
    }
    let mut is_ours_among_them = false;
    for url in &config.monitoring_urls {
        let varz = ask(url)
            .await
            .map_err(|cause| Unproven::ForNow(format!("{url} does not tell: {cause}")))?;
        if !varz.jetstream.config.is_some_and(|config| config.sync_always) {
            let why = format!("{url} says that it does not sync each write (`sync_interval: always`)");
            return Err(Unproven::Denied(why));
        }
        is_ours_among_them |= varz.server_id == server_id;
    }
    if is_ours_among_them {
        return Ok(());
    }
    // The server may have been replaced between the two answers.
    let why = "`monitoring_urls` do not name the server that we are connected to".to_owned();
    Err(Unproven::ForNow(why))
}

async fn ask(url: &str) -> Result<Varz, String> {
    let address = url
        .strip_prefix("http://")
        .ok_or("its address must begin with http://")?;
    let address = address.trim_end_matches('/');
    let answered = tokio::time::timeout(ANSWER_WAIT_MAX, fetch(address));
    let answer = answered
        .await
        .map_err(|_| "no answer in time".to_owned())?
        .map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("it does not speak HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        return Err(format!("it answers with status {status}"));
    }
    serde_json::from_str(body).map_err(|error| error.to_string())
}

/// One request of HTTP/1.0, whose answer ends with the connection.
async fn fetch(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /varz HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    Ok(answer)
}

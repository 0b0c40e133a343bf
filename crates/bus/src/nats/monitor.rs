//! What the servers' monitoring proves of how they keep what they acknowledge.

use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{NatsConfig, NatsError};
use crate::log::{Durability, Tier};

/// How long a server may take to tell.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(3);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

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

/// What an acknowledgement promises; `server_id` is the server that we talk to.
pub(super) async fn durability(config: &NatsConfig, server_id: &str) -> Result<Durability, NatsError> {
    let proven = proof(config, server_id).await;
    let given = if proven.is_ok() { Tier::Synced } else { Tier::Written };
    if let (Some(wanted), Err(why)) = (config.tier.map(Tier::from), proven)
        && wanted > given
    {
        return Err(NatsError::Tier { wanted, given, why });
    }
    Ok(Durability {
        tier: config.tier.map_or(given, Tier::from),
        copies: config.replicas,
    })
}

/// Proves that every server syncs each write, or says why that is not proven.
async fn proof(config: &NatsConfig, server_id: &str) -> Result<(), String> {
    if config.monitoring_urls.is_empty() {
        return Err("no `monitoring_urls` are configured to prove more".to_owned());
    }
    if config.monitoring_urls.len() < usize::from(config.replicas) {
        return Err(format!("`monitoring_urls` must name all {} servers", config.replicas));
    }
    let mut is_ours_among_them = false;
    for url in &config.monitoring_urls {
        let varz = ask(url)
            .await
            .map_err(|cause| format!("{url} does not tell: {cause}"))?;
        if !varz.jetstream.config.is_some_and(|config| config.sync_always) {
            return Err(format!(
                "{url} says that it does not sync each write (`sync_interval: always`)"
            ));
        }
        is_ours_among_them |= varz.server_id == server_id;
    }
    if is_ours_among_them {
        Ok(())
    } else {
        Err("`monitoring_urls` do not name the server that we are connected to".to_owned())
    }
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

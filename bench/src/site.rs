//! A place to send to on a running Trunkline: domains with equal routes inside, each with a channel and clients; and what the operator's
//! listener tells about the whole.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use http::Method;
use serde_json::{Value, json};

use crate::Place;
use crate::caller::{Caller, text_at};
use crate::load::{Plan, Target};

/// Between two looks at something that is waited for.
const POLL: Duration = Duration::from_millis(20);

/// Where a platform listens, and who may make domains on it.
#[derive(Debug, Clone)]
pub struct Access {
    /// API over HTTP.
    pub http: SocketAddr,
    /// Messages over HTTP; the same address where one process has both roles.
    pub messages: SocketAddr,
    /// MQTT.
    pub mqtt: SocketAddr,
    /// Metrics.
    pub ops: SocketAddr,
    /// E-mail address of a user.
    pub email: String,
    /// His password.
    pub password: String,
}

/// What was made on a platform.
#[derive(Debug, Clone)]
pub struct Site {
    /// The targets, domain by domain in turn: neighbours are in different domains.
    pub targets: Vec<Target>,
    access: Access,
    user: Caller,
    domains: Vec<String>,
    /// In each domain, who sends the message that is waited for.
    last: Vec<Target>,
}

impl Site {
    /// Makes `domains` domains with a channel of the same route and `clients` clients each.
    ///
    /// # Errors
    /// What the platform refused.
    pub async fn make(access: &Access, domains: usize, clients: usize) -> Result<Self> {
        ensure!(domains > 0 && clients > 0, "a site has domains and clients");
        let user = log_in(access).await?;
        let tag = Plan::new_run();
        let mut by_domain = Vec::new();
        for number in 0..domains {
            by_domain.push(make_domain(access, &user, &format!("{tag}-{number}"), clients).await?);
        }
        let ids: Vec<String> = by_domain
            .iter()
            .map(|targets| targets[0].place.domain.clone())
            .collect();
        let in_turn = |i: usize| by_domain[i % domains][i / domains].clone();
        Ok(Self {
            targets: (0..domains * clients).map(in_turn).collect(),
            access: access.clone(),
            last: make_last(access, &user, &ids).await?,
            user,
            domains: ids,
        })
    }

    /// A site that an earlier run has made, to be read only.
    ///
    /// # Errors
    /// When the user cannot log in.
    pub async fn existing(access: &Access, places: &[Place]) -> Result<Self> {
        Ok(Self {
            targets: Vec::new(),
            access: access.clone(),
            user: log_in(access).await?,
            domains: places.iter().map(|place| place.domain.clone()).collect(),
            last: Vec::new(),
        })
    }

    /// The same site on a platform that was started anew, perhaps elsewhere.
    ///
    /// # Errors
    /// When the user cannot log in.
    pub async fn moved(&self, access: &Access) -> Result<Self> {
        let moved = |target: &Target| Target {
            http: access.messages,
            mqtt: access.mqtt,
            ..target.clone()
        };
        Ok(Self {
            targets: self.targets.iter().map(moved).collect(),
            access: access.clone(),
            user: log_in(access).await?,
            domains: self.domains.clone(),
            last: self.last.clone(),
        })
    }

    /// Creates a further client in the first domain: a write of the control plane.
    ///
    /// # Errors
    /// What the platform refused.
    pub async fn make_client(&self, name: &str) -> Result<()> {
        let path = format!("/{}/clients", self.domains[0]);
        self.user.post(&path, &json!({ "name": name })).await.map(drop)
    }

    /// A number that the platform counts, summed over its labels.
    ///
    /// # Errors
    /// When the operator's listener does not answer or the number is not there.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        metric(self.access.ops, name).await
    }

    /// Waits until everything that was accepted before now is stored.
    ///
    /// A message is sent after all others in each domain, to a channel of its own, and looked for: a domain's messages are stored in their
    /// order. The lag that the platform tells about is not trusted.
    ///
    /// # Errors
    /// When that is not so within `limit`, or the platform does not answer.
    pub async fn quiesce(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        for last in &self.last {
            let Place { domain, channel } = &last.place;
            let client = Caller::new(last.http).with_authorization(format!("Client {}", last.password));
            let record = json!([{ "n": "last", "vb": true }]);
            let sent = client.post(&format!("/m/{domain}/c/{channel}"), &record).await?;
            let id = text_at(&sent, "/message_id")?;
            let path = format!("/{domain}/channels/{channel}/messages?limit=1");
            while self.user.get(&path).await?.pointer("/messages/0/message_id") != Some(&json!(id)) {
                ensure!(
                    Instant::now() < deadline,
                    "what was accepted is not stored after {limit:?}"
                );
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    pub(crate) fn caller_in(&self, domain: &str) -> Result<&Caller> {
        let is_known = self.domains.iter().any(|known| known == domain);
        ensure!(is_known, "the domain {domain} is not of this site");
        Ok(&self.user)
    }
}

/// A number of the operator's listener at `ops`, summed over its labels.
///
/// # Errors
/// When it does not answer or the number is not there.
pub async fn metric(ops: SocketAddr, name: &str) -> Result<f64> {
    let text = Caller::new(ops).call(Method::GET, "/metrics", None).await?;
    let text = String::from_utf8_lossy(&text);
    let is_named = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with([' ', '{']))
    };
    let values: Vec<f64> = text
        .lines()
        .filter(is_named)
        .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
        .collect();
    ensure!(!values.is_empty(), "{name} is not among the metrics of {ops}");
    Ok(values.iter().sum())
}

async fn log_in(access: &Access) -> Result<Caller> {
    let anonymous = Caller::new(access.http);
    let login = json!({ "username": access.email, "password": access.password });
    let answer = anonymous.post("/users/tokens/issue", &login).await?;
    Ok(anonymous.with_authorization(format!("Bearer {}", text_at(&answer, "/access_token")?)))
}

async fn make_domain(access: &Access, user: &Caller, route: &str, clients: usize) -> Result<Vec<Target>> {
    let route = format!("bench-{route}");
    let domain = user.post("/domains", &json!({ "name": route, "route": route })).await?;
    let domain = text_at(&domain, "/id")?;
    let mut targets = make_channel(access, user, &domain, "ledger", clients).await?;
    for target in &mut targets {
        target.topic = format!("m/{route}/c/ledger");
    }
    Ok(targets)
}

async fn make_last(access: &Access, user: &Caller, domains: &[String]) -> Result<Vec<Target>> {
    let mut last = Vec::new();
    for domain in domains {
        last.extend(make_channel(access, user, domain, "last", 1).await?);
    }
    Ok(last)
}

/// A channel with clients that may publish to it and read it, as targets by ids.
async fn make_channel(
    access: &Access,
    user: &Caller,
    domain: &str,
    route: &str,
    clients: usize,
) -> Result<Vec<Target>> {
    let body = json!({ "name": route, "route": route });
    let channel = user.post(&format!("/{domain}/channels"), &body).await?;
    let channel = text_at(&channel, "/id")?;
    let mut targets = Vec::new();
    for number in 0..clients {
        let body = json!({ "name": format!("{route} {number}") });
        let made = user.post(&format!("/{domain}/clients"), &body).await?;
        targets.push(Target {
            http: access.messages,
            mqtt: access.mqtt,
            user: text_at(&made, "/id")?,
            password: text_at(&made, "/credentials/secret")?,
            topic: format!("m/{domain}/c/{channel}"),
            place: Place {
                domain: domain.to_owned(),
                channel: channel.clone(),
            },
        });
    }
    let ids: Vec<Value> = targets.iter().map(|target| json!(target.user)).collect();
    let body = json!({ "client_ids": ids, "types": ["publish", "subscribe"] });
    user.post(&format!("/{domain}/channels/{channel}/connect"), &body)
        .await
        .context("the clients cannot be connected")?;
    Ok(targets)
}

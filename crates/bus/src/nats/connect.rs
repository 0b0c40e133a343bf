//! Connections to NATS: their options, and what is known of how they stand.
//!
//! A process has two that come back by themselves: one to read the bulk of the logs, one for all else, so that a lease is never
//! renewed behind megabytes of messages. Each log that is appended to has an outlet of its own beside them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, RequestErrorKind, jetstream};
use bytes::Bytes;
use tokio::sync::watch;
use tracing::{info, warn};

use super::identity::{Identity, Lives};
use super::{NatsConfig, NatsError, VERSION_MIN};
use crate::feed::locked;

/// How long one attempt to connect may take.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(4);
/// How often a server that says nothing is asked whether it lives; the third question without an answer ends the connection.
const PING_EVERY: Duration = Duration::from_secs(2);
/// Longest rest between attempts to connect anew.
const RECONNECT_REST_MAX: Duration = Duration::from_secs(1);
/// How long the server may take to answer a question.
pub(super) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(3);
/// Commands that may wait for the socket of one connection.
const COMMANDS_MAX: usize = 256;
/// News that may wait in one subscription; what comes on top is lost, and told as lost.
const NEWS_MAX: usize = 2_048;

/// How a connection stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) is_up: bool,
    /// Times that news may have been lost: connections broken, subscriptions overrun.
    pub(super) gaps: u64,
    /// Times that it broke.
    pub(super) breaks: u64,
}

/// One connection. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    /// To understand messages that consumers deliver.
    pub(super) jetstream: jetstream::Context,
    pub(super) link: watch::Receiver<Link>,
    tell: watch::Sender<Link>,
    /// A subject that nobody answers to.
    nobody: String,
    /// What the server complained of last, such as a missing permission, which no answer tells.
    complaint: Arc<Mutex<Option<String>>>,
}

impl Connection {
    pub(super) async fn open(config: &NatsConfig, identity: Identity, name: &str) -> Result<Self, NatsError> {
        let (tell, link) = watch::channel(Link {
            is_up: true,
            ..Link::default()
        });
        let complaint = Arc::new(Mutex::new(None));
        let options = basics(config, identity, Lives::Many, name)
            .subscription_capacity(NEWS_MAX)
            .reconnect_delay_callback(rest_before)
            .event_callback({
                let complaint = complaint.clone();
                let (name, tell) = (name.to_owned(), tell.clone());
                move |event| {
                    notice(&event, &name, &tell, &complaint);
                    std::future::ready(())
                }
            });
        let urls = config.urls.join(", ");
        let client = options
            .connect(config.urls.clone())
            .await
            .map_err(|error| refusal(&error, &urls))?;
        check_version(&client.server_info().version)?;
        Ok(Self {
            jetstream: jetstream::new(client.clone()),
            client,
            link,
            tell,
            nobody: format!("{}.nobody", config.prefix),
            complaint,
        })
    }

    /// Sets right what lost events left wrong: the client drops events that come faster than they are handled.
    pub(super) fn look(&self) {
        let is_up = self.client.connection_state() == State::Connected;
        self.tell.send_if_modified(|link| {
            let is_news = link.is_up != is_up;
            if is_news {
                link.is_up = is_up;
                link.gaps += 1;
                link.breaks += 1;
            }
            is_news
        });
    }

    /// Waits until the server has seen all that was sent before: it says at once that nobody answers to this subject.
    pub(super) async fn settled(&self) -> Result<(), async_nats::RequestError> {
        match self.client.request(self.nobody.clone(), Bytes::new()).await {
            Err(error) if error.kind() != RequestErrorKind::NoResponders => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// `cause`, and what the server complained of, if it did.
    pub(super) fn explained(&self, cause: &dyn std::fmt::Display) -> String {
        match locked(&self.complaint).as_ref() {
            Some(complaint) => format!("{cause} (the server says: {complaint})"),
            None => cause.to_string(),
        }
    }
}

/// What all connections have in common.
pub(super) fn basics(config: &NatsConfig, identity: Identity, lives: Lives, name: &str) -> ConnectOptions {
    let mut options = identity
        .options(lives)
        .name(format!("trunkline {name}"))
        .connection_timeout(CONNECT_WAIT_MAX)
        .request_timeout(Some(ANSWER_WAIT_MAX))
        .ping_interval(PING_EVERY)
        .client_capacity(COMMANDS_MAX);
    if let Some(file) = &config.tls_ca {
        options = options.add_root_certificates(file.clone()).require_tls(true);
    }
    if let (Some(certificate), Some(key)) = (&config.tls_certificate, &config.tls_key) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    if let Some(user) = &config.user {
        // Answers come under the user's name, so that no user needs the right to listen to those of another.
        options = options.custom_inbox_prefix(format!("_INBOX.{user}"));
    }
    options
}

/// The rest before attempt `attempt` to connect, from 1.
pub(super) fn rest_before(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt).unwrap_or(u32::MAX).min(10);
    (Duration::from_millis(10) * 2_u32.pow(doublings)).min(RECONNECT_REST_MAX)
}

fn notice(event: &Event, name: &str, tell: &watch::Sender<Link>, complaint: &Mutex<Option<String>>) {
    match event {
        Event::Connected => {
            info!(connection = name, "connected to NATS");
            tell.send_modify(|link| link.is_up = true);
        }
        Event::Disconnected | Event::Closed => {
            warn!(connection = name, "the connection to NATS broke");
            tell.send_modify(|link| {
                link.is_up = false;
                link.gaps += 1;
                link.breaks += 1;
            });
        }
        Event::SlowConsumer(_) => tell.send_modify(|link| link.gaps += 1),
        Event::ServerError(error) => {
            warn!(connection = name, %error, "NATS complains");
            *locked(complaint) = Some(error.to_string());
        }
        Event::ClientError(_) | Event::LameDuckMode | Event::Draining => {}
    }
}

/// What the client says, in our words.
pub(super) fn refusal(error: &async_nats::ConnectError, urls: &str) -> NatsError {
    match error.kind() {
        ConnectErrorKind::ServerParse => NatsError::Config(format!("`urls`: {error}")),
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Tls => {
            NatsError::Refused(error.to_string())
        }
        ConnectErrorKind::Dns | ConnectErrorKind::TimedOut | ConnectErrorKind::Io | ConnectErrorKind::MaxReconnects => {
            NatsError::Unreachable {
                urls: urls.to_owned(),
                cause: error.to_string(),
            }
        }
    }
}

fn check_version(version: &str) -> Result<(), NatsError> {
    let mut numbers = version.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= VERSION_MIN {
        return Ok(());
    }
    Err(NatsError::TooOld {
        version: version.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_below_the_oldest_that_will_do_is_named() {
        assert_eq!(check_version("2.14.0"), Ok(()));
        assert_eq!(check_version("3.0.0-beta.1"), Ok(()));
        let refusal = check_version("2.9.10").unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "NATS has version 2.9.10 and must have 2.14 or later"
        );
    }

    #[test]
    fn rests_between_attempts_grow_to_their_bound() {
        assert!(rest_before(1) < rest_before(3));
        assert_eq!(rest_before(1_000), RECONNECT_REST_MAX);
    }
}

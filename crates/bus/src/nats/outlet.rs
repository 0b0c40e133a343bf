//! A connection that entries are published over, and that ends when it breaks.
//!
//! A client that comes back by itself sends first what it still held when it broke, before anybody can send again what was lost
//! on the way: later entries would be stored before earlier ones. So a broken outlet is dropped with all that it holds, and another
//! one is opened, over which everything without an acknowledgement is sent again in its order. What the server still reads from
//! the broken connection is in that order too, and it drops what it holds already, so neither can overtake.

use std::sync::Arc;

use async_nats::connection::State;
use async_nats::{Client, Event, Subscriber};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::connect::{ANSWER_WAIT_MAX, basics, refusal};
use super::identity::{Identity, Lives};
use super::names::LogName;
use super::{NatsConfig, NatsError};

/// Opens outlets.
#[derive(Clone)]
pub(super) struct Outlets {
    config: Arc<NatsConfig>,
    identity: Identity,
}

/// A connection that publishes. Dropping it ends it.
pub(super) struct Outlet {
    pub(super) client: Arc<Client>,
    /// Acknowledgements: what comes to the inbox.
    pub(super) acks: Subscriber,
    /// Cancelled once the connection broke.
    pub(super) broken: CancellationToken,
}

impl Outlets {
    pub(super) fn new(config: &NatsConfig, identity: Identity) -> Self {
        Self {
            config: Arc::new(config.clone()),
            identity,
        }
    }

    /// Connects for entries of `log`, and listens to acknowledgements at the subjects right below `inbox`.
    pub(super) async fn open(self, log: LogName, inbox: String) -> Result<Outlet, NatsError> {
        let name = format!("append {}", log.as_str());
        let broken = CancellationToken::new();
        let options = basics(&self.config, self.identity, Lives::One, &name)
            // Each attempt after a break fails, and after as many as there are servers the client ends.
            .max_reconnects(self.config.urls.len().max(1))
            .event_callback({
                let broken = broken.clone();
                move |event| {
                    notice(&event, &name, &broken);
                    std::future::ready(())
                }
            });
        let urls = self.config.urls.join(", ");
        let client = options
            .connect(self.config.urls.clone())
            .await
            .map_err(|error| refusal(&error, &urls))?;
        let failed = |cause: String| NatsError::Failed {
            step: "listening to acknowledgements",
            cause,
        };
        let subscribing = tokio::time::timeout(ANSWER_WAIT_MAX, client.subscribe(format!("{inbox}.*")));
        let acks = subscribing
            .await
            .map_err(|_| failed("no answer in time".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        Ok(Outlet {
            client: Arc::new(client),
            acks,
            broken,
        })
    }
}

impl Outlet {
    /// Sets right what a lost event left wrong: the client drops events that come faster than they are handled.
    pub(super) fn look(&self) {
        if self.client.connection_state() != State::Connected {
            self.broken.cancel();
        }
    }
}

fn notice(event: &Event, name: &str, broken: &CancellationToken) {
    match event {
        Event::Connected => debug!(connection = name, "connected to NATS"),
        Event::Disconnected | Event::Closed => {
            debug!(connection = name, "the connection to NATS broke");
            broken.cancel();
        }
        Event::ServerError(error) => warn!(connection = name, %error, "NATS complains"),
        // Lost acknowledgements are made good as on a connection that broke.
        Event::SlowConsumer(_) => broken.cancel(),
        Event::ClientError(_) | Event::LameDuckMode | Event::Draining => {}
    }
}

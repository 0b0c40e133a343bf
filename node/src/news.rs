//! The way of events: from the outbox of each service into the log of events, and from there to those who take notice.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use trunkline_bus::embedded::Config;
use trunkline_bus::events::{Events, PublishError};
use trunkline_db::outbox;

use crate::services::Services;

/// Bytes of events that are kept at most; the oldest that everybody has taken notice of go first.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of events that one domain may have waiting.
const DOMAIN_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of the newest events in memory.
const RING_BYTES_MAX: usize = 256 * 1024;
/// Bytes that may wait to be committed.
const QUEUE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The quotas of the log of events, which are its own.
pub(crate) fn config() -> Config {
    Config {
        shards: Some(1),
        bytes_max: BYTES_MAX,
        domain_bytes_max: DOMAIN_BYTES_MAX,
        ring_bytes_max: RING_BYTES_MAX,
        queue_bytes_max: QUEUE_BYTES_MAX,
        disk_free_bytes_min: 0,
        ..Config::default()
    }
}

/// Carries what the services have to tell each other until `stop`: one task for each outbox and each service that takes notice.
pub(crate) fn carry(events: &Events, services: &Services, tasks: &TaskTracker, stop: &CancellationToken) {
    for database in &services.databases {
        let (database, events, stop) = (database.clone(), events.clone(), stop.clone());
        tasks.spawn(async move {
            let publish = |batch: Vec<outbox::Event>| publish(events.clone(), batch);
            outbox::run(&database, publish, stop.cancelled()).await;
        });
    }
    let (auth, channels) = (services.auth.clone(), services.channels.clone());
    let auth = move |event| {
        let auth = auth.clone();
        async move { auth.notice(&event).await }
    };
    let channels = move |event| {
        let channels = channels.clone();
        async move { channels.notice(&event).await }
    };
    let (to_auth, to_channels) = (events.clone(), events.clone());
    let (auth_stop, channels_stop) = (stop.clone(), stop.clone());
    tasks.spawn(async move {
        report("auth", to_auth.follow("auth", &auth_stop, auth).await);
    });
    tasks.spawn(async move {
        report(
            "channels",
            to_channels.follow("channels", &channels_stop, channels).await,
        );
    });
}

async fn publish(events: Events, batch: Vec<outbox::Event>) -> Result<(), PublishError> {
    for event in batch {
        events.publish(event.payload).await?;
    }
    Ok(())
}

fn report(group: &str, ended: Result<(), trunkline_bus::log::LogError>) {
    if let Err(error) = ended {
        tracing::error!(group, %error, "events are not followed any more");
    }
}

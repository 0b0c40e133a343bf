//! The way of events: from the outbox of each service into the log of events, and from there to those who take notice.

use trunkline_bus::events::{Events, PublishError};
use trunkline_db::outbox;

use crate::databases::Databases;
use crate::life::Phase;
use crate::services::Services;

/// Carries what the services have to tell each other until the phase ends: one task for each outbox and each service that takes
/// notice.
pub(crate) fn carry(events: &Events, services: &Services, databases: &Databases, phase: &Phase) {
    for database in databases.iter() {
        let (database, events, stop) = (database.clone(), events.clone(), phase.stop.clone());
        phase.tasks.spawn(async move {
            let publish = |batch: Vec<outbox::Event>| publish(events.clone(), batch);
            outbox::run(&database, publish, stop.cancelled()).await;
        });
    }
    if let Some(auth) = services.auth.clone() {
        let notice = move |event| {
            let auth = auth.clone();
            async move { auth.notice(&event).await }
        };
        let (events, stop) = (events.clone(), phase.stop.clone());
        phase
            .tasks
            .spawn(async move { report("auth", events.follow("auth", &stop, notice).await) });
    }
    if let Some(channels) = services.channels.clone() {
        let notice = move |event| {
            let channels = channels.clone();
            async move { channels.notice(&event).await }
        };
        let (events, stop) = (events.clone(), phase.stop.clone());
        phase
            .tasks
            .spawn(async move { report("channels", events.follow("channels", &stop, notice).await) });
    }
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

//! The way of events: from the outbox of each service into the log of events, and from there to those who take notice.

use std::fmt::Display;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use trunkline_bus::events::{Events, PublishError};
use trunkline_db::outbox;
use trunkline_proto::events::v1::Event;

use crate::databases::Databases;
use crate::life::Phase;
use crate::services::Services;

/// Pause before events are followed again after a failure.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

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
        phase
            .tasks
            .spawn(follow(events.clone(), "auth", notice, phase.stop.clone()));
    }
    if let Some(channels) = services.channels.clone() {
        let notice = move |event| {
            let channels = channels.clone();
            async move { channels.notice(&event).await }
        };
        phase
            .tasks
            .spawn(follow(events.clone(), "channels", notice, phase.stop.clone()));
    }
}

/// Follows events until `stop`, again after a failure: the log may be away for a while.
async fn follow<N, F, E>(events: Events, group: &'static str, notice: N, stop: CancellationToken)
where
    N: Fn(Event) -> F,
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    while let Err(error) = events.follow(group, &stop, &notice).await {
        tracing::warn!(group, %error, "events cannot be followed at the moment");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FOLLOW_PAUSE) => {}
        }
    }
}

async fn publish(events: Events, batch: Vec<outbox::Event>) -> Result<(), PublishError> {
    for event in batch {
        events.publish(event.payload).await?;
    }
    Ok(())
}

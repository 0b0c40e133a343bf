//! What only the registry of channels does: their routes here, their connections in `connect`. The rest is [`Registry`]'s.

use trunkline_bus::revision::Revisions;
use trunkline_core::error::Code;
use trunkline_registry::event::{self, Kind};
use trunkline_registry::store as registry;
use trunkline_registry::{Error, Object as _, Origin, Registry};
use trunkline_rpc::UserCaller;

use crate::channel::{Channel, NewChannel};
use crate::error::reasons::ROUTE_TAKEN;
use crate::store::constraint;

/// The use cases.
pub(crate) struct Service {
    pub(crate) channels: Registry<Channel>,
    pub(crate) revisions: Revisions,
}

impl Service {
    /// Creates a channel.
    pub(crate) async fn create(&self, caller: &UserCaller, new: &NewChannel) -> Result<Channel, Error> {
        self.channels.register(caller, new.domain_id, new.id).await?;
        let now = self.channels.clock.now();
        let channel = new.created(caller.id, now);
        let origin = Origin::of(caller, now);
        let stored = self.channels.db.write(|tx| {
            Box::pin(async {
                registry::insert(tx, &channel).await?;
                event::append(tx, Kind::Create, &channel, origin).await
            })
        });
        stored.await.map_err(taken)?;
        Ok(channel)
    }
}

/// Which part of a new channel is in use already.
fn taken(error: trunkline_db::Error) -> Error {
    if error.is_conflict(constraint::ROUTE) {
        let message = "another channel of the domain has this route";
        return Error::refused(Code::AlreadyExists, ROUTE_TAKEN, message);
    }
    if error.is_conflict(constraint::ID) || error.is_conflict(constraint::ID_ANYWHERE) {
        return Error::id_taken();
    }
    Error::database("creating", Channel::NOUNS)(error)
}

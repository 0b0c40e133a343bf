//! What only the registry of clients does: their secrets. The rest is [`Registry`]'s.

use tokio::sync::mpsc;
use trunkline_core::error::Code;
use trunkline_registry::event::{self, Kind};
use trunkline_registry::{Error, Object as _, Origin, Registry};
use trunkline_rpc::UserCaller;

use crate::client::{Client, NewClient};
use crate::credential::{Secrets, Used};
use crate::error::reasons::SECRET_TAKEN;
use crate::store::{self, constraint};

/// The use cases.
pub(crate) struct Service {
    pub(crate) clients: Registry<Client>,
    pub(crate) secrets: Secrets,
    pub(crate) used: mpsc::Sender<Used>,
}

impl Service {
    /// Creates a client with its first credential.
    pub(crate) async fn create(&self, caller: &UserCaller, new: &NewClient) -> Result<Client, Error> {
        self.clients.register(caller, new.domain_id, new.id).await?;
        let now = self.clients.clock.now();
        let client = new.created(now);
        let credential = self.secrets.seal(new.domain_id, &new.secret, now);
        let origin = Origin::of(caller, now);
        let stored = self.clients.db.write(|tx| {
            Box::pin(async {
                store::insert(tx, &client, &credential).await?;
                event::append(tx, Kind::Create, &client, origin).await
            })
        });
        stored.await.map_err(taken)?;
        Ok(client)
    }
}

/// Which part of a new client is in use already.
fn taken(error: trunkline_db::Error) -> Error {
    if error.is_conflict(constraint::SECRET) {
        let message = "another client of the domain has this secret";
        return Error::refused(Code::AlreadyExists, SECRET_TAKEN, message);
    }
    if error.is_conflict(constraint::ID) || error.is_conflict(constraint::ID_ANYWHERE) {
        return Error::id_taken();
    }
    Error::database("creating", Client::NOUNS)(error)
}

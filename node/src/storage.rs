//! What a node keeps and where: the keys, the bus, the message store. Embedded in the data folder, or on Postgres and NATS where the
//! configuration says so. Opened together and closed together.

mod bus;
mod messages;

use std::sync::Arc;

use trunkline_core::Clock;
use trunkline_store::MessageStore;
use uuid::Uuid;

pub(crate) use bus::Bus;
use messages::Messages;

use crate::config::Config;
use crate::data::DataFolder;
use crate::error::Error;
use crate::health::Health;
use crate::keys::Keys;
use crate::life::Phase;
use crate::roles::{Role, Roles, Shape};

/// Open storage. What no role of the process needs is not there.
pub(crate) struct Storage {
    pub(crate) platform_id: Uuid,
    pub(crate) keys: Keys,
    pub(crate) bus: Option<Bus>,
    /// The message store as the writer and the reader reach it.
    messages: Vec<(Role, Messages)>,
    // Last, so that the folder is unlocked after everything in it is closed.
    pub(crate) data: Option<DataFolder>,
}

impl Storage {
    /// Opens everything that the roles need. A whole platform makes what is not there yet; a slice of one refuses.
    ///
    /// # Errors
    /// Names the part that is wrong. What cannot be reached is waited for.
    pub(crate) async fn open(
        config: &Config,
        shape: Shape,
        roles: &Roles,
        clock: &Arc<dyn Clock>,
        health: &Health,
    ) -> Result<Self, Error> {
        let data = match shape {
            Shape::Whole | Shape::WholeOverSockets => Some(DataFolder::open(&config.data)?),
            Shape::Split => None,
        };
        let keys = match (&config.keys.folder, &data) {
            (None, Some(data)) => data.keys(),
            (Some(folder), _) => Keys::in_folder(folder.clone()),
            (None, None) => Keys::in_folder(config.data.join("keys")),
        };
        let platform_id = match &data {
            Some(data) => data.platform_id(),
            None => keys.platform_id()?,
        };
        let bus = match roles.iter().any(Role::is_on_bus) {
            true => Some(Bus::open(config, platform_id, data.as_ref(), (roles, clock, health)).await?),
            false => None,
        };
        let mut messages: Vec<(Role, Messages)> = Vec::new();
        for role in [Role::Writer, Role::Reader].into_iter().filter(|role| roles.has(*role)) {
            // A file is opened once.
            let shared = messages.first().filter(|(_, open)| open.is_file());
            let open = match shared {
                Some((_, open)) => open.clone(),
                None => Messages::open(config, (platform_id, data.as_ref()), role, health).await?,
            };
            messages.push((role, open));
        }
        Ok(Self {
            platform_id,
            keys,
            bus,
            messages,
            data,
        })
    }

    /// The bus, for a role that is on it.
    pub(crate) fn bus(&self) -> &Bus {
        self.bus.as_ref().expect("the bus is opened where a role is on it")
    }

    /// The message store, for the writer or the reader.
    pub(crate) fn messages(&self, role: Role) -> Arc<dyn MessageStore> {
        let found = self.messages.iter().find(|(owner, _)| *owner == role);
        let (_, messages) = found.expect("the message store is opened for the writer and the reader");
        messages.store()
    }

    /// Keeps an eye on what is outside of the process.
    pub(crate) fn watch(&self, roles: &Roles, health: &Health, phase: &Phase) {
        if let Some(bus) = &self.bus {
            bus.watch(roles, health, phase);
        }
        for (role, messages) in &self.messages {
            messages.watch(*role, health, phase);
        }
    }

    /// Resolves once something that is kept can be kept no more.
    pub(crate) async fn failed(&self) -> String {
        match &self.bus {
            Some(bus) => bus.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Closes everything after the work in hand.
    pub(crate) async fn close(self) {
        for (_, messages) in &self.messages {
            messages.close().await;
        }
        if let Some(bus) = self.bus {
            bus.close().await;
        }
    }
}

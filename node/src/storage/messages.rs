//! The message store of a node: a file of the data folder, or a schema on Postgres.

use std::sync::Arc;

use trunkline_store::{MessageStore, SqliteStore};

use crate::config::Config;
use crate::data::DataFolder;
use crate::error::Error;
use crate::health::Health;
use crate::life::Phase;
use crate::roles::Roles;

/// File of the message store in the data folder.
const MESSAGES_FILE: &str = "messages.db";

/// An open message store.
pub(crate) enum Messages {
    /// In the data folder.
    Sqlite(Arc<SqliteStore>),
}

impl Messages {
    /// Opens the store.
    pub(crate) async fn open(
        _config: &Config,
        data: Option<&DataFolder>,
        _roles: &Roles,
        _health: &Health,
    ) -> Result<Self, Error> {
        let data = data.ok_or_else(|| Error::Configuration("the message store is not on Postgres".to_owned()))?;
        let store = SqliteStore::open(&data.path().join(MESSAGES_FILE)).await;
        let store = store.map_err(Error::part("the message store"))?;
        Ok(Self::Sqlite(Arc::new(store)))
    }

    /// The store itself.
    pub(crate) fn store(&self) -> Arc<dyn MessageStore> {
        match self {
            Self::Sqlite(store) => store.clone(),
        }
    }

    /// Keeps an eye on Postgres.
    pub(crate) fn watch(&self, _roles: &Roles, _health: &Health, _phase: &Phase) {}

    /// Closes it after the work in hand.
    pub(crate) async fn close(self) {
        match self {
            Self::Sqlite(store) => store.close().await,
        }
    }
}

//! The message store of a node: a file of the data folder, or a schema on Postgres.

use std::sync::Arc;

use trunkline_store::{MessageStore, PostgresStore, SqliteStore};
use uuid::Uuid;

use crate::config::Config;
use crate::data::DataFolder;
use crate::error::{Error, chain};
use crate::health::{Dependency, Failure, Health};
use crate::life::Phase;
use crate::roles::Role;

/// File of the message store in the data folder.
const MESSAGES_FILE: &str = "messages.db";

/// An open message store. Clones share it.
#[derive(Clone)]
pub(crate) enum Messages {
    /// In the data folder.
    Sqlite(Arc<SqliteStore>),
    /// On a server.
    Postgres(Arc<PostgresStore>),
}

impl Messages {
    /// Opens the store. Who has a data folder is alone on the platform and brings the schema up to date; everybody else refuses one
    /// that is not.
    ///
    /// # Errors
    /// When it is wrong. A server that cannot be reached is waited for.
    pub(crate) async fn open(
        config: &Config,
        (platform, data): (Uuid, Option<&DataFolder>),
        role: Role,
        health: &Health,
    ) -> Result<Self, Error> {
        match (config.database_url(role), data) {
            (Some(url), data) => {
                let open = || async move {
                    if data.is_some() {
                        PostgresStore::migrate(url, platform).await.map_err(failure)?;
                    }
                    PostgresStore::open(url, platform).await.map_err(failure)
                };
                let store = health.reach(dependency(role), open).await?;
                Ok(Self::Postgres(Arc::new(store)))
            }
            (None, Some(data)) => {
                let store = SqliteStore::open(&data.path().join(MESSAGES_FILE)).await;
                let store = store.map_err(Error::part("the message store"))?;
                Ok(Self::Sqlite(Arc::new(store)))
            }
            (None, None) => Err(Error::Configuration("the stored messages have no database".to_owned())),
        }
    }

    /// Whether it is a file of the data folder.
    pub(crate) const fn is_file(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// The store itself.
    pub(crate) fn store(&self) -> Arc<dyn MessageStore> {
        match self {
            Self::Sqlite(store) => store.clone(),
            Self::Postgres(store) => store.clone(),
        }
    }

    /// Keeps an eye on Postgres.
    pub(crate) fn watch(&self, role: Role, health: &Health, phase: &Phase) {
        let Self::Postgres(store) = self else {
            return;
        };
        let store = store.clone();
        let probe = move || {
            let store = store.clone();
            async move { store.probe().await.map_err(|error| chain(&error)) }
        };
        let watching = health.clone().watch(dependency(role), probe, phase.stop.clone());
        phase.tasks.spawn(watching);
    }

    /// Closes it after the work in hand.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

fn dependency(role: Role) -> Dependency {
    Dependency {
        name: format!("database:{role}"),
        needed_by: vec![role],
        is_vital: true,
    }
}

fn failure(error: trunkline_store::Error) -> Failure {
    match error {
        trunkline_store::Error::Server(trunkline_db::Error::Unavailable(_)) => Failure::Unreachable(chain(&error)),
        error => Failure::Wrong(Error::part("the message store")(error)),
    }
}

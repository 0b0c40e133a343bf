//! What a node keeps, opened together and closed together: the data folder, the log, the log of events, the message store.

use std::sync::Arc;

use trunkline_bus::embedded::EmbeddedBus;
use trunkline_core::Clock;
use trunkline_store::SqliteStore;

use crate::config::Config;
use crate::data::DataFolder;
use crate::error::Error;
use crate::news;

/// File of the message store in the data folder.
const MESSAGES_FILE: &str = "messages.db";
/// Folder of the log of events in the data folder.
const EVENTS_FOLDER: &str = "events";

/// Open storage.
pub(crate) struct Storage {
    pub(crate) bus: EmbeddedBus,
    pub(crate) events: EmbeddedBus,
    pub(crate) store: Arc<SqliteStore>,
    // Last, so that the folder is unlocked after everything in it is closed.
    pub(crate) data: DataFolder,
}

impl Storage {
    /// Opens everything that is kept, making what is not there yet.
    ///
    /// # Errors
    /// Names the part that cannot be opened.
    pub(crate) async fn open(config: &Config, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        let data = DataFolder::open(&config.data)?;
        let bus = EmbeddedBus::open(data.path(), config.log.clone(), clock.clone());
        let bus = bus.await.map_err(Error::part("the bus"))?;
        let folder = data.folder(EVENTS_FOLDER)?;
        let events = EmbeddedBus::open(&folder, news::config(), clock.clone());
        let events = events.await.map_err(Error::part("the log of events"))?;
        let store = SqliteStore::open(&data.path().join(MESSAGES_FILE)).await;
        let store = Arc::new(store.map_err(Error::part("the message store"))?);
        Ok(Self {
            bus,
            events,
            store,
            data,
        })
    }

    /// Resolves once something that is kept can be kept no more.
    pub(crate) async fn failed(&self) -> String {
        tokio::select! {
            cause = self.bus.log.failed() => cause,
            cause = self.events.log.failed() => cause,
        }
    }

    /// Closes everything after the work in hand.
    pub(crate) async fn close(self) {
        self.store.close().await;
        self.events.close().await;
        self.bus.close().await;
    }
}

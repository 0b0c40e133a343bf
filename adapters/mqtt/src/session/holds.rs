//! Which sessions connections of this node have, or are about to.

use std::sync::Arc;

use dashmap::DashMap;
use trunkline_bus::state::Key;
use trunkline_core::ClientId;
use trunkline_mqtt_wire::Utf8Bytes;

use super::agenda::Agenda;
use super::store::Sessions;

/// Who holds each key.
pub(super) type Holds = DashMap<Key, Holders>;

/// A client and its MQTT client id.
pub(super) type Client = (ClientId, Utf8Bytes);

#[derive(Debug, Default)]
pub(super) struct Holders {
    /// A connection that goes and one that comes may both hold a key.
    count: usize,
    client: Option<Client>,
}

/// A hold on the key of a session.
#[derive(Debug)]
pub(super) struct Hold {
    holds: Arc<Holds>,
    agenda: Arc<Agenda>,
    pub(super) key: Key,
    /// Whether the record may say that this node owns the session: then somebody has to look after it.
    pub(super) is_written: bool,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holds.alter(&self.key, |_, holders| Holders {
            count: holders.count - 1,
            ..holders
        });
        self.holds.remove_if(&self.key, |_, holders| holders.count == 0);
        if self.is_written {
            self.agenda.note(&self.key, 0);
        }
    }
}

impl Sessions {
    pub(super) fn hold(&self, key: &Key) -> Hold {
        self.holds.entry(key.clone()).or_default().count += 1;
        Hold {
            holds: Arc::clone(&self.holds),
            agenda: Arc::clone(&self.agenda),
            key: key.clone(),
            is_written: false,
        }
    }

    /// The same for a connection of `client`.
    pub(super) fn hold_for(&self, key: &Key, client: Client) -> Hold {
        let hold = self.hold(key);
        self.holds.alter(key, |_, holders| Holders {
            client: Some(client),
            ..holders
        });
        hold
    }

    /// Whether a connection of this node has the session, or is taking it.
    pub(super) fn is_held(&self, key: &Key) -> bool {
        self.holds.contains_key(key)
    }

    /// What connections hold.
    pub(super) fn held(&self) -> Vec<(Key, Client)> {
        let held = self.holds.iter();
        held.filter_map(|holders| Some((holders.key().clone(), holders.client.clone()?)))
            .collect()
    }
}

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
    /// Whether the session was to be looked after meanwhile.
    is_owed: bool,
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
        let last = self.holds.remove_if(&self.key, |_, holders| holders.count == 0);
        if self.is_written || last.is_some_and(|(_, holders)| holders.is_owed) {
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

    /// Leaves a session to whoever holds it: once nobody does, it is looked after. `false` where nobody does now.
    pub(super) fn hand_to_holder(&self, key: &Key) -> bool {
        let holders = self.holds.get_mut(key);
        holders.is_some_and(|mut holders| {
            holders.is_owed = true;
            true
        })
    }

    /// What connections hold.
    pub(super) fn held(&self) -> Vec<(Key, Client)> {
        let held = self.holds.iter();
        held.filter_map(|holders| Some((holders.key().clone(), holders.client.clone()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trunkline_core::SessionId;

    use super::*;
    use crate::session::Wish;
    use crate::{Adapter, Settings, start};

    #[tokio::test]
    async fn a_session_that_was_held_when_it_was_to_be_looked_after_is_looked_after_later() {
        let folder = tempfile::tempdir().unwrap();
        let bus = start::open_bus(&folder).await;
        let deps = start::deps(&bus, &trunkline_telemetry::Metrics::new());
        let sessions = Arc::clone(&Adapter::open(deps, Settings::default()).sessions);
        let wish = Wish {
            client_id: ClientId::new(),
            mqtt_client_id: &Utf8Bytes::default(),
            has_new_id: true,
            session_id: SessionId::new(),
            is_clean_start: true,
            expiry_s: 3_600,
            head: 0,
            will: None,
        };
        let (owned, _) = sessions.claim(&wish).await.unwrap().owned.unwrap();
        let key = owned.hold.key.clone();
        // Its client is back before it was left, and goes again before it has it.
        let hold = sessions.hold(&key);
        drop(owned);
        assert_eq!(sessions.agenda.take(0), Some(key.clone()));
        assert_eq!(sessions.attend(&key).await, Ok(None));
        drop(hold);
        assert_eq!(sessions.agenda.take(0), Some(key));
    }
}

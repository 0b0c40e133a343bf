//! Who holds which session: of two connections with an equal client id, the later takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;
use trunkline_core::{ClientId, SessionId};
use trunkline_mqtt_wire::Utf8Bytes;

/// A session's key: the principal stands in it, so that one client cannot take another's session.
type Key = (ClientId, Utf8Bytes);

/// The sessions of a node.
#[derive(Default)]
pub(crate) struct Directory {
    holders: DashMap<Key, Holder>,
    last: AtomicU64,
}

struct Holder {
    number: u64,
    /// When it connected, by the time in it.
    session_id: SessionId,
    taken: CancellationToken,
    left: CancellationToken,
}

/// A connection's hold on its session; dropping it gives the session up.
pub(crate) struct Seat {
    directory: Arc<Directory>,
    key: Key,
    number: u64,
    taken: CancellationToken,
    /// Whether it was given up.
    left: CancellationToken,
    /// Whether the connection that held the session before has given it up.
    before: Option<CancellationToken>,
}

impl Directory {
    /// Takes a session, from the connection that holds it if there is one.
    pub(crate) fn take(
        self: &Arc<Self>,
        client_id: ClientId,
        mqtt_client_id: Utf8Bytes,
        session_id: SessionId,
    ) -> Seat {
        let key = (client_id, mqtt_client_id);
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let (taken, left) = (CancellationToken::new(), CancellationToken::new());
        let holder = Holder {
            number,
            session_id,
            taken: taken.clone(),
            left: left.clone(),
        };
        let before = self.holders.insert(key.clone(), holder).map(|before| {
            before.taken.cancel();
            before.left
        });
        Seat {
            directory: Arc::clone(self),
            key,
            number,
            taken,
            left,
            before,
        }
    }
}

impl Directory {
    /// Ends the connection that holds a session, unless it is younger than the one by which another node took the session: news may be
    /// late.
    pub(crate) fn evict(&self, client_id: ClientId, mqtt_client_id: Utf8Bytes, session_id: SessionId) {
        if let Some(holder) = self.holders.get(&(client_id, mqtt_client_id))
            && holder.session_id < session_id
        {
            holder.taken.cancel();
        }
    }
}

impl Seat {
    /// Waits until the connection that held the session before has left it. Cancel safe.
    pub(crate) async fn is_free(&self) {
        if let Some(before) = &self.before {
            before.cancelled().await;
        }
    }

    /// Waits until another connection took the session. Cancel safe.
    pub(crate) fn taken(&self) -> impl Future<Output = ()> {
        self.taken.cancelled()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.directory
            .holders
            .remove_if(&self.key, |_, holder| holder.number == self.number);
        self.left.cancel();
    }
}

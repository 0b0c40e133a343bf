//! Sessions that move between nodes: who takes one tells all nodes, and waits for the one that has it to leave it.
//!
//! A notice is for speed and for sessions without a record. Who misses one finds the next write of its record refused.

use bytes::{BufMut as _, Bytes};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use trunkline_bus::feed::FeedError;
use trunkline_bus::state::{Key, StateError};
use trunkline_core::{ClientId, NodeId, SessionId};
use trunkline_mqtt_wire::Utf8Bytes;
use uuid::Uuid;

use super::record::Record;
use super::store::{Sessions, Wish};
use crate::directory::Directory;
use crate::limits::{RETRY_PAUSE_MAX, RETRY_PAUSE_MIN, TAKEOVER_TIME_MAX};

/// Where notices are told.
const SUBJECT: &str = "mqtt.taken";

/// What a notice says: by which node which session was taken, and by which connection.
#[derive(Debug, PartialEq, Eq)]
struct Notice {
    node_id: NodeId,
    session_id: SessionId,
    client_id: ClientId,
    mqtt_client_id: Utf8Bytes,
}

/// Younger than any connection: whoever has the session is to leave it.
pub(super) const YOUNGEST: SessionId = SessionId::from_uuid(Uuid::max());

fn notice(node_id: NodeId, session_id: SessionId, wish: &Wish<'_>) -> Bytes {
    let mut notice = Vec::with_capacity(48 + wish.mqtt_client_id.len());
    notice.put_slice(node_id.as_bytes());
    notice.put_slice(session_id.as_bytes());
    notice.put_slice(wish.client_id.as_bytes());
    notice.put_slice(wish.mqtt_client_id.as_bytes());
    notice.into()
}

fn read_notice(notice: &[u8]) -> Option<Notice> {
    let (node_id, rest) = notice.split_at_checked(16)?;
    let (session_id, rest) = rest.split_at_checked(16)?;
    let (client_id, name) = rest.split_at_checked(16)?;
    Some(Notice {
        node_id: NodeId::from_slice(node_id)?,
        session_id: SessionId::from_slice(session_id)?,
        client_id: ClientId::from_slice(client_id)?,
        mqtt_client_id: Utf8Bytes::try_from(std::str::from_utf8(name).ok()?).ok()?,
    })
}

impl Sessions {
    /// Tells all nodes that a session is taken here, so that an older connection elsewhere ends.
    pub(super) async fn tell(&self, wish: &Wish<'_>) {
        self.publish(notice(self.node_id, wish.session_id, wish)).await;
    }

    async fn publish(&self, notice: Bytes) {
        if let Err(error) = self.live.publish(SUBJECT, notice).await {
            tracing::debug!(%error, "other nodes were not told that a session was taken");
        }
    }

    /// Waits until the session is left by the node that has it, if that runs; [`TAKEOVER_TIME_MAX`] at most.
    pub(super) async fn await_leaving(&self, key: &Key, wish: &Wish<'_>, owner: NodeId) -> Result<(), StateError> {
        if !self.is_alive(owner).await? {
            return Ok(());
        }
        let left = async {
            let mut changes = self.state.watch(key).await?;
            self.publish(notice(self.node_id, YOUNGEST, wish)).await;
            loop {
                let found = self.state.get(key).await?;
                let record = found.and_then(|found| Record::decode(&found.value));
                if record.is_none_or(|record| record.owner != Some(owner)) {
                    return Ok(());
                }
                if let Err(FeedError::Closed) = changes.next().await {
                    return Ok(());
                }
            }
        };
        // One that does not leave in time finds that the session is not its own any more.
        timeout(TAKEOVER_TIME_MAX, left).await.unwrap_or(Ok(()))
    }

    /// Ends the connections whose sessions other nodes take, until `cancel`.
    pub(super) async fn hear(&self, directory: &Directory, cancel: &CancellationToken) {
        let hearing = async {
            let mut pause = RETRY_PAUSE_MIN;
            loop {
                if let Ok(mut notices) = self.live.subscribe(SUBJECT).await {
                    pause = RETRY_PAUSE_MIN;
                    loop {
                        match notices.next().await {
                            Ok(news) => self.heard(directory, &news.payload),
                            Err(FeedError::Lagged(_)) => {}
                            Err(FeedError::Closed) => break,
                        }
                    }
                }
                sleep(pause).await;
                pause = RETRY_PAUSE_MAX.min(pause * 2);
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = hearing => {}
        }
    }

    fn heard(&self, directory: &Directory, notice: &[u8]) {
        if let Some(notice) = read_notice(notice)
            && notice.node_id != self.node_id
        {
            directory.evict(notice.client_id, notice.mqtt_client_id, notice.session_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_reads_back_and_other_bytes_are_none() {
        let (node_id, client_id, session_id) = (NodeId::new(), ClientId::new(), SessionId::new());
        let name = Utf8Bytes::try_from("name é").unwrap();
        let wish = Wish {
            client_id,
            mqtt_client_id: &name,
            session_id,
            has_new_id: false,
            is_clean_start: false,
            expiry_s: 1,
            head: 0,
            will: None,
        };
        let notice = notice(node_id, session_id, &wish);
        let read = Notice {
            node_id,
            session_id,
            client_id,
            mqtt_client_id: name.clone(),
        };
        assert_eq!(read_notice(&notice), Some(read));
        assert_eq!(read_notice(&notice[..47]), None);
        assert_eq!(read_notice(&notice[..notice.len() - 1]), None);
    }
}

//! Messages at QoS 2 that a client sends again after its node ended without a word. What of them is in the log is read from there: logs
//! know a message id again for a while only, and a client may stay away for longer than that.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use trunkline_bus::Log;
use trunkline_bus::envelope::id_bytes;
use trunkline_bus::log::{Appended, LogError, ReadLimit, Receipt, Shard};
use trunkline_core::SessionId;
use trunkline_mqtt_wire::{Publish, QoS};

use super::Connection;
use super::inbound::Done;
use super::member::Member;
use crate::limits::{CATCH_UP_BYTES_MAX, CATCH_UP_ENTRIES_MAX, READ_ATTEMPTS_MAX};
use crate::machine::Cause;
use crate::retry::retry;
use crate::session::message_id;

/// What the log has of a session that its record does not say.
#[derive(Debug, Default)]
pub(super) enum Earlier {
    /// Nothing: the session was left in order, or is new.
    #[default]
    Nothing,
    /// It may be behind this place.
    After(u64),
    /// The places of these messages, by their ids.
    Known(BTreeMap<Bytes, u64>),
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Whether `publish` must wait until it is known what the log has of the session; begins to read that.
    pub(super) fn waits_for_earlier(&mut self, publish: &Publish) -> bool {
        let may_be_again = publish.dup && publish.qos == QoS::ExactlyOnce && self.machine.is_kept();
        let Some(member) = self.member.as_ref().filter(|_| may_be_again) else {
            return false;
        };
        let Earlier::After(after) = member.earlier else {
            return false;
        };
        let (log, replays) = (Arc::clone(&self.adapter.log), Arc::clone(&self.adapter.replays));
        let (shard, session_id) = (member.shard(&self.adapter), member.session.id());
        let publish = publish.clone();
        self.work = Some(Box::pin(async move {
            let known = earlier(log.as_ref(), &replays, shard, after, session_id).await;
            Done::Earlier(publish, known)
        }));
        true
    }

    pub(super) fn read_earlier(
        &mut self,
        publish: Publish,
        known: Result<BTreeMap<Bytes, u64>, LogError>,
    ) -> Result<(), Cause> {
        let member = self.member.as_mut().ok_or(Cause::Failed)?;
        member.earlier = Earlier::Known(known.map_err(|_| Cause::Failed)?);
        self.publish(publish)
    }

    /// The place in the log up to which every message of the session has been answered, so that the session's record says what came of it.
    pub(super) fn head_of_known(&self, member: &Member, before: u64) -> u64 {
        match self.receipts.front() {
            Some(taken) => taken.head.max(before),
            // It may be in the log already, and be told next.
            None if self.work.is_some() => before,
            None => member.head(&self.adapter).max(before),
        }
    }

    /// The receipt of a message that an earlier connection has brought into the log.
    pub(super) fn receipt_of_earlier(&self, publish: &Publish) -> Option<Receipt> {
        let member = self.member.as_ref()?;
        let (Earlier::Known(known), Some(packet_id)) = (&member.earlier, publish.packet_id) else {
            return None;
        };
        let id = message_id(member.session.id(), packet_id, self.machine.generation(packet_id));
        let sequence = known.get(&id_bytes(id.as_bytes()))?;
        let (sender, receipt) = Receipt::channel();
        let appended = Appended {
            shard: member.shard(&self.adapter),
            sequence: *sequence,
            tier: self.adapter.log.durability().tier,
            is_duplicate: true,
        };
        sender.send(Ok(appended)).ok()?;
        Some(receipt)
    }
}

/// The messages at QoS 2 that a session has in the log behind a place.
async fn earlier(
    log: &dyn Log,
    replays: &Semaphore,
    shard: Shard,
    after: u64,
    session_id: SessionId,
) -> Result<BTreeMap<Bytes, u64>, LogError> {
    let limit = ReadLimit {
        entries: CATCH_UP_ENTRIES_MAX,
        bytes: CATCH_UP_BYTES_MAX,
    };
    let latest = log.latest(shard).await?;
    let (mut known, mut next) = (BTreeMap::new(), after + 1);
    while next <= latest {
        let _turn = replays.acquire().await;
        match retry(READ_ATTEMPTS_MAX, || log.read(shard, next, limit)).await {
            Ok(page) => {
                let own = page.entries.iter().filter(|entry| {
                    let envelope = &entry.envelope;
                    envelope.qos == 2 && envelope.session_id == session_id.as_bytes().as_slice()
                });
                known.extend(own.map(|entry| (entry.envelope.id.clone(), entry.sequence)));
                next = page.next.max(next + 1);
            }
            Err(LogError::Damaged { sequence, .. }) => next = sequence + 1,
            Err(error) => return Err(error),
        }
    }
    Ok(known)
}

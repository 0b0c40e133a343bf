//! What others may know of a session.

use std::sync::Arc;

use tokio::time::sleep;
use trunkline_bus::state::{Expect, StateError};
use trunkline_core::NodeId;

use super::record::Record;
use super::store::{Owned, Sessions};
use crate::limits::{RECHECK_PAUSE, RETRY_PAUSE_MAX};
use crate::machine::Source;
use crate::shared::{KeptMember, Standing};

/// What is known of the session of a member.
#[derive(Debug)]
pub(crate) enum Seen {
    /// There is none any more.
    Gone,
    /// There is a record that is not understood: whatever it may say is neither given away nor dropped.
    Unknown,
    /// This is it.
    There(Box<Look>),
}

/// What the record of a session says.
#[derive(Debug)]
pub(crate) struct Look {
    record: Record,
    /// The change that wrote it.
    revision: u64,
    /// Whether its places are of the log of now. Those of another log are those of other messages.
    is_of_this_log: bool,
}

/// A session whose connection is over and could not leave it in order.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) member: KeptMember,
    /// How often it had been taken when the connection had it.
    pub(crate) epoch: u64,
    /// Whether it was to be over with its connection.
    pub(crate) is_over: bool,
    /// Whether a will that is in its record is to be published before that.
    pub(crate) owes_will: bool,
}

impl Look {
    /// The places of the messages at QoS 2 that it was sent by a group and has not answered.
    pub(crate) fn sent_by(&self, group: u64) -> impl Iterator<Item = u64> {
        let sent = self.record.content.kept.sent.iter().filter(|_| self.is_of_this_log);
        sent.filter_map(move |sent| match sent.source {
            Source::Shared { group: of, sequence } => (of == group).then_some(sequence),
            Source::Log(_) | Source::Retained { .. } => None,
        })
    }

    /// Whether a group has to wait for the session.
    pub(crate) fn is_in(&self, group: u64) -> bool {
        let mut subscriptions = self.record.content.subscriptions.iter();
        // What it subscribes to now is not in the record yet.
        self.record.owner.is_some()
            || subscriptions.any(|stored| stored.may_be_of(group))
            || self.sent_by(group).next().is_some()
    }
}

impl Sessions {
    /// The session of a member.
    ///
    /// # Errors
    /// Shared state does not answer.
    pub(crate) async fn look(&self, member: &KeptMember) -> Result<Seen, StateError> {
        let Some(found) = self.state.get(&member.key).await? else {
            return Ok(Seen::Gone);
        };
        Ok(match Record::decode(&found.value) {
            None => Seen::Unknown,
            Some(record) if record.session_id != member.session_id => Seen::Gone,
            Some(record) => Seen::There(Box::new(Look {
                is_of_this_log: record.incarnation == self.incarnation,
                record,
                revision: found.revision,
            })),
        })
    }

    /// What a session has been sent last by a connection that is over, if there still is one, and whether that session is over as well. Waits
    /// until shared state answers with what is understood, and the connection cannot write any more; a session that was to be over is then
    /// brought to its end. Cancel safe.
    pub(crate) async fn conclude(&self, ended: &Ended) -> (Option<Box<Look>>, bool) {
        let mut pause = RECHECK_PAUSE;
        loop {
            let turn = self.looks.acquire().await;
            // An error is as good as a session that is about to be put back: it is looked at again.
            if let Ok(Some(concluded)) = self.try_conclude(ended).await {
                return concluded;
            }
            drop(turn);
            sleep(pause).await;
            pause = RETRY_PAUSE_MAX.min(pause * 2);
        }
    }

    /// `None` while the connection could still write it, somebody publishes its will, or it is not known what it says.
    async fn try_conclude(&self, ended: &Ended) -> Result<Option<(Option<Box<Look>>, bool)>, StateError> {
        let look = match self.look(&ended.member).await? {
            Seen::Gone => return Ok(Some((None, true))),
            Seen::Unknown => return Ok(None),
            Seen::There(look) => look,
        };
        // Put back for want of a word by the connection, and nobody has had it since.
        let is_put_back = look.record.epoch == ended.epoch + 1 && look.record.is_put_aside();
        if look.record.owner.is_some() && (look.record.epoch == ended.epoch || is_put_back) {
            return Ok(None);
        }
        let is_over = ended.is_over && is_put_back;
        if is_over {
            self.finish(ended, &look).await?;
        }
        Ok(Some((Some(look), is_over)))
    }

    /// Removes a session that was to be over, or has its will published first if that is owed.
    async fn finish(&self, ended: &Ended, look: &Look) -> Result<(), StateError> {
        let key = &ended.member.key;
        if look.record.content.will.is_none() || !ended.owes_will {
            return self.state.delete(key, look.revision).await.map(drop);
        }
        let mut record = look.record.clone();
        record.content.expiry_s = 0;
        let expect = Expect::Revision(look.revision);
        self.state.compare_and_swap(key, expect, record.encode()).await?;
        self.note(key, 0);
        Ok(())
    }

    /// This node, for as long as it runs.
    pub(crate) const fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Whether others take this node for running.
    pub(crate) const fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }
}

impl Owned {
    /// The session as a member of groups that wait for it.
    pub(crate) fn member(&self) -> KeptMember {
        KeptMember {
            key: self.hold.key.clone(),
            session_id: self.session_id,
        }
    }

    /// How often the session was taken.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }
}

#[cfg(test)]
mod tests;

//! What others may know of a session.

use std::sync::Arc;

use tokio::time::sleep;
use trunkline_bus::state::StateError;
use trunkline_core::NodeId;

use super::record::{Record, Stored};
use super::store::{Owned, Sessions};
use crate::limits::{RECHECK_PAUSE, RETRY_PAUSE_MAX};
use crate::machine::{Sent, Source};
use crate::shared::{KeptMember, Standing};

/// What the record of a session says.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// What it was sent from the log of now and has not answered. The places of another log are those of other messages.
    sent: Vec<Sent>,
    subscriptions: Vec<Stored>,
    /// The node that has its connection, or died and nobody has looked after it yet.
    owner: Option<NodeId>,
    /// How often it was taken.
    epoch: u64,
    /// Whether its last connection left it in order.
    was_left: bool,
    /// The change that wrote it.
    revision: u64,
    /// Whether it is not known what it says.
    is_unreadable: bool,
}

/// A session whose connection is over and could not leave it in order.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) member: KeptMember,
    /// How often it had been taken when the connection had it.
    pub(crate) epoch: u64,
    /// Whether it was to be over with its connection.
    pub(crate) is_over: bool,
}

impl Look {
    /// The places of the messages at QoS 2 that it was sent by a group.
    pub(crate) fn sent_by(&self, group: u64) -> impl Iterator<Item = u64> {
        self.sent.iter().filter_map(move |sent| match sent.source {
            Source::Shared { group: of, sequence } => (of == group).then_some(sequence),
            Source::Log(_) | Source::Retained { .. } => None,
        })
    }

    /// Whether a group has to wait for the session.
    pub(crate) fn is_in(&self, group: u64) -> bool {
        let mut subscriptions = self.subscriptions.iter();
        // What it subscribes to now is not in the record yet.
        self.is_unreadable
            || self.owner.is_some()
            || subscriptions.any(|stored| stored.may_be_of(group))
            || self.sent_by(group).next().is_some()
    }
}

impl Sessions {
    /// The session of a member, if there still is one.
    ///
    /// # Errors
    /// Shared state does not answer.
    pub(crate) async fn look(&self, member: &KeptMember) -> Result<Option<Look>, StateError> {
        let Some(found) = self.state.get(&member.key).await? else {
            return Ok(None);
        };
        let Some(record) = Record::decode(&found.value) else {
            return Ok(Some(Look {
                is_unreadable: true,
                revision: found.revision,
                ..Look::default()
            }));
        };
        let is_it = record.session_id == member.session_id;
        let is_of_this_log = record.incarnation == self.incarnation;
        Ok(is_it.then_some(Look {
            sent: match is_of_this_log {
                true => record.content.kept.sent,
                false => Vec::new(),
            },
            subscriptions: record.content.subscriptions,
            owner: record.owner,
            epoch: record.epoch,
            was_left: record.was_left,
            revision: found.revision,
            is_unreadable: false,
        }))
    }

    /// What a session has been sent last by a connection that is over, and whether that session is over as well. Waits until shared state
    /// answers, and the connection cannot write any more; a session that was to be over is removed then. Cancel safe.
    pub(crate) async fn conclude(&self, ended: &Ended) -> (Look, bool) {
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

    /// `None` while the connection could still write it.
    async fn try_conclude(&self, ended: &Ended) -> Result<Option<(Look, bool)>, StateError> {
        let Some(look) = self.look(&ended.member).await? else {
            return Ok(Some((Look::default(), true)));
        };
        if look.owner.is_some() && look.epoch == ended.epoch {
            return Ok(None);
        }
        // Put back for want of a word by the connection, and nobody has had it since.
        let is_put_back = look.owner.is_none() && look.epoch == ended.epoch + 1 && !look.was_left;
        let is_over = ended.is_over && is_put_back;
        if is_over {
            self.state.delete(&ended.member.key, look.revision).await?;
        }
        Ok(Some((look, is_over)))
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

//! What others may know of a session.

use std::sync::Arc;

use trunkline_bus::state::StateError;
use trunkline_core::NodeId;

use super::record::{Record, Stored};
use super::store::{Owned, Sessions};
use crate::machine::{Sent, Source};
use crate::shared::{KeptMember, Standing};

/// What the record of a session says.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// What it was sent and has not answered.
    pub(crate) sent: Vec<Sent>,
    subscriptions: Vec<Stored>,
    /// Whether it has a connection, or its node has died and nobody has looked after it yet.
    has_owner: bool,
}

impl Look {
    /// Whether a group has to wait for the session.
    pub(crate) fn is_in(&self, group: u64) -> bool {
        let is_of_group = |sent: &Sent| matches!(sent.source, Source::Shared { group: of, .. } if of == group);
        let mut subscriptions = self.subscriptions.iter();
        // What it subscribes to now is not in the record yet.
        self.has_owner || subscriptions.any(|stored| stored.may_be_of(group)) || self.sent.iter().any(is_of_group)
    }
}

impl Sessions {
    /// The session of a member, if there still is one.
    ///
    /// # Errors
    /// Shared state does not answer.
    pub(crate) async fn look(&self, member: &KeptMember) -> Result<Option<Look>, StateError> {
        let found = self.state.get(&member.key).await?;
        let record = found.and_then(|found| Record::decode(&found.value));
        let record = record.filter(|record| record.session_id == member.session_id);
        Ok(record.map(|record| Look {
            sent: record.content.kept.sent,
            subscriptions: record.content.subscriptions,
            has_owner: record.owner.is_some(),
        }))
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
}

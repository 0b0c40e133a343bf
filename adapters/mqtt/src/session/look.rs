//! What others may know of a session.

use std::sync::Arc;

use trunkline_bus::state::{Key, StateError};
use trunkline_core::{NodeId, SessionId};

use super::record::Record;
use super::store::{Owned, Sessions};
use crate::machine::Sent;
use crate::shared::{KeptMember, Standing};

impl Sessions {
    /// The session under a key, and what it was sent and has not answered, as its record says.
    ///
    /// # Errors
    /// Shared state does not answer.
    pub(crate) async fn look(&self, key: &Key) -> Result<Option<(SessionId, Vec<Sent>)>, StateError> {
        let found = self.state.get(key).await?;
        let record = found.and_then(|found| Record::decode(&found.value));
        Ok(record.map(|record| (record.session_id, record.content.kept.sent)))
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

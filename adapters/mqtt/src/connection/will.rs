//! The will of a connection: authorized at its beginning, and published or left with the session at its end.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use trunkline_gate::{Action, Denial, Session};

use super::Connection;
use crate::adapter::Adapter;
use crate::limits::{RECHECK_PAUSE, WILL_TIME_MAX};
use crate::machine::{Cause, Step};
use crate::metrics::Refused;
use crate::session::{Content, NotSaved, Owned};
use crate::will::Testament;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Authorizes the will of a CONNECT, if there is one.
    pub(super) async fn authorize_will(&mut self, session: &Session) -> Result<Option<Arc<Testament>>, Cause> {
        let Some(will) = self.machine.take_will() else {
            return Ok(None);
        };
        match self.adapter.gate.may(session, Action::Publish, &will.topic).await {
            Ok(permit) => match Testament::new(&will, session, &permit, &self.adapter.wills) {
                Some(testament) => Ok(Some(Arc::new(testament))),
                None => {
                    self.adapter.metrics.connect_refused.count(Refused::Will);
                    Err(Cause::OverLimit)
                }
            },
            Err(denial) => {
                let cause = match denial {
                    Denial::Unavailable => Refused::Unavailable,
                    Denial::InvalidTopic(_) | Denial::NotAuthorized => Refused::Will,
                };
                self.adapter.metrics.connect_refused.count(cause);
                match self.machine.will_denied(&denial, &mut self.output) {
                    Step::Close(cause) => Err(cause),
                    _ => Err(Cause::Failed),
                }
            }
        }
    }
}

/// What became of a session whose connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Its record says all of it.
    Kept,
    /// It is over as well.
    Over,
    /// Somebody else has it, or it stays as it was saved last.
    Not,
}

/// Leaves a session whose connection is over: its will is published if that is due at once, else it stays in the record.
pub(super) async fn leave(mut owned: Box<Owned>, mut content: Content, session: &Session, adapter: &Adapter) -> Left {
    let sessions = &adapter.sessions;
    if let Some(will) = &content.will
        && will.delay_s().min(content.expiry_s) == 0
    {
        match sessions.check(&mut owned).await {
            Ok(()) => {
                if adapter.wills.publish(will, session, WILL_TIME_MAX).await.is_ok() {
                    content.will = None;
                }
            }
            Err(NotSaved::Unavailable | NotSaved::Refused) => {}
            // Whoever has the session has its will.
            Err(NotSaved::Lost) => return Left::Not,
        }
    }
    loop {
        let left = match content.expiry_s == 0 && content.will.is_none() {
            true => sessions.end(&mut owned).await,
            false => sessions.leave(&mut owned, &content).await,
        };
        match left {
            Ok(()) if content.expiry_s > 0 => return Left::Kept,
            Ok(()) => return Left::Over,
            Err(NotSaved::Lost | NotSaved::Refused) => return Left::Not,
            Err(NotSaved::Unavailable) => sleep(RECHECK_PAUSE).await,
        }
    }
}

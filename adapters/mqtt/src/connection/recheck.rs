//! Permissions of a running session: asked for again whenever they lapsed, and nothing is sent by them meanwhile.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use trunkline_gate::{Action, Denial, Gate, Permit, Refusal, Session};

use super::member::Member;
use super::untaken::Untaken;
use super::{Connection, ended};
use crate::limits::RECHECK_PAUSE;
use crate::machine::Cause;
use crate::subscription::Subscription;
use crate::transport::held_bytes_max;

/// What the permissions of a session are now.
pub(super) struct Recheck {
    session: Result<(), Refusal>,
    subscriptions: Vec<(Arc<Subscription>, Result<Permit, Denial>)>,
}

impl Member {
    /// Asks again whether the client and each of its subscriptions are allowed, and those by which it has still to take what was written,
    /// unless that is being done.
    fn start_recheck(&mut self, gate: &Arc<dyn Gate>, untaken: &Untaken) {
        if self.recheck.is_some() {
            return;
        }
        self.uncertain_since.get_or_insert_with(Instant::now);
        let (gate, session) = (Arc::clone(gate), self.session.clone());
        let lapsed = self.subscriber.all().into_iter();
        let lapsed = lapsed.filter(|subscription| !subscription.holds());
        let lapsed = lapsed.chain(untaken.lapsed().cloned()).collect();
        self.recheck = Some(Box::pin(recheck(gate, session, lapsed)));
    }

    pub(super) fn is_current(&self) -> bool {
        self.session.is_undisturbed() && self.subscriber.all().iter().all(|subscription| subscription.holds())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Asks again for the permissions of the session, unless that is being done.
    pub(super) fn recheck(&mut self) {
        if let Some(member) = &mut self.member {
            member.start_recheck(&self.adapter.gate, &self.untaken);
        }
    }

    /// The same where a permission lapsed before it was known what it is for: nothing tells of that again, and a share without one is dealt
    /// nothing.
    pub(super) fn recheck_if_due(&mut self) {
        if self.member.as_ref().is_some_and(|member| !member.is_current()) {
            self.recheck();
        }
    }

    /// Asks again before anything further leaves, unless all of it may.
    pub(super) fn withheld(&mut self) {
        self.forget_taken();
        match self.untaken.is_granted() {
            true => self.untaken.release(),
            false => self.recheck(),
        }
    }

    /// Forgets what the client has taken, as far as the system below can be asked.
    pub(super) fn forget_taken(&mut self) {
        if self.untaken.has_any() {
            let socket = (self.socket)(&self.stream);
            self.untaken.forget_taken(socket.map_or(0, held_bytes_max));
        }
    }

    pub(super) fn rechecked(&mut self, recheck: Recheck) -> Result<(), Cause> {
        if self.member.is_none() {
            return Ok(());
        }
        self.forget_taken();
        match recheck.session {
            Ok(()) | Err(Refusal::Unavailable) => {}
            Err(Refusal::Disabled | Refusal::BadCredentials) if self.untaken.has_any() => return Err(Cause::Withdrawn),
            Err(Refusal::Disabled | Refusal::BadCredentials) => {
                let step = self.machine.revoked(&mut self.output);
                return ended(&step);
            }
        }
        let Some(member) = &self.member else { return Ok(()) };
        let mut is_withdrawn = false;
        for (subscription, answer) in recheck.subscriptions {
            match answer {
                Ok(permit) if subscription.renew(&permit) => {}
                Ok(_) | Err(Denial::NotAuthorized | Denial::InvalidTopic(_)) => {
                    let is_counted = !subscription.is_ended();
                    self.adapter.metrics.subscriptions_denied.add(u64::from(is_counted));
                    is_withdrawn |= self.untaken.has(&subscription);
                    self.remove(member, &subscription);
                }
                Err(Denial::Unavailable) => {}
            }
        }
        if is_withdrawn {
            return Err(Cause::Withdrawn);
        }
        let Some(member) = &mut self.member else { return Ok(()) };
        if member.is_current() && self.untaken.is_granted() {
            member.uncertain_since = None;
            self.untaken.release();
        } else {
            self.recheck();
        }
        Ok(())
    }
}

/// Asks whether `session` and its `lapsed` subscriptions are allowed. What cannot be answered, or not be relied on for want of a lease, is
/// not asked again at once.
async fn recheck(gate: Arc<dyn Gate>, session: Session, lapsed: Vec<Arc<Subscription>>) -> Recheck {
    let answer = gate.recheck(&session).await;
    let mut subscriptions = Vec::with_capacity(lapsed.len());
    if answer.is_ok() {
        for subscription in lapsed {
            let answer = gate.may(&session, Action::Subscribe, subscription.asked()).await;
            subscriptions.push((subscription, answer));
        }
    }
    let holds = |(_, answer): &(_, Result<Permit, Denial>)| match answer {
        Ok(permit) => permit.grant.holds(),
        Err(denial) => *denial != Denial::Unavailable,
    };
    let is_settled = match answer {
        Ok(()) => session.is_undisturbed() && subscriptions.iter().all(holds),
        Err(refusal) => refusal != Refusal::Unavailable,
    };
    if !is_settled {
        tokio::time::sleep(RECHECK_PAUSE).await;
    }
    Recheck {
        session: answer,
        subscriptions,
    }
}

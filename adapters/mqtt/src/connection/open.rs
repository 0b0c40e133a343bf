//! The beginning of a connection: CONNECT, who it comes from, and the session that it goes on with.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use trunkline_core::DomainId;
use trunkline_gate::{Action, Credentials, Denial, Permit, Refusal, Session};
use trunkline_mqtt_wire::{QoS, topic};

use super::Connection;
use super::earlier::Earlier;
use super::io::{self, Transfer};
use super::keeping::Keeping;
use super::member::Member;
use super::shares::dealt_by;
use crate::adapter::Adapter;
use crate::directory::Seat;
use crate::limits::TAKEOVER_TIME_MAX;
use crate::machine::{Cause, Opened, Step};
use crate::metrics::Refused;
use crate::session::{Claimed, NotClaimed, Owned, Stored, Wish};
use crate::shared::GroupKey;
use crate::subscription::{Subscription, unshared};
use crate::transport::Certified;
use crate::will::Testament;

/// A session that goes on: what it subscribed to and still may, and how far it is.
struct Resumed {
    owned: Box<Owned>,
    subscriptions: Vec<(Stored, Permit)>,
    position: u64,
    head: u64,
    earlier: Earlier,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Reads CONNECT and has it decided, beside the certificate that was shown.
    pub(super) async fn open(&mut self, certified: Option<Certified>) -> Result<(), Cause> {
        loop {
            match self
                .machine
                .next(&mut self.input, self.opened.elapsed(), &mut self.output)
            {
                Step::Wait => self.receive().await?,
                Step::Admit(shown) => {
                    let credentials = match certified {
                        Some(certified) => certified.joined(shown),
                        None => Ok(shown),
                    };
                    return match credentials {
                        Ok(credentials) => self.admit(credentials).await,
                        Err(refusal) => self.refuse(refusal),
                    };
                }
                Step::Close(cause) => {
                    if let Some(feature) = self.machine.take_unsupported() {
                        self.adapter.metrics.unsupported(feature).increment();
                    }
                    return Err(cause);
                }
                Step::Continue | Step::Publish(_) | Step::Subscribe(_) | Step::Unsubscribe { .. } => {
                    return Err(Cause::Malformed);
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<(), Cause> {
        let transfer = io::transfer(
            &mut self.stream,
            &mut self.output,
            &mut self.input,
            &mut self.untaken,
            true,
        );
        match transfer.await {
            Ok(Transfer::Received | Transfer::Sent | Transfer::Flushed | Transfer::Withheld) => Ok(()),
            Ok(Transfer::End) | Err(_) => Err(Cause::Lost),
        }
    }

    async fn admit(&mut self, credentials: Credentials) -> Result<(), Cause> {
        let session = match self.adapter.gate.connect(credentials).await {
            Ok(session) => session,
            Err(refusal) => return self.refuse(refusal),
        };
        let will = self.authorize_will(&session).await?;
        let (seat, claimed) = self.take_session(&session, will.as_ref()).await?;
        let is_present = claimed.is_present;
        let mut for_will = None;
        let (kept, resumed) = match claimed.owned {
            None => (None, None),
            Some((owned, _)) if !claimed.is_kept => {
                for_will = Some(Box::new(owned));
                (None, None)
            }
            Some((mut owned, mut content)) => {
                let Some(subscriptions) = permitted(&self.adapter, &session, &content.subscriptions).await else {
                    // It stays as it is, and is not ours to have.
                    content.will = claimed.will_before;
                    let _ = self.adapter.sessions.leave(&mut owned, &content).await;
                    return self.refuse(Refusal::Unavailable);
                };
                let resumed = Resumed {
                    owned: Box::new(owned),
                    subscriptions,
                    position: content.position,
                    head: content.head,
                    earlier: match claimed.was_left {
                        true => Earlier::Nothing,
                        false => Earlier::After(content.head),
                    },
                };
                (Some(Box::new(content.kept)), Some(resumed))
            }
        };
        let step = self.machine.admitted(Ok(Opened { is_present, kept }), &mut self.output);
        if let Some(feature) = self.machine.take_unsupported() {
            self.adapter.note_unsupported(session.client_id(), feature);
        }
        if let Step::Close(cause) = step {
            return Err(cause);
        }
        let session = match &resumed {
            Some(resumed) => session.continuing(resumed.owned.session_id),
            None => session,
        };
        let mut member = Box::new(Member::new(session, seat, will));
        member.owned = for_will;
        self.member = Some(member);
        match resumed {
            Some(resumed) => self.resume(resumed).await,
            None => Ok(()),
        }
    }

    /// Takes the session that CONNECT asks for.
    async fn take_session(
        &mut self,
        session: &Session,
        will: Option<&Arc<Testament>>,
    ) -> Result<(Seat, Claimed), Cause> {
        let name = self.machine.client_id().clone();
        let seat = self.adapter.directory.take(session.client_id(), name, session.id());
        let wish = Wish {
            client_id: session.client_id(),
            mqtt_client_id: self.machine.client_id(),
            session_id: session.id(),
            has_new_id: self.machine.has_new_id(),
            is_clean_start: self.machine.is_clean_start(),
            expiry_s: self.machine.expiry_s(),
            head: 0,
            will,
        };
        let claiming = claim(&self.adapter, wish, session.domain_id(), &seat);
        let claimed = tokio::select! {
            biased;
            () = seat.taken() => return Err(Cause::TakenOver),
            claimed = claiming => claimed,
        };
        match claimed {
            Ok(claimed) => Ok((seat, claimed)),
            Err(NotClaimed::Unavailable) => {
                self.refuse(Refusal::Unavailable)?;
                Err(Cause::NotAdmitted)
            }
            Err(NotClaimed::TooMany) => {
                self.adapter.metrics.connect_refused.count(Refused::TooMany);
                self.machine.has_too_many_sessions(&mut self.output);
                Err(Cause::OverLimit)
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Result<(), Cause> {
        self.adapter.metrics.connect_refused.count(refusal);
        match self.machine.admitted(Err(refusal), &mut self.output) {
            Step::Close(cause) => Err(cause),
            _ => Err(Cause::Failed),
        }
    }

    /// Goes on with a session: its subscriptions are active again, and what it missed is read from the log.
    async fn resume(&mut self, resumed: Resumed) -> Result<(), Cause> {
        let sent = self.machine.kept().sent;
        let Self { adapter, member, .. } = self;
        let member = member.as_mut().ok_or(Cause::Failed)?;
        let Resumed {
            owned,
            subscriptions,
            position,
            head: known,
            earlier,
        } = resumed;
        member.earlier = earlier;
        (member.kept, member.epoch) = (Some(owned.member()), owned.epoch());
        if self.machine.has_unsent() {
            member.resending = Some(Box::default());
        }
        // Messages from before a subscription are not for it, and those at QoS 0 are not kept for anybody.
        // What a group deals comes in the group's order.
        let kept = subscriptions
            .iter()
            .filter(|(stored, _)| stored.options.qos != QoS::AtMostOnce && !stored.is_shared());
        let since = kept.map(|(stored, _)| stored.since).min();
        let position = since.map_or(position, |since| position.max(since));
        member.begin_after(position);
        let head = match subscriptions.is_empty() {
            true => position,
            false => {
                let attended = adapter.router.attend(member.session.domain_id()).await;
                attended.map_err(|_| Cause::Failed)?;
                for (stored, permit) in subscriptions {
                    let Stored {
                        filter,
                        options,
                        since,
                        unsent,
                        ..
                    } = stored;
                    if let Ok(Some((name, asked))) = topic::shared(&filter) {
                        let key = GroupKey::new(name, asked, &permit);
                        if let Ok(ticket) = adapter
                            .shared
                            .join(key, member.subscriber.key, member.kept.clone())
                            .await
                        {
                            // The node that dealt it may not have said so before it died.
                            ticket.group().settle(&dealt_by(ticket.group(), &sent)).await;
                            member.add_share(&filter, &permit, options, ticket);
                        }
                        continue;
                    }
                    let subscription = Arc::new(Subscription::new(&filter, &permit, options));
                    subscription.begin_after(since);
                    member.subscriber.add(Arc::clone(&subscription));
                    adapter.router.index.add(&member.subscriber, &subscription);
                    if let Some(unsent) = unsent {
                        member.owe(subscription, unsent);
                    }
                }
                // Asked for after the router knows of the subscriptions: what is in the log by now is read from there, and all else comes
                // by the router.
                let latest = adapter.log.latest(member.shard(adapter)).await;
                latest.map_err(|_| Cause::Failed)?
            }
        };
        member
            .subscriber
            .mailbox
            .reaches(if since.is_some() { head } else { position });
        // Last: a session that was not taken up as a whole is left as it was.
        member.keeping = Some(Box::new(Keeping::new(owned, known)));
        self.recheck_if_due();
        Ok(())
    }
}

/// Takes the session that CONNECT asks for, once the connection that has it has left it.
async fn claim(adapter: &Adapter, mut wish: Wish<'_>, domain_id: DomainId, seat: &Seat) -> Result<Claimed, NotClaimed> {
    // What is neither there nor kept is served also while shared state is away.
    if wish.has_new_id && wish.expiry_s == 0 && wish.will.is_none() {
        return Ok(Claimed::default());
    }
    // One that does not leave in time finds that the session is not its own any more.
    let _ = timeout(TAKEOVER_TIME_MAX, seat.is_free()).await;
    if wish.expiry_s > 0 {
        let latest = adapter.log.latest(adapter.log.shard_of(domain_id)).await;
        wish.head = latest.map_err(|_| NotClaimed::Unavailable)?;
    }
    adapter.sessions.claim(&wish).await
}

/// The subscriptions that the client still may have, with the permission of now; `None` when that cannot be known.
async fn permitted(adapter: &Adapter, session: &Session, stored: &[Stored]) -> Option<Vec<(Stored, Permit)>> {
    let mut permitted = Vec::with_capacity(stored.len());
    for stored in stored {
        match adapter
            .gate
            .may(session, Action::Subscribe, unshared(&stored.filter))
            .await
        {
            Ok(permit) => permitted.push((stored.clone(), permit)),
            Err(Denial::NotAuthorized | Denial::InvalidTopic(_)) => adapter.metrics.subscriptions_denied.increment(),
            Err(Denial::Unavailable) => return None,
        }
    }
    Some(permitted)
}

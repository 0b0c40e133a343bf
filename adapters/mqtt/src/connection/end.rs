//! The end of a connection: what its client is still owed comes first where the end can wait, its session is left, and what is written is
//! handed over or thrown away.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::OptionFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};

use super::io::Transfer;
use super::member::Member;
use super::outbound::finished;
use super::will::Left;
use super::{Connection, first_of, io, keeping, shares, will};
use crate::limits::{ACK_TIME_MAX, CLOSE_TIME_MAX, DRAIN_TIME_MAX, HAND_OVER_TIME_MAX, LAST_READS_MAX, LEAVE_TIME_MAX};
use crate::machine::{Cause, Step};
use crate::session::{Content, Ended};
use crate::transport::discard;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Hears what the client has said before another connection got its session, as far as that takes little time: it may be a goodbye.
    pub(super) async fn hand_over(&mut self) -> Cause {
        let (deadline, mut reads) = (Instant::now() + HAND_OVER_TIME_MAX, 0);
        while reads < LAST_READS_MAX && Instant::now() < deadline {
            let heard = if let Some(work) = self.work.take() {
                let Ok(done) = timeout_at(deadline, work).await else {
                    break;
                };
                self.done(done)
            } else {
                let may_read = self.machine.may_read();
                let (stream, output) = (&mut self.stream, &mut self.output);
                let transfer = io::transfer(stream, output, &mut self.input, &mut self.untaken, may_read);
                match transfer.now_or_never() {
                    Some(Ok(Transfer::Received)) => reads += 1,
                    Some(Ok(Transfer::Sent | Transfer::Flushed | Transfer::Withheld)) => {}
                    Some(Ok(Transfer::End) | Err(_)) | None => break,
                }
                Ok(())
            };
            if let Err(cause) = heard.and_then(|()| self.advance()) {
                return cause;
            }
        }
        match self.machine.taken_over(&mut self.output) {
            Step::Close(cause) => cause,
            _ => Cause::TakenOver,
        }
    }

    /// Sends what is owed and says goodbye, in bounded time.
    pub(super) async fn drain(&mut self) -> Cause {
        let deadline = Instant::now() + DRAIN_TIME_MAX;
        if let Some(work) = self.work.take()
            && let Ok(done) = timeout_at(deadline, work).await
            && let Err(cause) = self.done(done)
        {
            return cause;
        }
        while !self.receipts.is_empty() {
            let Ok(settled) = timeout_at(deadline, first_of(&mut self.receipts)).await else {
                break;
            };
            if let Err(cause) = self.settle(&settled) {
                return cause;
            }
        }
        if let Err(cause) = self.drain_saves(deadline).await {
            return cause;
        }
        if let Err(cause) = self.drain_recheck(deadline).await {
            return cause;
        }
        match self.machine.drained(&mut self.output) {
            Step::Close(cause) => cause,
            _ => Cause::Draining,
        }
    }

    /// Has what waits for the record of the session written, until `deadline`.
    async fn drain_saves(&mut self, deadline: Instant) -> Result<(), Cause> {
        while self.machine.held_bytes() > 0 {
            self.keep();
            let Some(member) = &mut self.member else { break };
            let Ok(saved) = timeout_at(deadline, keeping::saved(&mut member.keeping)).await else {
                break;
            };
            self.saved(saved)?;
        }
        Ok(())
    }

    /// Waits until it is known whether what is written may leave, until `deadline`.
    async fn drain_recheck(&mut self, deadline: Instant) -> Result<(), Cause> {
        self.forget_taken();
        while !self.untaken.is_granted() {
            self.recheck();
            let Some(member) = &mut self.member else { break };
            let Ok(recheck) = timeout_at(deadline, finished(&mut member.recheck)).await else {
                break;
            };
            self.rechecked(recheck)?;
        }
        Ok(())
    }

    /// Leaves the session, and hands over what is written, or has it thrown away where it may not be delivered any more.
    pub(super) async fn end(mut self, cause: Cause) {
        // What it acknowledged with its last bytes is not another member's.
        self.done_with_shares();
        self.forget_taken();
        let leaving = self.member.take().map(|member| self.leave(*member, cause));
        let leaving = OptionFuture::from(leaving).map(drop).shared();
        // Who sees the connection closed finds the session as it was left, unless that takes too long.
        let left = timeout(LEAVE_TIME_MAX, leaving.clone());
        let Self {
            mut stream,
            mut output,
            mut untaken,
            socket,
            ..
        } = self;
        let closed = async move {
            match cause {
                Cause::Withdrawn => {}
                Cause::Lost => drop(left.await),
                _ => {
                    let finished = io::finish(&mut stream, &mut output, &mut untaken, left);
                    let _ = timeout(LEAVE_TIME_MAX + CLOSE_TIME_MAX, finished).await;
                }
            }
            if !untaken.is_granted() {
                socket(&stream).inspect(|socket| discard(socket));
            }
        };
        tokio::join!(closed, leaving);
    }

    /// Leaves the session of a connection that ended by `cause`, and its will if that is owed.
    fn leave(&self, mut member: Member, cause: Cause) -> impl Future<Output = ()> + Send + use<S> {
        let adapter = Arc::clone(&self.adapter);
        let has_will = member.will.is_some();
        member.will = member.will.take().filter(|_| self.machine.owes_will());
        let (expiry_s, kept) = (self.machine.expiry_s(), self.machine.kept());
        let content = match &member.keeping {
            Some(keeping) => {
                let head = self.head_of_known(&member, keeping.head());
                member.content(&adapter, expiry_s, head, kept)
            }
            None => Content {
                will: member.will.clone(),
                ..Content::default()
            },
        };
        member.leave(&adapter);
        let mut tickets = std::mem::take(&mut member.tickets);
        let (kept, epoch) = (member.kept.take(), member.epoch);
        let (is_over, owes_will) = (expiry_s == 0, member.will.is_some());
        let time_max = match cause {
            _ if !has_will => LEAVE_TIME_MAX,
            Cause::Draining => DRAIN_TIME_MAX,
            // What a goodbye took back must not be left to be published.
            _ => ACK_TIME_MAX,
        };
        async move {
            let Member {
                session,
                seat,
                keeping,
                owned,
                ..
            } = member;
            let leaving = async {
                let owned = match keeping {
                    Some(keeping) => keeping.release().await,
                    None => owned,
                };
                let sent = content.kept.sent.clone();
                let left = match owned {
                    Some(owned) => will::leave(owned, content, &session, &adapter).await,
                    None => Left::Not,
                };
                if left == Left::Kept {
                    shares::pass_on(&tickets, &sent);
                }
                left
            };
            let left = timeout(time_max, leaving).await.unwrap_or_else(|_| {
                tracing::warn!("a session could not be saved in time when its connection ended");
                Left::Not
            });
            // What is not in the session's record is another member's.
            match (kept, left) {
                (Some(member), Left::Over) => shares::forget(&tickets, &member),
                (Some(member), Left::Not) if is_over || !tickets.is_empty() => {
                    let ended = Ended {
                        member,
                        epoch,
                        is_over,
                        owes_will,
                    };
                    adapter.shared.give_back_later(std::mem::take(&mut tickets), ended);
                }
                (Some(_) | None, Left::Kept | Left::Over | Left::Not) => {}
            }
            drop(tickets);
            // Only now may the next connection have the session.
            drop(seat);
        }
    }
}

//! The end of a connection: its session is left, and what is written for its client is handed over or thrown away.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::OptionFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::member::Member;
use super::will::Left;
use super::{Connection, io, shares, will};
use crate::limits::{ACK_TIME_MAX, CLOSE_TIME_MAX, DRAIN_TIME_MAX, LEAVE_TIME_MAX};
use crate::machine::Cause;
use crate::session::{Content, Ended};
use crate::transport::discard;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
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
        let is_over = expiry_s == 0 && member.will.is_none();
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
                    let ended = Ended { member, epoch, is_over };
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

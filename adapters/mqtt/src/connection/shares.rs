//! A client as a member of groups: what it is done with, and what it has room for.

use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::machine::{Awaits, Sent, Source};
use crate::shared::Ticket;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Tells the groups what the client has acknowledged at QoS 1.
    pub(super) fn done_with_shares(&mut self) {
        let Some(member) = self.member.as_ref().filter(|member| !member.tickets.is_empty()) else {
            return;
        };
        for (id, sequence) in self.machine.take_shared_answered() {
            if let Some(ticket) = member.tickets.iter().find(|ticket| ticket.group().id() == id) {
                ticket.group().done(sequence);
            }
        }
    }

    /// Tells the groups how much more the client takes.
    pub(super) fn tell_room(&mut self) {
        let Some(member) = self.member.as_mut().filter(|member| !member.tickets.is_empty()) else {
            return;
        };
        let taken = std::mem::take(&mut member.shares_taken);
        member.subscriber.room.tell(self.machine.window_left(), taken);
        for ticket in &member.tickets {
            ticket.group().has_room_again();
        }
    }
}

/// Tells the groups which messages at QoS 2 are in the record of their member's session from now on: nobody else is to have them.
pub(super) fn pass_on(tickets: &[Ticket], sent: &[Sent]) {
    for sent in sent.iter().filter(|sent| sent.awaits != Awaits::Ack) {
        if let Source::Shared { group, sequence } = sent.source
            && let Some(ticket) = tickets.iter().find(|ticket| ticket.group().id() == group)
        {
            ticket.group().done(sequence);
        }
    }
}

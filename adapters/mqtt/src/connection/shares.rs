//! A client as a member of groups: what it is done with, and what it has room for.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::machine::{Awaits, Sent, Source};
use crate::shared::{Group, KeptMember, Ticket};

/// Messages at QoS 2 that a client has, by the groups that dealt them.
pub(super) type Received = Vec<(Arc<Group>, Vec<u64>)>;

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Tells the groups what the client has acknowledged at QoS 1, and leaves those that it has unsubscribed from once it has nothing of
    /// them.
    pub(super) fn done_with_shares(&mut self) {
        let Some(member) = self.member.as_ref().filter(|member| !member.tickets.is_empty()) else {
            return;
        };
        for (id, sequence) in self.machine.take_shared_answered() {
            if let Some(ticket) = member.tickets.iter().find(|ticket| ticket.group().id() == id) {
                ticket.group().done(sequence);
            }
        }
        if member.subscriber.changes() != member.left_at {
            self.leave_groups();
        }
    }

    fn leave_groups(&mut self) {
        let Some(member) = &mut self.member else { return };
        let changes = member.subscriber.changes();
        let is_in = |ticket: &Ticket| member.subscriber.has_share_of(ticket.group());
        let stays = |ticket: &Ticket| is_in(ticket) || self.machine.has_any_of(ticket.group().id());
        let left = member.tickets.extract_if(.., |ticket| !stays(ticket));
        for ticket in left {
            if let Some(kept) = &member.kept {
                ticket.group().keep(kept.clone(), false);
            }
        }
        if member.tickets.iter().all(is_in) {
            member.left_at = changes;
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

/// Has the groups wait no more for a session that ends.
pub(super) fn forget(tickets: &[Ticket], ended: &KeptMember) {
    for ticket in tickets {
        ticket.group().keep(ended.clone(), false);
    }
}

/// Messages at QoS 2 that groups dealt and the client has, by group. Before the client is told that it may forget them, each group is to
/// know that nobody else gets them.
pub(super) fn received(tickets: &[Ticket], sent: &[Sent]) -> Received {
    let completed = sent.iter().filter(|sent| sent.awaits == Awaits::Completed);
    let completed: Vec<_> = completed.copied().collect();
    let groups = tickets.iter().map(Ticket::group);
    let received = groups.map(|group| (Arc::clone(group), dealt_by(group, &completed)));
    received.filter(|(_, received)| !received.is_empty()).collect()
}

/// The places of the messages at QoS 2 among what was `sent` that a group dealt.
pub(super) fn dealt_by(group: &Group, sent: &[Sent]) -> Vec<u64> {
    let dealt = sent.iter().filter(|sent| sent.awaits != Awaits::Ack);
    let places = dealt.filter_map(|sent| match sent.source {
        Source::Shared { group: id, sequence } => (id == group.id()).then_some(sequence),
        Source::Log(_) | Source::Retained { .. } => None,
    });
    places.collect()
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

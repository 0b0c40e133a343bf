//! What an earlier connection of the session sent and the client has not answered to the end, sent once more: the same messages by the same
//! packet ids, in the same order, before anything else.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use trunkline_bus::StoredEntry;
use trunkline_bus::log::LogError;
use trunkline_core::DomainId;
use trunkline_mqtt_wire::QoS;

use super::Connection;
use super::member::read;
use super::outbound::{finished, offer_of};
use crate::adapter::Adapter;
use crate::machine::{Awaits, Cause, Sent, Source};
use crate::message::Message;

/// The looking for messages that were sent.
#[derive(Default)]
pub(super) struct Resending {
    known: Known,
    fetch: Option<BoxFuture<'static, Fetched>>,
}

/// Part of what was sent.
#[derive(Default)]
enum Known {
    #[default]
    Nothing,
    /// What the log holds from one place up to but without another.
    Page {
        from: u64,
        to: u64,
        entries: Vec<StoredEntry>,
    },
    /// What is retained where the message was.
    Retained(Source, Option<Arc<Message>>),
}

/// What was found; `None` when it could not be looked for.
pub(super) struct Fetched(Option<Known>);

impl Known {
    /// The message that was sent from `source`, if there still is one; `None` when that is not known.
    fn find(&self, source: Source) -> Option<Option<Arc<Message>>> {
        match (self, source) {
            // Nothing is at place 0: the message is in another log.
            (_, Source::Log(0) | Source::Shared { sequence: 0, .. }) => Some(None),
            (Self::Page { from, to, entries }, Source::Log(sequence) | Source::Shared { sequence, .. })
                if (*from..*to).contains(&sequence) =>
            {
                let place = entries.binary_search_by_key(&sequence, |entry| entry.sequence);
                Some(place.ok().map(|place| {
                    let envelope = Arc::clone(&entries[place].envelope);
                    Arc::new(Message::new(envelope, Some(sequence)))
                }))
            }
            (Self::Retained(known, message), Source::Retained { .. }) if *known == source => Some(message.clone()),
            (
                Self::Nothing | Self::Page { .. } | Self::Retained(..),
                Source::Log(_) | Source::Shared { .. } | Source::Retained { .. },
            ) => None,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Sends what an earlier connection sent; `false` while there is more of it to be sent.
    pub(super) fn resend(&mut self) -> bool {
        let Some(member) = &mut self.member else {
            return true;
        };
        if member.resending.is_none() {
            return true;
        }
        while self.machine.has_unsent() {
            let Some(sent) = self.machine.next_unsent() else {
                return false;
            };
            if !self.may_write() || !self.resend_one(sent) {
                return false;
            }
        }
        if let Some(member) = &mut self.member {
            member.resending = None;
        }
        true
    }

    /// Sends a message once more, or gives it up; `false` while it cannot be decided.
    fn resend_one(&mut self, sent: Sent) -> bool {
        if sent.awaits == Awaits::Completed {
            self.machine.resend_release(sent.id, &mut self.output);
            return true;
        }
        let Some(member) = &mut self.member else {
            return false;
        };
        let domain_id = member.session.domain_id();
        let Some(resending) = &mut member.resending else {
            return false;
        };
        if resending.fetch.is_some() {
            return false;
        }
        let Some(found) = resending.known.find(sent.source) else {
            resending.fetch = Some(fetch(&self.adapter, domain_id, sent.source));
            return false;
        };
        let metrics = &self.adapter.metrics;
        let (group, is_retained) = match sent.source {
            Source::Log(_) => (None, false),
            Source::Shared { group, .. } => (Some(group), false),
            Source::Retained { .. } => (None, true),
        };
        let Some(message) = found else {
            metrics.lost_trimmed.increment();
            self.machine.give_up(sent, &mut self.output);
            return true;
        };
        let Some(item) = member.subscriber.choose_again(&message, group, is_retained) else {
            metrics.lost_revoked.increment();
            self.machine.give_up(sent, &mut self.output);
            return true;
        };
        if !member.session.is_undisturbed() || !item.subscription.holds() {
            self.recheck();
            return false;
        }
        let mut offer = offer_of(&item, &mut member.topic);
        offer.qos = match sent.awaits {
            Awaits::Ack => QoS::AtLeastOnce,
            Awaits::Received | Awaits::Completed => QoS::ExactlyOnce,
        };
        let now_ns = self.adapter.clock.now_ns();
        if self.machine.resend(sent, &offer, now_ns, &mut self.output) {
            let is_saved_first = self.machine.held_bytes() > 0;
            self.untaken.add(&item.subscription, self.output.len(), is_saved_first);
        } else {
            metrics.lost_too_large.increment();
            self.machine.give_up(sent, &mut self.output);
        }
        true
    }

    pub(super) fn fetched(&mut self, Fetched(known): Fetched) -> Result<(), Cause> {
        let known = known.ok_or(Cause::Failed)?;
        if let Some(resending) = self.member.as_mut().and_then(|member| member.resending.as_mut()) {
            resending.known = known;
        }
        Ok(())
    }
}

/// Looks for a message that was sent, and for those behind it.
fn fetch(adapter: &Adapter, domain_id: DomainId, source: Source) -> BoxFuture<'static, Fetched> {
    match source {
        Source::Log(sequence) | Source::Shared { sequence, .. } => {
            let page = read(adapter, adapter.log.shard_of(domain_id), sequence);
            Box::pin(async move {
                let (to, entries) = match page.await {
                    Ok(page) => (page.next, page.entries),
                    Err(LogError::Damaged { sequence, .. }) => (sequence, Vec::new()),
                    Err(_) => return Fetched(None),
                };
                let (from, to) = (sequence, to.max(sequence + 1));
                Fetched(Some(Known::Page { from, to, entries }))
            })
        }
        Source::Retained {
            channel_id,
            digest,
            sequence,
        } => {
            let retained = Arc::clone(&adapter.retained);
            Box::pin(async move {
                let found = retained.find((domain_id, channel_id), digest).await;
                let is_it = |message: &Arc<Message>| message.sequence() == Some(sequence);
                let message = found.map(|message| message.filter(is_it));
                Fetched(message.ok().map(|message| Known::Retained(source, message)))
            })
        }
    }
}

/// The outcome of looking for what was sent; never, while nothing is looked for. Cancel safe.
pub(super) async fn fetched(resending: &mut Option<Box<Resending>>) -> Fetched {
    match resending {
        Some(resending) => finished(&mut resending.fetch).await,
        None => std::future::pending().await,
    }
}

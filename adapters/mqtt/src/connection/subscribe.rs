//! What a client asks to get: subscribing and unsubscribing, to what everybody gets and to shares of it.

use std::sync::Arc;

use futures_util::future::OptionFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use trunkline_core::SessionId;
use trunkline_gate::{Action, Gate, Permit, Session};
use trunkline_mqtt_wire::{PacketId, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeFilter, Utf8Bytes, topic};

use super::Connection;
use super::inbound::{Done, decide};
use super::member::Member;
use crate::adapter::Adapter;
use crate::limits::{SESSION_FILTER_BYTES_MAX, SUBSCRIPTIONS_MAX};
use crate::metrics::Refused;
use crate::reason;
use crate::session::Unsent;
use crate::shared::{GroupKey, KeptMember, Ticket};
use crate::subscription::{Options, Subscription};

/// What one filter of a SUBSCRIBE was granted.
pub(super) struct Granted {
    permit: Permit,
    /// The group of a shared subscription.
    ticket: Option<Ticket>,
}

/// A client as the groups know it that it joins.
#[derive(Clone)]
struct Joining {
    key: SessionId,
    /// Its session, if that outlives the connection.
    kept: Option<KeptMember>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    pub(super) fn subscribe(&mut self, subscribe: Subscribe) {
        let Some(member) = &self.member else {
            return;
        };
        let (adapter, session) = (Arc::clone(&self.adapter), member.session.clone());
        let joining = Joining {
            key: member.subscriber.key,
            kept: member.kept.clone(),
        };
        let retaining = self.retaining.take();
        self.work = Some(Box::pin(async move {
            // What came of it is nobody's concern, but it is in the log or not from here on.
            let _ = OptionFuture::from(retaining).await;
            let mut answers = Vec::with_capacity(subscribe.filters.len());
            for filter in &subscribe.filters {
                answers.push(grant(&adapter, &session, joining.clone(), &filter.filter).await);
            }
            Done::Filters(subscribe, answers)
        }));
    }

    pub(super) fn subscribed(&mut self, subscribe: &Subscribe, answers: Vec<Result<Granted, ReasonCode>>) {
        let id = subscribe.properties.subscription_id;
        let metrics = Arc::clone(&self.adapter.metrics);
        let answers = subscribe.filters.iter().zip(answers);
        let reasons = answers
            .map(|(asked, answer)| {
                let options = Options::of(asked, id);
                answer.and_then(|granted| match granted.ticket {
                    Some(ticket) => self.add_share(asked, options, &granted.permit, ticket),
                    None => self.add_subscription(asked, options, &granted.permit),
                })
            })
            .map(|answer| answer.inspect_err(|reason| metrics.subscribe_refused.count(cause_of(*reason))))
            .map(|answer| answer.unwrap_or_else(|reason| reason))
            .collect();
        self.machine.subscribed(subscribe.packet_id, reasons, &mut self.output);
        self.recheck_if_due();
    }

    /// Makes a granted subscription active, and tells the answer to it.
    fn add_subscription(
        &mut self,
        asked: &SubscribeFilter,
        options: Options,
        permit: &Permit,
    ) -> Result<ReasonCode, ReasonCode> {
        let renewed = self.renewed(asked, options, permit)?;
        let member = self.member.as_mut().ok_or(ReasonCode::UnspecifiedError)?;
        let (router, log) = (&self.adapter.router, &self.adapter.log);
        let is_new = renewed.is_none();
        let subscription = renewed.unwrap_or_else(|| {
            let subscription = Arc::new(Subscription::new(&asked.filter, permit, options));
            member.subscriber.add(Arc::clone(&subscription));
            router.index.add(&member.subscriber, &subscription);
            subscription
        });
        // Read after the router knows of the subscription: what the log has by now comes as retained or not at all, and all else by
        // the router.
        let Ok(head) = log.head(log.shard_of(permit.domain_id())) else {
            member.remove(router, &subscription);
            return Err(ReasonCode::ImplementationSpecificError);
        };
        if is_new {
            subscription.begin_after(head);
        }
        let wants_retained = match asked.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        if wants_retained {
            let unsent = Unsent {
                up_to: head,
                after: None,
            };
            member.owe(subscription, unsent);
        }
        Ok(granted(options.qos))
    }

    /// Makes a granted share of a group active. What is retained is not for groups.
    fn add_share(
        &mut self,
        asked: &SubscribeFilter,
        options: Options,
        permit: &Permit,
        ticket: Ticket,
    ) -> Result<ReasonCode, ReasonCode> {
        let known = self.renewed(asked, options, permit);
        let member = self.member.as_mut().ok_or(ReasonCode::UnspecifiedError)?;
        let known = known.inspect_err(|_| {
            if let Some(kept) = &member.kept {
                ticket.group().keep(kept.clone(), false);
            }
        });
        if known?.is_none() {
            member.add_share(&asked.filter, permit, options, ticket);
        }
        Ok(granted(options.qos))
    }

    /// The subscription that is there already, with other options from now on; `None` where there is none and it may be made. One that
    /// leads to another channel by now ends.
    ///
    /// # Errors
    /// The client has as many as it may have.
    fn renewed(
        &self,
        asked: &SubscribeFilter,
        options: Options,
        permit: &Permit,
    ) -> Result<Option<Arc<Subscription>>, ReasonCode> {
        let member = self.member.as_ref().ok_or(ReasonCode::UnspecifiedError)?;
        let subscriber = &member.subscriber;
        if let Some(known) = subscriber.find(&asked.filter) {
            if known.renew(permit) {
                known.change(options);
                subscriber.changed();
                return Ok(Some(known));
            }
            self.remove(member, &known);
        }
        let is_over =
            member.keeping.is_some() && subscriber.filter_bytes() + asked.filter.len() > SESSION_FILTER_BYTES_MAX;
        match is_over || subscriber.len() >= SUBSCRIPTIONS_MAX {
            true => Err(ReasonCode::QuotaExceeded),
            false => Ok(None),
        }
    }

    pub(super) fn unsubscribe(&mut self, packet_id: PacketId, filters: &[Utf8Bytes]) {
        let Some(member) = &self.member else {
            return;
        };
        let remove = |filter: &Utf8Bytes| {
            let known = member.subscriber.find(filter);
            known
                .inspect(|subscription| self.remove(member, subscription))
                .is_some()
        };
        let were_there: Vec<_> = filters.iter().map(remove).collect();
        self.machine.unsubscribed(packet_id, &were_there, &mut self.output);
    }

    /// Ends a subscription, if it has not ended. What a group dealt by it and was sent stays the client's to acknowledge.
    pub(super) fn remove(&self, member: &Member, subscription: &Arc<Subscription>) {
        if subscription.is_ended() {
            return;
        }
        member.remove(&self.adapter.router, subscription);
        if let Some(group) = subscription.group() {
            group.step_out(&member.subscriber, |sequence| {
                self.machine.has_shared(group.id(), sequence)
            });
        }
    }
}

impl Member {
    /// Has its turns in a group from now on.
    pub(super) fn add_share(&mut self, filter: &str, permit: &Permit, options: Options, ticket: Ticket) {
        let group = Arc::clone(ticket.group());
        let subscription = Arc::new(Subscription::shared(filter, permit, options, Arc::clone(&group)));
        self.subscriber.add(Arc::clone(&subscription));
        if !self.tickets.iter().any(|other| Arc::ptr_eq(other.group(), &group)) {
            self.tickets.push(ticket);
        }
        group.enter(&self.subscriber, &subscription);
    }
}

/// What the refusal of a filter is counted as.
const fn cause_of(reason: ReasonCode) -> Refused {
    match reason {
        ReasonCode::NotAuthorized => Refused::NotAuthorized,
        ReasonCode::TopicFilterInvalid => Refused::InvalidTopic,
        ReasonCode::QuotaExceeded => Refused::TooMany,
        _ => Refused::Unavailable,
    }
}

const fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::GRANTED_QOS0,
        QoS::AtLeastOnce => ReasonCode::GrantedQos1,
        QoS::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}

/// Whether `session` may have what `filter` asks for, once the messages that it permits are routed here.
async fn grant(adapter: &Adapter, session: &Session, joining: Joining, filter: &str) -> Result<Granted, ReasonCode> {
    let shared = topic::shared(filter).map_err(|_| ReasonCode::TopicFilterInvalid)?;
    let asked = shared.map_or(filter, |(_, asked)| asked);
    let permit = permit(adapter.gate.as_ref(), session, asked).await?;
    let attended = adapter.router.attend(permit.domain_id()).await;
    attended.map_err(|_| ReasonCode::ImplementationSpecificError)?;
    let ticket = match shared {
        Some((name, asked)) => {
            let key = GroupKey::new(name, asked, &permit);
            let joined = adapter.shared.join(key, joining.key, joining.kept);
            Some(joined.await.map_err(|_| ReasonCode::QuotaExceeded)?)
        }
        None => None,
    };
    Ok(Granted { permit, ticket })
}

async fn permit(gate: &dyn Gate, session: &Session, asked: &str) -> Result<Permit, ReasonCode> {
    let answer = decide(gate, session, Action::Subscribe, asked).await;
    answer.map_err(|denial| reason::of_subscribe_denial(&denial))
}

//! Wills: a message that a client leaves with its CONNECT, published when its connection ends in any other way than by a goodbye.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use trunkline_bus::NewEntry;
use trunkline_bus::log::{AppendError, Quota};
use trunkline_gate::{Action, Denial, Publication, Session, stamp};
use trunkline_mqtt_wire::{Publish, PublishProperties, QoS, Utf8Bytes, Will};

use super::Connection;
use super::inbound::{decide, publication};
use crate::adapter::Adapter;
use crate::limits::{ACK_TIME_MAX, DRAIN_TIME_MAX};
use crate::machine::{Cause, Step};
use crate::metrics::of_qos;
use crate::retained::{Room, Slot};

/// A will that was authorized at CONNECT. It is authorized again when it is fired.
pub(super) struct Testament {
    topic: Utf8Bytes,
    qos: QoS,
    publication: Publication,
}

/// Why a will was not published.
#[derive(Debug)]
enum Lost {
    /// Its client may not publish it any more.
    Denied,
    /// The log or the domain has no room for it.
    NoRoom,
    /// It is unknown whether it was kept, or nobody answered in time.
    Unknown,
}

impl Testament {
    fn new(will: &Will) -> Self {
        let given = &will.properties;
        let properties = PublishProperties {
            payload_is_utf8: given.payload_is_utf8,
            message_expiry_s: given.message_expiry_s,
            content_type: given.content_type.clone(),
            response_topic: given.response_topic.clone(),
            correlation_data: given.correlation_data.clone(),
            user_properties: given.user_properties.clone(),
            ..PublishProperties::default()
        };
        let publish = Publish {
            qos: will.qos,
            retain: will.retain,
            payload: will.payload.clone(),
            properties: Some(Box::new(properties)),
            ..Publish::default()
        };
        Self {
            topic: will.topic.detached(),
            qos: will.qos,
            publication: publication(&publish),
        }
    }

    /// Publishes it for `session`, if that may still be done.
    async fn publish(self, session: &Session, adapter: &Adapter) -> Result<(), Lost> {
        let permit = match decide(adapter.gate.as_ref(), session, Action::Publish, &self.topic).await {
            Ok(permit) => permit,
            Err(Denial::Unavailable) => return Err(Lost::Unknown),
            Err(Denial::NotAuthorized | Denial::InvalidTopic(_)) => return Err(Lost::Denied),
        };
        let is_removal = self.publication.payload.is_empty();
        let is_retained = self.publication.retain;
        let envelope = stamp(session, &permit, &self.topic, self.publication, adapter.clock.as_ref());
        let payload_bytes_max = adapter.settings.payload_bytes_max;
        let entry = NewEntry::seal(envelope, payload_bytes_max)
            .map_err(|_| Lost::NoRoom)?
            .unrepeated();
        if is_retained {
            let slot = Slot::new(permit.domain_id(), permit.channel_id(), permit.subtopic(&self.topic));
            adapter.retained.prepare(slot.domain_id()).await;
            match adapter.retained.room(&slot, entry.encoded().len()) {
                // Nobody keeps what is retained any more.
                Room::Unknown => return Err(Lost::Unknown),
                Room::No if !is_removal => return Err(Lost::NoRoom),
                Room::No | Room::Yes => {}
            }
        }
        if self.qos == QoS::AtMostOnce {
            return match adapter.log.append_unacknowledged(entry) {
                true => Ok(()),
                false => Err(Lost::NoRoom),
            };
        }
        let appended = match adapter.log.append(entry).await {
            Ok(receipt) => receipt.await,
            Err(error) => Err(error),
        };
        match appended {
            Ok(_) => Ok(()),
            Err(
                AppendError::Full {
                    quota: Quota::Domain | Quota::Total,
                    ..
                }
                | AppendError::DiskLow { .. },
            ) => Err(Lost::NoRoom),
            Err(AppendError::TooLarge { .. }) => Err(Lost::NoRoom),
            Err(AppendError::Unanswered | AppendError::Closed) => Err(Lost::Unknown),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    /// Authorizes the will of a CONNECT, if there is one.
    pub(super) async fn authorize_will(&mut self, session: &Session) -> Result<Option<Box<Testament>>, Cause> {
        let Some(will) = self.machine.take_will() else {
            return Ok(None);
        };
        let gate = &self.adapter.gate;
        match gate.may(session, Action::Publish, &will.topic).await {
            Ok(_) => Ok(Some(Box::new(Testament::new(&will)))),
            Err(denial) => match self.machine.will_denied(&denial, &mut self.output) {
                Step::Close(cause) => Err(cause),
                _ => Err(Cause::Failed),
            },
        }
    }
}

/// Publishes the will of a client whose connection ended by `cause`, in bounded time. What comes of it is counted.
pub(super) async fn fire(testament: Testament, session: Session, adapter: Arc<Adapter>, cause: Cause) {
    let limit: Duration = match cause {
        Cause::Draining => DRAIN_TIME_MAX,
        _ => ACK_TIME_MAX,
    };
    let qos = testament.qos;
    let fired = timeout(limit, testament.publish(&session, &adapter)).await;
    match fired.unwrap_or(Err(Lost::Unknown)) {
        Ok(()) => of_qos(&adapter.metrics.published, qos).increment(),
        Err(Lost::Denied) => adapter.metrics.will_denied.increment(),
        Err(Lost::NoRoom) => adapter.metrics.will_refused.increment(),
        Err(Lost::Unknown) => {
            adapter.metrics.will_unknown.increment();
            tracing::warn!(client.id = %session.client_id(), "it is unknown whether the will of a client was published");
        }
    }
}

//! Wills: a message that a client leaves with its CONNECT, published when its connection ends in any other way than by a goodbye. It is
//! part of the record of its session, so that whoever looks after that can publish it, however the node of the connection ended.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use tokio::time::{sleep, timeout};
use trunkline_bus::log::{AppendError, Appended};
use trunkline_bus::{Log, NewEntry, envelope};
use trunkline_core::{ClientId, Clock, CredentialId, DomainId};
use trunkline_gate::{Action, Denial, Gate, Identity, Permit, Publication, Session, stamp};
use trunkline_mqtt_wire::{Publish, PublishProperties, QoS, Utf8Bytes, Will};
use trunkline_proto::messages::v1::Envelope;

use crate::connection::publication;
use crate::limits::{RECHECK_PAUSE, SESSION_TOPIC_BYTES_MAX, WILL_BYTES_MAX};
use crate::metrics::{Metrics, of_qos};
use crate::retained::{Admission, Retained, Slot};
use crate::session::{Reader, put_long};

/// A will that was authorized at CONNECT. It is authorized again when it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Testament {
    topic: Utf8Bytes,
    delay_s: u32,
    expires_after_s: Option<u32>,
    /// The envelope as it was at CONNECT. Its id is made once: whoever publishes the will again publishes the same message.
    envelope: Bytes,
}

impl Testament {
    /// The will that `session` leaves; `None` when it is larger than a message may be.
    pub(crate) fn new(will: &Will, session: &Session, permit: &Permit, wills: &Wills) -> Option<Self> {
        let publication = publication_of(will);
        let expires_after_s = publication.expires_after_s;
        let envelope = stamp(session, permit, &will.topic, publication, wills.clock.as_ref());
        let sealed = NewEntry::seal(envelope, wills.payload_bytes_max).ok()?;
        Some(Self {
            topic: will.topic.detached(),
            delay_s: will.properties.will_delay_s.unwrap_or(0),
            expires_after_s,
            envelope: Bytes::copy_from_slice(sealed.encoded()),
        })
    }

    /// Seconds after the end of the connection in which its client may come back and take it back.
    pub(crate) const fn delay_s(&self) -> u32 {
        self.delay_s
    }

    pub(crate) fn encode(&self, value: &mut Vec<u8>) {
        put_long(value, self.topic.as_bytes());
        value.put_u32(self.delay_s);
        value.put_u8(self.expires_after_s.is_some().into());
        value.put_u32(self.expires_after_s.unwrap_or(0));
        put_long(value, &self.envelope);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let topic = std::str::from_utf8(reader.long(SESSION_TOPIC_BYTES_MAX)?).ok()?;
        let topic = Utf8Bytes::try_from(topic).ok()?;
        let delay_s = reader.u32()?;
        let (does_expire, after_s) = (reader.flag()?, reader.u32()?);
        Some(Self {
            topic,
            delay_s,
            expires_after_s: does_expire.then_some(after_s),
            envelope: Bytes::copy_from_slice(reader.long(WILL_BYTES_MAX)?),
        })
    }
}

fn publication_of(will: &Will) -> Publication {
    let given = &will.properties;
    let properties = PublishProperties {
        payload_is_utf8: given.payload_is_utf8,
        message_expiry_s: given.message_expiry_s,
        content_type: given.content_type.clone(),
        response_topic: given.response_topic.clone(),
        correlation_data: given.correlation_data.clone(),
        user_properties: given.user_properties.clone(),
        order: given.order,
        ..PublishProperties::default()
    };
    publication(&Publish {
        qos: will.qos,
        retain: will.retain,
        payload: will.payload.clone(),
        properties: Some(Box::new(properties)),
        ..Publish::default()
    })
}

/// Whose message an envelope is.
fn identity_of(envelope: &Envelope) -> Option<Identity> {
    let publisher = envelope.publisher.as_ref()?;
    Some(Identity {
        session_id: envelope::session(envelope)?,
        domain_id: DomainId::from_slice(&envelope.domain_id)?,
        client_id: ClientId::from_slice(&publisher.id)?,
        credential_id: CredentialId::from_slice(&publisher.credential_id)?,
    })
}

/// Why a will will never be published.
#[derive(Debug)]
enum Lost {
    /// Its client may not publish it any more.
    Denied,
    /// The log or the domain has no room for it.
    NoRoom,
}

/// It is unknown whether a will was published; to publish it again is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unknown;

/// Publishes wills.
pub(crate) struct Wills {
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) retained: Arc<Retained>,
    pub(crate) metrics: Arc<Metrics>,
    /// Bytes of a message's payload.
    pub(crate) payload_bytes_max: usize,
}

impl Wills {
    /// The session that a will is of, when its client has no connection here; `None` when it is not understood.
    pub(crate) fn recall(&self, testament: &Testament) -> Option<Session> {
        let envelope = envelope::decode(testament.envelope.clone()).ok()?;
        Some(self.gate.recall(identity_of(&envelope)?))
    }

    /// Publishes a will for `session`, if that may still be done. What comes of it is counted.
    ///
    /// # Errors
    /// It may have been published or not, after `time_max` at the latest.
    pub(crate) async fn publish(
        &self,
        testament: &Testament,
        session: &Session,
        time_max: Duration,
    ) -> Result<(), Unknown> {
        let Ok(envelope) = envelope::decode(testament.envelope.clone()) else {
            self.metrics.will_refused.increment();
            return Ok(());
        };
        let qos = QoS::from_u8(u8::try_from(envelope.qos).unwrap_or(0)).unwrap_or_default();
        let published = timeout(time_max, self.append(testament, envelope, session)).await;
        match published.unwrap_or(Err(Unknown)) {
            Ok(Ok(())) => of_qos(&self.metrics.published, qos).increment(),
            Ok(Err(Lost::Denied)) => self.metrics.will_denied.increment(),
            Ok(Err(Lost::NoRoom)) => self.metrics.will_refused.increment(),
            Err(Unknown) => {
                self.metrics.will_unknown.increment();
                return Err(Unknown);
            }
        }
        Ok(())
    }

    /// Decides and appends; what lapses in between is decided again.
    async fn append(
        &self,
        testament: &Testament,
        envelope: Envelope,
        session: &Session,
    ) -> Result<Result<(), Lost>, Unknown> {
        loop {
            let permit = match self.gate.may(session, Action::Publish, &testament.topic).await {
                Ok(permit) if permit.grant.holds() => permit,
                Ok(_) | Err(Denial::Unavailable) => {
                    sleep(RECHECK_PAUSE).await;
                    continue;
                }
                Err(Denial::NotAuthorized | Denial::InvalidTopic(_)) => return Ok(Err(Lost::Denied)),
            };
            let envelope = self.dated(testament, envelope.clone(), &permit);
            let Ok(entry) = NewEntry::seal(envelope, self.payload_bytes_max) else {
                return Ok(Err(Lost::NoRoom));
            };
            if let Err(lost) = self.has_room(&entry, &permit, &testament.topic).await? {
                return Ok(Err(lost));
            }
            // Looked at whenever there may be room, before that is taken; so it needs nobody to wake it.
            let lapsed = poll_fn(|_| match permit.grant.holds() {
                true => Poll::Pending,
                false => Poll::Ready(()),
            });
            let taken = tokio::select! {
                biased;
                () = lapsed => continue,
                taken = self.log.append(entry) => taken,
            };
            let appended = match taken {
                Ok(receipt) => receipt.await,
                Err(error) => Err(error),
            };
            return outcome_of(&appended);
        }
    }

    /// The message as it is published now.
    fn dated(&self, testament: &Testament, envelope: Envelope, permit: &Permit) -> Envelope {
        let received_at = self.clock.now_ns();
        let expires_at = testament.expires_after_s.map_or(0, |after_s| {
            received_at.saturating_add(i64::from(after_s) * 1_000_000_000).max(1)
        });
        Envelope {
            domain_id: envelope::id_bytes(permit.domain_id().as_bytes()),
            channel_id: envelope::id_bytes(permit.channel_id().as_bytes()),
            subtopic: permit.subtopic(&testament.topic).to_owned(),
            received_at,
            expires_at,
            ..envelope
        }
    }

    /// Whether the domain has room to retain the message, if that is asked for.
    async fn has_room(&self, entry: &NewEntry, permit: &Permit, topic: &str) -> Result<Result<(), Lost>, Unknown> {
        if !entry.envelope().retain {
            return Ok(Ok(()));
        }
        let slot = Slot::new(permit.domain_id(), permit.channel_id(), permit.subtopic(topic));
        self.retained.prepare(slot.domain_id()).await;
        match self.retained.admit(&slot, entry) {
            // Nobody keeps what is retained any more.
            Admission::Unknown => Err(Unknown),
            Admission::No => Ok(Err(Lost::NoRoom)),
            Admission::Yes => Ok(Ok(())),
        }
    }
}

fn outcome_of(appended: &Result<Appended, AppendError>) -> Result<Result<(), Lost>, Unknown> {
    match appended {
        Ok(_) => Ok(Ok(())),
        Err(AppendError::Full { .. } | AppendError::DiskLow { .. } | AppendError::TooLarge { .. }) => {
            Ok(Err(Lost::NoRoom))
        }
        Err(AppendError::Unanswered | AppendError::Closed) => Err(Unknown),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_will() -> impl Strategy<Value = Testament> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..60);
        ("[a-zé/]{0,20}", any::<u32>(), any::<Option<u32>>(), bytes).prop_map(|(topic, delay_s, after_s, bytes)| {
            Testament {
                topic: Utf8Bytes::try_from(topic).unwrap(),
                delay_s,
                expires_after_s: after_s,
                envelope: bytes.into(),
            }
        })
    }

    pub(crate) fn will_after(delay_s: u32) -> Testament {
        Testament {
            topic: Utf8Bytes::default(),
            delay_s,
            expires_after_s: None,
            envelope: Bytes::new(),
        }
    }

    pub(crate) fn large_will(topic_bytes: usize, envelope_bytes: usize) -> Testament {
        Testament {
            topic: Utf8Bytes::try_from("t".repeat(topic_bytes)).unwrap(),
            envelope: vec![7; envelope_bytes].into(),
            ..will_after(u32::MAX)
        }
    }
}

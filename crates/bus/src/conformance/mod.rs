//! What every backend must do, as suites over the traits. A backend's tests make a world and call the macros, which name the
//! cases.

pub mod live;
pub mod log;
pub mod state;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use trunkline_core::{ChannelId, ClientId, DomainId, MessageId};
use trunkline_proto::messages::v1::{Envelope, Protocol, Publisher, PublisherKind};

use crate::envelope::{NewEntry, PAYLOAD_BYTES_MAX, id_bytes};

/// Longest that a case waits for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for `future` until the deadline.
///
/// # Panics
/// When it has not come by then.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {DEADLINE:?}"),
    }
}

/// An entry of `domain` with `payload`.
///
/// # Panics
/// When the payload is over the limit.
pub fn entry(domain: DomainId, payload: impl Into<Bytes>) -> NewEntry {
    entry_with_id(MessageId::new(), domain, payload).unrepeated()
}

/// Like [`entry`], with a message id of the caller's.
///
/// # Panics
/// When the payload is over the limit.
pub fn entry_with_id(id: MessageId, domain: DomainId, payload: impl Into<Bytes>) -> NewEntry {
    let client = ClientId::new();
    let envelope = Envelope {
        id: id_bytes(id.as_bytes()),
        domain_id: id_bytes(domain.as_bytes()),
        channel_id: id_bytes(ChannelId::new().as_bytes()),
        publisher: Some(Publisher {
            kind: PublisherKind::Client.into(),
            id: id_bytes(client.as_bytes()),
            credential_id: Bytes::new(),
        }),
        device_id: id_bytes(client.as_bytes()),
        protocol: Protocol::Mqtt.into(),
        qos: 1,
        payload: payload.into(),
        ..Envelope::default()
    };
    NewEntry::seal(envelope, PAYLOAD_BYTES_MAX).expect("the entry is within limits")
}

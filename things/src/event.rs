//! What this service tells the others: one event with each change, stored in the same transaction.

use prost::Message as _;
use prost::bytes::Bytes;
use trunkline_core::{ClientId, DomainId, RequestId, Timestamp, UserId};
use trunkline_db::{Error, Tx, outbox};
use trunkline_proto::events::v1::Event;
use uuid::Uuid;

use crate::client::Client;
use crate::convert;

/// Version of the bodies' meaning.
const VERSION: u32 = 1;

/// What happened to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Update,
    Enable,
    Disable,
    Delete,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Create => "client.create",
            Self::Update => "client.update",
            Self::Enable => "client.enable",
            Self::Disable => "client.disable",
            Self::Delete => "client.delete",
        }
    }
}

/// Who brought a change about, in which request, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// The user; absent for the platform itself.
    pub(crate) actor: Option<UserId>,
    /// The request; absent for work that was left over.
    pub(crate) request_id: Option<RequestId>,
    /// When.
    pub(crate) time: Timestamp,
}

/// The client that something happened to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object {
    pub(crate) domain_id: DomainId,
    pub(crate) id: ClientId,
    pub(crate) revision: i64,
}

/// Stores that `kind` happened to `client`, with the client as body, but without its secret and its private metadata.
pub(crate) async fn append(tx: &mut Tx<'_>, kind: Kind, client: &Client, origin: Origin) -> Result<(), Error> {
    let object = Object {
        domain_id: client.domain_id,
        id: client.id,
        revision: client.revision,
    };
    store(tx, kind, object, convert::event_body(client).encode_to_vec(), origin).await
}

/// Stores that a client was deleted.
pub(crate) async fn append_delete(tx: &mut Tx<'_>, object: Object, origin: Origin) -> Result<(), Error> {
    store(tx, Kind::Delete, object, Vec::new(), origin).await
}

async fn store(tx: &mut Tx<'_>, kind: Kind, object: Object, body: Vec<u8>, origin: Origin) -> Result<(), Error> {
    let id = Uuid::now_v7();
    let event = Event {
        id: bytes(id),
        r#type: kind.name().to_owned(),
        version: VERSION,
        domain_id: bytes(object.domain_id.uuid()),
        object_id: bytes(object.id.uuid()),
        revision: object.revision.unsigned_abs(),
        actor_id: origin.actor.map(|actor| bytes(actor.uuid())).unwrap_or_default(),
        request_id: origin.request_id.map(|id| id.to_string()).unwrap_or_default(),
        time: Some(convert::time(origin.time)),
        body: body.into(),
    };
    outbox::append(tx, id, &event.encode_to_vec(), origin.time).await
}

fn bytes(id: Uuid) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

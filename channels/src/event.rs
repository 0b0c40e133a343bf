//! What this service tells the others: one event with each change, stored in the same transaction.

use prost::Message as _;
use prost::bytes::Bytes;
use trunkline_core::{ChannelId, DomainId, RequestId, Timestamp, UserId};
use trunkline_db::{Error, Tx, outbox};
use trunkline_proto::events::v1::Event;
use uuid::Uuid;

use crate::channel::Channel;
use crate::connection::Connections;
use crate::convert;

/// Version of the bodies' meaning.
const VERSION: u32 = 1;

/// What happened to a channel, or to the connections of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Create,
    Update,
    Enable,
    Disable,
    Delete,
    Connect,
    Disconnect,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Create => "channel.create",
            Self::Update => "channel.update",
            Self::Enable => "channel.enable",
            Self::Disable => "channel.disable",
            Self::Delete => "channel.delete",
            Self::Connect => "connection.create",
            Self::Disconnect => "connection.delete",
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

/// The channel that something happened to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object {
    pub(crate) domain_id: DomainId,
    pub(crate) id: ChannelId,
    pub(crate) revision: i64,
}

/// Stores that `kind` happened to `channel`, with the channel as body.
pub(crate) async fn append(tx: &mut Tx<'_>, kind: Kind, channel: &Channel, origin: Origin) -> Result<(), Error> {
    let object = Object {
        domain_id: channel.domain_id,
        id: channel.id,
        revision: channel.revision,
    };
    store(tx, kind, object, convert::channel(channel).encode_to_vec(), origin).await
}

/// Stores that a channel was deleted.
pub(crate) async fn append_delete(tx: &mut Tx<'_>, object: Object, origin: Origin) -> Result<(), Error> {
    store(tx, Kind::Delete, object, Vec::new(), origin).await
}

/// Stores that clients were connected to a channel or disconnected from it. The body is a `ConnectClientsRequest`, with what holds,
/// or no longer holds, from now on; part of it may have been so before.
pub(crate) async fn append_connections(
    tx: &mut Tx<'_>,
    kind: Kind,
    object: Object,
    connections: &Connections,
    origin: Origin,
) -> Result<(), Error> {
    let body = convert::connections(connections, object.id).encode_to_vec();
    store(tx, kind, object, body, origin).await
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

//! What a registry tells the others: one event with each change, stored in the same transaction.

use prost::Message as _;
use prost::bytes::Bytes;
use trunkline_core::{DomainId, Id, RequestId, Timestamp, UserId};
use trunkline_db::{Error, Tx, outbox};
use trunkline_proto::events::v1::Event;
use trunkline_rpc::UserCaller;
use uuid::Uuid;

use crate::object::Object;
use crate::wire;

/// Version of the bodies' meaning.
const VERSION: u32 = 1;

/// What happens to every object. The event is called by the object's noun and this, such as `client.create`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was created.
    Create,
    /// Its attributes were changed.
    Update,
    /// It was enabled.
    Enable,
    /// It was disabled.
    Disable,
    /// It was deleted.
    Delete,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Delete => "delete",
        }
    }
}

/// Who brought a change about, in which request, and when.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The user; absent for the platform itself.
    pub actor: Option<UserId>,
    /// The request; absent for work that was left over.
    pub request_id: Option<RequestId>,
    /// When.
    pub time: Timestamp,
}

impl Origin {
    /// A change that `caller` brings about at `time`.
    pub const fn of(caller: &UserCaller, time: Timestamp) -> Self {
        Self {
            actor: Some(caller.id),
            request_id: Some(caller.request_id),
            time,
        }
    }
}

/// Where an object is, and which of its revisions is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<I> {
    /// Its domain.
    pub domain_id: DomainId,
    /// Its id.
    pub id: I,
    /// The number of its changes, from 1.
    pub revision: i64,
}

/// Stores that `kind` happened to `object`.
///
/// # Errors
/// Those of the database.
pub async fn append<O: Object>(tx: &mut Tx<'_>, kind: Kind, object: &O, origin: Origin) -> Result<(), Error> {
    append_named(tx, &name::<O>(kind), object.base().place(), object.event_body(), origin).await
}

/// Stores that the object at `place` was deleted.
pub(crate) async fn append_delete<O: Object>(
    tx: &mut Tx<'_>,
    place: Place<O::Id>,
    origin: Origin,
) -> Result<(), Error> {
    append_named(tx, &name::<O>(Kind::Delete), place, Vec::new(), origin).await
}

/// Stores an event of any name about the object at `place`.
///
/// # Errors
/// Those of the database.
pub async fn append_named<I: Id>(
    tx: &mut Tx<'_>,
    name: &str,
    place: Place<I>,
    body: Vec<u8>,
    origin: Origin,
) -> Result<(), Error> {
    let id = Uuid::now_v7();
    let event = Event {
        id: bytes(id),
        r#type: name.to_owned(),
        version: VERSION,
        domain_id: bytes(place.domain_id.uuid()),
        object_id: bytes(place.id.uuid()),
        revision: place.revision.unsigned_abs(),
        actor_id: origin.actor.map(|actor| bytes(actor.uuid())).unwrap_or_default(),
        request_id: origin.request_id.map(|id| id.to_string()).unwrap_or_default(),
        time: Some(wire::time(origin.time)),
        body: body.into(),
    };
    outbox::append(tx, id, &event.encode_to_vec(), origin.time).await
}

fn name<O: Object>(kind: Kind) -> String {
    format!("{}.{}", O::NOUN, kind.as_str())
}

fn bytes(id: Uuid) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

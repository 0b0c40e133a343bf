//! What this service tells the others of connections, in the transaction that changes them.

use trunkline_core::ChannelId;
use trunkline_db::{Error, Tx};
use trunkline_registry::{Origin, Place, event};

use crate::connection::Connections;
use crate::convert;

/// Clients were connected to a channel.
pub(crate) const CONNECT: &str = "connection.create";
/// Clients were disconnected from a channel.
pub(crate) const DISCONNECT: &str = "connection.delete";

/// Stores that clients were connected to the channel at `place` or disconnected from it, as `name` says. The body is a
/// `ConnectClientsRequest`, with what holds, or no longer holds, from now on; part of it may have been so before.
pub(crate) async fn append(
    tx: &mut Tx<'_>,
    name: &str,
    place: Place<ChannelId>,
    connections: &Connections,
    origin: Origin,
) -> Result<(), Error> {
    let body = convert::connections(connections, place.id);
    event::append_named(tx, name, place, body, origin).await
}

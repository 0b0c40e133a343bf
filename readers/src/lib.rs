//! Readers: stored messages, by channel, in pages.
//!
//! Owns: the contract `trunkline.messages.v1.MessagesService`, what its requests mean and how a stored record looks outside. Does not
//! own: the rows (`trunkline-store`), or who may read them (the guard, from the contract's rule).
//!
//! - **Invariant:** nothing stored is invisible: without a filter a channel's pages have every record of it, decoded or not.
//! - **Invariant:** an unset filter narrows nothing; no range of time is invented.

mod convert;
mod error;
mod rpc;

use std::sync::Arc;

use trunkline_proto::guard::Guard;
use trunkline_proto::guards::messages_service::Guarded;
use trunkline_proto::messages::v1::messages_service_server::MessagesServiceServer;
use trunkline_store::MessageStore;

pub use error::Error;
pub use rpc::Readers;

/// The service on `store`, with `guard` in front of it.
pub fn mount(store: Arc<dyn MessageStore>, guard: Arc<dyn Guard>) -> MessagesServiceServer<Guarded<Readers>> {
    MessagesServiceServer::new(Guarded::new(Arc::new(Readers::new(store)), guard))
}

//! The service of the contract: decode, read, encode.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use tracing::error;
use trunkline_core::Fault;
use trunkline_proto::messages::v1::messages_service_server::MessagesService;
use trunkline_proto::messages::v1::{ReadMessagesRequest, ReadMessagesResponse};
use trunkline_rpc::caller::request_id;
use trunkline_rpc::status::from_fault;
use trunkline_store::MessageStore;

use crate::{Error, convert};

/// Answers from a message store.
pub struct Readers {
    store: Arc<dyn MessageStore>,
}

impl Readers {
    /// The service without its guard.
    pub fn new(store: Arc<dyn MessageStore>) -> Readers {
        Readers { store }
    }
}

#[tonic::async_trait]
impl MessagesService for Readers {
    async fn read_messages(
        &self,
        request: Request<ReadMessagesRequest>,
    ) -> Result<Response<ReadMessagesResponse>, Status> {
        let query = convert::query(request.get_ref()).map_err(|error| from_fault(error.into()))?;
        let page = self.store.read(&query).await.map_err(|error| {
            let request_id = request_id(request.extensions());
            error!(%request_id, error = &error as &dyn std::error::Error, "could not read messages");
            from_fault(Fault::from(Error::Store(error)))
        })?;
        Ok(Response::new(convert::response(&query, page)))
    }
}

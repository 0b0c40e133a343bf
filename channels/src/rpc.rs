//! The contract's methods: decode, call, encode.

use std::error::Error as _;
use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};
use trunkline_core::{Code, RequestId};
use trunkline_proto::channels::v1::channels_service_server::ChannelsService;
use trunkline_proto::channels::v1::{
    AuthorizeRequest, AuthorizeResponse, Channel, ConnectClientsRequest, ConnectClientsResponse, ConnectRequest,
    ConnectResponse, CreateChannelRequest, DeleteChannelRequest, DeleteChannelResponse, DisableChannelRequest,
    DisconnectClientsRequest, DisconnectClientsResponse, DisconnectRequest, DisconnectResponse, EnableChannelRequest,
    GetChannelRequest, ListChannelsRequest, ListChannelsResponse, UpdateChannelRequest,
};
use trunkline_rpc::{caller, status};

use crate::channel;
use crate::convert;
use crate::error::Error;
use crate::service::Service;

/// The service behind its contract.
pub(crate) struct Rpc(pub(crate) Arc<Service>);

#[async_trait]
impl ChannelsService for Rpc {
    async fn create_channel(&self, request: Request<CreateChannelRequest>) -> Result<Response<Channel>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let new = convert::new_channel(request)?;
            let channel = self.0.create(&caller, &new).await?;
            Ok(convert::channel(&channel))
        };
        answer(caller.request_id, done.await)
    }

    async fn get_channel(&self, request: Request<GetChannelRequest>) -> Result<Response<Channel>, Status> {
        let (request_id, request) = (caller::request_id(request.extensions()), request.into_inner());
        let done = async {
            let (domain_id, id) = convert::ids(&request.domain_id, &request.id)?;
            Ok(convert::channel(&self.0.get(domain_id, id).await?))
        };
        answer(request_id, done.await)
    }

    async fn list_channels(
        &self,
        request: Request<ListChannelsRequest>,
    ) -> Result<Response<ListChannelsResponse>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let list = convert::list(&request)?;
            let (total, channels) = self.0.list(&caller, &list).await?;
            Ok(convert::page(&list, total, &channels))
        };
        answer(caller.request_id, done.await)
    }

    async fn update_channel(&self, request: Request<UpdateChannelRequest>) -> Result<Response<Channel>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let (domain_id, id) = convert::ids(&request.domain_id, &request.id)?;
            let changes = convert::changes(request.channel, request.update_mask)?;
            Ok(convert::channel(
                &self.0.update(&caller, domain_id, id, &changes).await?,
            ))
        };
        answer(caller.request_id, done.await)
    }

    async fn enable_channel(&self, request: Request<EnableChannelRequest>) -> Result<Response<Channel>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let (domain_id, id) = convert::ids(&request.domain_id, &request.id)?;
            let channel = self
                .0
                .set_status(&caller, domain_id, id, channel::Status::Enabled)
                .await?;
            Ok(convert::channel(&channel))
        };
        answer(caller.request_id, done.await)
    }

    async fn disable_channel(&self, request: Request<DisableChannelRequest>) -> Result<Response<Channel>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let (domain_id, id) = convert::ids(&request.domain_id, &request.id)?;
            let channel = self
                .0
                .set_status(&caller, domain_id, id, channel::Status::Disabled)
                .await?;
            Ok(convert::channel(&channel))
        };
        answer(caller.request_id, done.await)
    }

    async fn delete_channel(
        &self,
        request: Request<DeleteChannelRequest>,
    ) -> Result<Response<DeleteChannelResponse>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let (domain_id, id) = convert::ids(&request.domain_id, &request.id)?;
            self.0.delete(&caller, domain_id, id).await?;
            Ok(DeleteChannelResponse {})
        };
        answer(caller.request_id, done.await)
    }

    async fn connect(&self, request: Request<ConnectRequest>) -> Result<Response<ConnectResponse>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let ends = convert::ends(
                &request.domain_id,
                &request.channel_ids,
                &request.client_ids,
                &request.types,
            )?;
            self.0.connect(&caller, &ends).await?;
            Ok(ConnectResponse {})
        };
        answer(caller.request_id, done.await)
    }

    async fn disconnect(&self, request: Request<DisconnectRequest>) -> Result<Response<DisconnectResponse>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let ends = convert::ends(
                &request.domain_id,
                &request.channel_ids,
                &request.client_ids,
                &request.types,
            )?;
            self.0.disconnect(&caller, &ends).await?;
            Ok(DisconnectResponse {})
        };
        answer(caller.request_id, done.await)
    }

    async fn connect_clients(
        &self,
        request: Request<ConnectClientsRequest>,
    ) -> Result<Response<ConnectClientsResponse>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let ends = convert::ends_of_one(&request.domain_id, &request.id, &request.client_ids, &request.types)?;
            self.0.connect(&caller, &ends).await?;
            Ok(ConnectClientsResponse {})
        };
        answer(caller.request_id, done.await)
    }

    async fn disconnect_clients(
        &self,
        request: Request<DisconnectClientsRequest>,
    ) -> Result<Response<DisconnectClientsResponse>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let ends = convert::ends_of_one(&request.domain_id, &request.id, &request.client_ids, &request.types)?;
            self.0.disconnect(&caller, &ends).await?;
            Ok(DisconnectClientsResponse {})
        };
        answer(caller.request_id, done.await)
    }

    async fn authorize(&self, request: Request<AuthorizeRequest>) -> Result<Response<AuthorizeResponse>, Status> {
        let (request_id, request) = (caller::request_id(request.extensions()), request.into_inner());
        let done = async {
            let question = convert::question(&request)?.ok_or_else(Error::not_connected)?;
            Ok(convert::reachable(&self.0.authorize(&question, request_id).await?))
        };
        answer(request_id, done.await)
    }
}

/// Tells the outcome.
fn answer<T>(request_id: RequestId, outcome: Result<T, Error>) -> Result<Response<T>, Status> {
    outcome.map(Response::new).map_err(|error| refuse(request_id, &error))
}

/// The status of an error. A failure of our own is logged here, once; of a defect the caller learns the request's id alone.
fn refuse(request_id: RequestId, error: &Error) -> Status {
    let fault = error.fault();
    if matches!(error, Error::Refused(_)) {
        return status::from_fault(fault);
    }
    let cause = error.source().map(tracing::field::display);
    if fault.code == Code::Internal {
        tracing::error!(request.id = %request_id, %error, cause, "a call failed");
        return status::internal(&request_id.to_string());
    }
    tracing::warn!(request.id = %request_id, %error, cause, "a call failed for now");
    status::from_fault(fault)
}

//! The contract's methods: decode, call, encode.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};
use trunkline_proto::channels::v1::channels_service_server::ChannelsService;
use trunkline_proto::channels::v1::{
    AuthorizeRequest, AuthorizeResponse, Channel, ConnectClientsRequest, ConnectClientsResponse, ConnectRequest,
    ConnectResponse, CreateChannelRequest, DeleteChannelRequest, DeleteChannelResponse, DisableChannelRequest,
    DisconnectClientsRequest, DisconnectClientsResponse, DisconnectRequest, DisconnectResponse, EnableChannelRequest,
    GetChannelRequest, ListChannelsRequest, ListChannelsResponse, UpdateChannelRequest,
};
use trunkline_registry::{Status as Standing, answer};
use trunkline_rpc::caller;

use crate::convert;
use crate::error::not_connected;
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
            Ok(convert::channel(&self.0.channels.get(domain_id, id).await?))
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
            let (total, channels) = self.0.channels.list(&caller, &list).await?;
            Ok(convert::page(&list, total, &channels))
        };
        answer(caller.request_id, done.await)
    }

    async fn update_channel(&self, request: Request<UpdateChannelRequest>) -> Result<Response<Channel>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let (domain_id, id) = convert::ids(&request.domain_id, &request.id)?;
            let changes = convert::changes(request.channel, request.update_mask)?;
            let changed = self
                .0
                .channels
                .update(&caller, domain_id, id, |channel| changes.apply(channel));
            Ok(convert::channel(&changed.await?))
        };
        answer(caller.request_id, done.await)
    }

    async fn enable_channel(&self, request: Request<EnableChannelRequest>) -> Result<Response<Channel>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let (domain_id, id) = convert::ids(&request.domain_id, &request.id)?;
            let channel = self
                .0
                .channels
                .set_status(&caller, domain_id, id, Standing::Enabled)
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
                .channels
                .set_status(&caller, domain_id, id, Standing::Disabled)
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
            self.0.channels.delete(&caller, domain_id, id).await?;
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
            let question = convert::question(&request)?.ok_or_else(not_connected)?;
            Ok(convert::reachable(&self.0.authorize(&question, request_id).await?))
        };
        answer(request_id, done.await)
    }
}

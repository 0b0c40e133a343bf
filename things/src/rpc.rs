//! The contract's methods: decode, call, encode.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};
use trunkline_proto::clients::v1::clients_service_server::ClientsService;
use trunkline_proto::clients::v1::{
    AuthenticateRequest, AuthenticateResponse, Client, CreateClientRequest, DeleteClientRequest, DeleteClientResponse,
    DisableClientRequest, EnableClientRequest, GetClientRequest, IdentifyRequest, IdentifyResponse, ListClientsRequest,
    ListClientsResponse, UpdateClientRequest,
};
use trunkline_registry::{Status as Standing, answer, wire};
use trunkline_rpc::caller;

use crate::convert;
use crate::service::Service;

/// The service behind its contract.
pub(crate) struct Rpc(pub(crate) Arc<Service>);

#[async_trait]
impl ClientsService for Rpc {
    async fn create_client(&self, request: Request<CreateClientRequest>) -> Result<Response<Client>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let new = convert::new_client(request)?;
            let client = self.0.create(&caller, &new).await?;
            Ok(convert::created(&client, &new.secret))
        };
        answer(caller.request_id, done.await)
    }

    async fn get_client(&self, request: Request<GetClientRequest>) -> Result<Response<Client>, Status> {
        let (request_id, request) = (caller::request_id(request.extensions()), request.into_inner());
        let done = async {
            let (domain_id, id) = convert::ids(&request.domain_id, &request.id)?;
            Ok(convert::client(&self.0.clients.get(domain_id, id).await?))
        };
        answer(request_id, done.await)
    }

    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Result<Response<ListClientsResponse>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let list = convert::list(&request)?;
            let (total, clients) = self.0.clients.list(&caller, &list).await?;
            Ok(convert::page(&list, total, &clients))
        };
        answer(caller.request_id, done.await)
    }

    async fn update_client(&self, request: Request<UpdateClientRequest>) -> Result<Response<Client>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let (domain_id, id) = convert::ids(&request.domain_id, &request.id)?;
            let changes = convert::changes(request.client, request.update_mask)?;
            let changed = self
                .0
                .clients
                .update(&caller, domain_id, id, |client| changes.apply(client));
            Ok(convert::client(&changed.await?))
        };
        answer(caller.request_id, done.await)
    }

    async fn enable_client(&self, request: Request<EnableClientRequest>) -> Result<Response<Client>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let (domain_id, id) = convert::ids(&request.domain_id, &request.id)?;
            let client = self
                .0
                .clients
                .set_status(&caller, domain_id, id, Standing::Enabled)
                .await?;
            Ok(convert::client(&client))
        };
        answer(caller.request_id, done.await)
    }

    async fn disable_client(&self, request: Request<DisableClientRequest>) -> Result<Response<Client>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let (domain_id, id) = convert::ids(&request.domain_id, &request.id)?;
            let client = self
                .0
                .clients
                .set_status(&caller, domain_id, id, Standing::Disabled)
                .await?;
            Ok(convert::client(&client))
        };
        answer(caller.request_id, done.await)
    }

    async fn delete_client(
        &self,
        request: Request<DeleteClientRequest>,
    ) -> Result<Response<DeleteClientResponse>, Status> {
        let (caller, request) = (caller::user(&request)?, request.into_inner());
        let done = async {
            let (domain_id, id) = convert::ids(&request.domain_id, &request.id)?;
            self.0.clients.delete(&caller, domain_id, id).await?;
            Ok(DeleteClientResponse {})
        };
        answer(caller.request_id, done.await)
    }

    async fn identify(&self, request: Request<IdentifyRequest>) -> Result<Response<IdentifyResponse>, Status> {
        let (request_id, request) = (caller::request_id(request.extensions()), request.into_inner());
        let done = async {
            let client_id = wire::id("client_id", &request.client_id)?;
            let domain_id = self.0.identify(client_id, request_id).await?;
            Ok(IdentifyResponse {
                domain_id: domain_id.to_string(),
            })
        };
        answer(request_id, done.await)
    }

    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        let (request_id, request) = (caller::request_id(request.extensions()), request.into_inner());
        let done = async {
            let claim = convert::claim(request, request_id)?;
            Ok(convert::proven(&self.0.authenticate(&claim).await?))
        };
        answer(request_id, done.await)
    }
}

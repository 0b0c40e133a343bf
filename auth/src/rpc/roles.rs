//! `trunkline.auth.v1.RolesService`.

use tonic::{Request, Response, Status};
use trunkline_core::{DomainId, RoleId};
use trunkline_proto::auth::v1::roles_service_server::RolesService;
use trunkline_proto::auth::v1::{
    CreateChannelRoleRequest, CreateClientRoleRequest, CreateDomainRoleRequest, DeleteChannelRoleRequest,
    DeleteClientRoleRequest, DeleteDomainRoleRequest, DeleteRoleResponse, Role,
};
use trunkline_proto::guard::Entity;
use trunkline_rpc::{UserCaller, caller};

use super::{failed, refused};
use crate::convert;
use crate::domain::NewRole;
use crate::error::Error;
use crate::service::Service;
use crate::service::roles::Target;

#[tonic::async_trait]
impl RolesService for Service {
    async fn create_domain_role(&self, request: Request<CreateDomainRoleRequest>) -> Result<Response<Role>, Status> {
        let (failed, caller, asked) = (failed(&request), caller::user(&request)?, request.into_inner());
        let target = target(Entity::Domain, &asked.domain_id, ("domain_id", &asked.domain_id))?;
        let role =
            convert::new_role(&asked.role_name, asked.optional_actions, &asked.optional_members).map_err(refused)?;
        self.created(&caller, target, role).await.map_err(failed)
    }

    async fn create_client_role(&self, request: Request<CreateClientRoleRequest>) -> Result<Response<Role>, Status> {
        let (failed, caller, asked) = (failed(&request), caller::user(&request)?, request.into_inner());
        let target = target(Entity::Client, &asked.domain_id, ("client_id", &asked.client_id))?;
        let role =
            convert::new_role(&asked.role_name, asked.optional_actions, &asked.optional_members).map_err(refused)?;
        self.created(&caller, target, role).await.map_err(failed)
    }

    async fn create_channel_role(&self, request: Request<CreateChannelRoleRequest>) -> Result<Response<Role>, Status> {
        let (failed, caller, asked) = (failed(&request), caller::user(&request)?, request.into_inner());
        let target = target(Entity::Channel, &asked.domain_id, ("channel_id", &asked.channel_id))?;
        let role =
            convert::new_role(&asked.role_name, asked.optional_actions, &asked.optional_members).map_err(refused)?;
        self.created(&caller, target, role).await.map_err(failed)
    }

    async fn delete_domain_role(
        &self,
        request: Request<DeleteDomainRoleRequest>,
    ) -> Result<Response<DeleteRoleResponse>, Status> {
        let (failed, asked) = (failed(&request), request.into_inner());
        let target = target(Entity::Domain, &asked.domain_id, ("domain_id", &asked.domain_id))?;
        self.deleted(target, &asked.role_id, failed).await
    }

    async fn delete_client_role(
        &self,
        request: Request<DeleteClientRoleRequest>,
    ) -> Result<Response<DeleteRoleResponse>, Status> {
        let (failed, asked) = (failed(&request), request.into_inner());
        let target = target(Entity::Client, &asked.domain_id, ("client_id", &asked.client_id))?;
        self.deleted(target, &asked.role_id, failed).await
    }

    async fn delete_channel_role(
        &self,
        request: Request<DeleteChannelRoleRequest>,
    ) -> Result<Response<DeleteRoleResponse>, Status> {
        let (failed, asked) = (failed(&request), request.into_inner());
        let target = target(Entity::Channel, &asked.domain_id, ("channel_id", &asked.channel_id))?;
        self.deleted(target, &asked.role_id, failed).await
    }
}

impl Service {
    async fn created(&self, caller: &UserCaller, target: Target, role: NewRole) -> Result<Response<Role>, Error> {
        let created = self.create_role(caller, target, role).await?;
        Ok(Response::new(convert::role(created)))
    }

    async fn deleted(
        &self,
        target: Target,
        role_id: &str,
        failed: impl Fn(Error) -> Status,
    ) -> Result<Response<DeleteRoleResponse>, Status> {
        let id = convert::id("role_id", role_id)
            .map(RoleId::from_uuid)
            .map_err(refused)?;
        self.delete_role(target, id).await.map_err(failed)?;
        Ok(Response::new(DeleteRoleResponse {}))
    }
}

fn target(entity: Entity, domain_id: &str, (field, id): (&str, &str)) -> Result<Target, Status> {
    let domain_id = convert::id("domain_id", domain_id)
        .map(DomainId::from_uuid)
        .map_err(refused)?;
    Ok(Target {
        entity,
        domain_id,
        id: convert::id(field, id).map_err(refused)?,
    })
}

//! `trunkline.auth.v1.AuthService`: what the platform's own processes ask.

use tonic::{Request, Response, Status};
use trunkline_core::DomainId;
use trunkline_core::error::{Code, Fault, reason};
use trunkline_proto::auth::v1::auth_service_server::AuthService;
use trunkline_proto::auth::v1::{
    AuthenticateRequest, AuthorizeRequest, CheckObjectsRequest, CheckObjectsResponse, ExpandRequest, ExpandResponse,
    Principal, RegisterRequest, RegisterResponse, ResolveDomainRequest, ResolveDomainResponse, SetParentRequest,
    SetParentResponse, SetStatusRequest, SetStatusResponse, UnregisterRequest, UnregisterResponse,
};
use trunkline_rpc::Credentials;

use super::{failed, refused};
use crate::convert;
use crate::decider::entity_of;
use crate::evaluate::Subject;
use crate::service::Service;
use crate::service::objects::NewObject;

#[tonic::async_trait]
impl AuthService for Service {
    async fn authenticate(&self, request: Request<AuthenticateRequest>) -> Result<Response<Principal>, Status> {
        let subject = self.subject(&request, request.get_ref().unverified).await?;
        self.decider
            .principal(subject)
            .await
            .map(Response::new)
            .map_err(failed(&request))
    }

    async fn authorize(&self, request: Request<AuthorizeRequest>) -> Result<Response<Principal>, Status> {
        let subject = self.subject(&request, request.get_ref().unverified).await?;
        self.decider
            .check(subject, &request.get_ref().checks)
            .await
            .map_err(failed(&request))?;
        self.decider
            .principal(subject)
            .await
            .map(Response::new)
            .map_err(failed(&request))
    }

    async fn expand(&self, request: Request<ExpandRequest>) -> Result<Response<ExpandResponse>, Status> {
        let subject = self.subject(&request, false).await?;
        let asked = request.get_ref();
        let domain = domain_id(&asked.domain_id)?;
        let entity = entity_of(asked.entity).map_err(failed(&request))?;
        let found = self
            .decider
            .expand(subject, entity, &asked.action, domain)
            .await
            .map_err(failed(&request))?;
        Ok(Response::new(ExpandResponse {
            all: found.all,
            group_ids: found.groups.iter().map(ToString::to_string).collect(),
            object_ids: found.objects.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        let subject = self.subject(&request, false).await?;
        let asked = request.get_ref();
        let new = NewObject {
            entity: entity_of(asked.entity).map_err(failed(&request))?,
            id: convert::id("id", &asked.id).map_err(refused)?,
            domain_id: domain_id(&asked.domain_id)?,
            parent: convert::optional_id("parent_id", &asked.parent_id).map_err(refused)?,
        };
        let revision = Self::register(self, subject.user, new)
            .await
            .map_err(failed(&request))?;
        Ok(Response::new(RegisterResponse { revision }))
    }

    async fn unregister(&self, request: Request<UnregisterRequest>) -> Result<Response<UnregisterResponse>, Status> {
        let asked = request.get_ref();
        let id = convert::id("id", &asked.id).map_err(refused)?;
        let entity = entity_of(asked.entity).map_err(failed(&request))?;
        let domain = domain_id(&asked.domain_id)?;
        let revision = Self::unregister(self, entity, domain, id)
            .await
            .map_err(failed(&request))?;
        Ok(Response::new(UnregisterResponse { revision }))
    }

    async fn set_parent(&self, request: Request<SetParentRequest>) -> Result<Response<SetParentResponse>, Status> {
        let asked = request.get_ref();
        let id = convert::id("id", &asked.id).map_err(refused)?;
        let parent = convert::optional_id("parent_id", &asked.parent_id).map_err(refused)?;
        let domain = domain_id(&asked.domain_id)?;
        let entity = entity_of(asked.entity).map_err(failed(&request))?;
        let revision = Self::set_parent(self, entity, domain, id, parent)
            .await
            .map_err(failed(&request))?;
        Ok(Response::new(SetParentResponse { revision }))
    }

    async fn set_status(&self, request: Request<SetStatusRequest>) -> Result<Response<SetStatusResponse>, Status> {
        let asked = request.get_ref();
        let id = convert::id("id", &asked.id).map_err(refused)?;
        let domain = domain_id(&asked.domain_id)?;
        let entity = entity_of(asked.entity).map_err(failed(&request))?;
        let revision = Self::set_status(self, entity, domain, id, asked.enabled)
            .await
            .map_err(failed(&request))?;
        Ok(Response::new(SetStatusResponse { revision }))
    }

    async fn resolve_domain(
        &self,
        request: Request<ResolveDomainRequest>,
    ) -> Result<Response<ResolveDomainResponse>, Status> {
        let found = Self::resolve_domain(self, &request.get_ref().domain)
            .await
            .map_err(failed(&request))?;
        Ok(Response::new(ResolveDomainResponse {
            domain_id: found.to_string(),
        }))
    }

    async fn check_objects(
        &self,
        request: Request<CheckObjectsRequest>,
    ) -> Result<Response<CheckObjectsResponse>, Status> {
        let asked = request.get_ref();
        let domain = domain_id(&asked.domain_id)?;
        let objects: Result<Vec<_>, _> = asked.objects.iter().map(|id| convert::id("objects", id)).collect();
        let objects = objects.map_err(refused)?;
        self.decider
            .require_enabled(domain, &objects)
            .await
            .map_err(failed(&request))?;
        Ok(Response::new(CheckObjectsResponse {}))
    }
}

impl Service {
    /// The user on whose behalf a process calls: his token came along and is checked again.
    async fn subject<T>(&self, request: &Request<T>, unverified: bool) -> Result<Subject, Status> {
        let Some(Credentials::Bearer(token)) = request.extensions().get::<Credentials>() else {
            let message = "the call came without a user's token";
            return Err(refused(Fault::new(
                Code::Unauthenticated,
                reason::CREDENTIALS_MISSING,
                message,
            )));
        };
        self.decider
            .authenticate(token.expose(), unverified)
            .await
            .map_err(failed(request))
    }
}

fn domain_id(text: &str) -> Result<DomainId, Status> {
    convert::id("domain_id", text).map(DomainId::from_uuid).map_err(refused)
}

//! `trunkline.domains.v1.DomainsService`.

use tonic::{Request, Response, Status};
use trunkline_core::DomainId;
use trunkline_proto::domains::v1::domains_service_server::DomainsService;
use trunkline_proto::domains::v1::{
    CreateDomainRequest, DisableDomainRequest, DisableDomainResponse, Domain, EnableDomainRequest,
    EnableDomainResponse, GetDomainRequest, ListDomainsRequest, ListDomainsResponse,
};
use trunkline_rpc::caller;

use super::{failed, refused};
use crate::convert;
use crate::service::Service;

#[tonic::async_trait]
impl DomainsService for Service {
    async fn create_domain(&self, request: Request<CreateDomainRequest>) -> Result<Response<Domain>, Status> {
        let (failed, caller) = (failed(&request), caller::user(&request)?);
        let new = convert::new_domain(request.into_inner().domain).map_err(refused)?;
        let domain = Self::create_domain(self, &caller, new).await.map_err(failed)?;
        Ok(Response::new(convert::domain(domain)))
    }

    async fn get_domain(&self, request: Request<GetDomainRequest>) -> Result<Response<Domain>, Status> {
        let id = domain_id(&request.get_ref().domain_id)?;
        let domain = self.domain(id).await.map_err(failed(&request))?;
        Ok(Response::new(convert::domain(domain)))
    }

    async fn list_domains(
        &self,
        request: Request<ListDomainsRequest>,
    ) -> Result<Response<ListDomainsResponse>, Status> {
        let caller = caller::user(&request)?;
        let (filter, page) = convert::domain_list(request.get_ref()).map_err(refused)?;
        let (total, found) = self.domains(&caller, filter, page).await.map_err(failed(&request))?;
        Ok(Response::new(ListDomainsResponse {
            total: total.count,
            offset: page.offset(),
            limit: page.limit(),
            domains: found.into_iter().map(convert::domain).collect(),
        }))
    }

    async fn enable_domain(
        &self,
        request: Request<EnableDomainRequest>,
    ) -> Result<Response<EnableDomainResponse>, Status> {
        let caller = caller::user(&request)?;
        let id = domain_id(&request.get_ref().domain_id)?;
        Self::enable_domain(self, &caller, id).await.map_err(failed(&request))?;
        Ok(Response::new(EnableDomainResponse {}))
    }

    async fn disable_domain(
        &self,
        request: Request<DisableDomainRequest>,
    ) -> Result<Response<DisableDomainResponse>, Status> {
        let caller = caller::user(&request)?;
        let id = domain_id(&request.get_ref().domain_id)?;
        Self::disable_domain(self, &caller, id)
            .await
            .map_err(failed(&request))?;
        Ok(Response::new(DisableDomainResponse {}))
    }
}

fn domain_id(text: &str) -> Result<DomainId, Status> {
    convert::id("domain_id", text).map(DomainId::from_uuid).map_err(refused)
}

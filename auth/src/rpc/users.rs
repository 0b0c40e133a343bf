//! `trunkline.users.v1.UsersService`.

use tonic::{Request, Response, Status};
use trunkline_core::UserId;
use trunkline_proto::users::v1::users_service_server::UsersService;
use trunkline_proto::users::v1::{
    CreateUserRequest, DisableUserRequest, EnableUserRequest, GetProfileRequest, IssueTokenRequest, Token, User,
};
use trunkline_rpc::caller;

use super::{failed, refused};
use crate::convert;
use crate::service::Service;

#[tonic::async_trait]
impl UsersService for Service {
    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<User>, Status> {
        let (failed, caller) = (failed(&request), caller::user(&request)?);
        let new = convert::new_user(request.into_inner().user).map_err(refused)?;
        let user = Self::create_user(self, &caller, new).await.map_err(failed)?;
        Ok(Response::new(convert::user(user)))
    }

    async fn get_profile(&self, request: Request<GetProfileRequest>) -> Result<Response<User>, Status> {
        let caller = caller::user(&request)?;
        let user = self.profile(&caller).await.map_err(failed(&request))?;
        Ok(Response::new(convert::user(user)))
    }

    async fn enable_user(&self, request: Request<EnableUserRequest>) -> Result<Response<User>, Status> {
        let caller = caller::user(&request)?;
        let id = convert::id("id", &request.get_ref().id).map_err(refused)?;
        let user = Self::enable_user(self, &caller, UserId::from_uuid(id))
            .await
            .map_err(failed(&request))?;
        Ok(Response::new(convert::user(user)))
    }

    async fn disable_user(&self, request: Request<DisableUserRequest>) -> Result<Response<User>, Status> {
        let caller = caller::user(&request)?;
        let id = convert::id("id", &request.get_ref().id).map_err(refused)?;
        let user = Self::disable_user(self, &caller, UserId::from_uuid(id))
            .await
            .map_err(failed(&request))?;
        Ok(Response::new(convert::user(user)))
    }

    async fn issue_token(&self, request: Request<IssueTokenRequest>) -> Result<Response<Token>, Status> {
        let failed = failed(&request);
        let login = request.into_inner();
        let token = Self::issue_token(self, &login.username, login.password)
            .await
            .map_err(failed)?;
        let access_token = token.expose().to_owned();
        Ok(Response::new(Token {
            access_token,
            refresh_token: None,
            access_type: "Bearer".to_owned(),
        }))
    }
}

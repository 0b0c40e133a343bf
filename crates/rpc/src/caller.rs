//! The caller: the person or device on whose behalf a call is made. It stays the same over all hops of a request.

use tonic::metadata::MetadataValue;
use tonic::{Extensions, Request, Status};
use trunkline_core::error::{Code, Fault, reason};
use trunkline_core::{ClientId, CredentialId, DomainId, RequestId, Secret, UserId};

use crate::status;

/// Header that carries the original credential of the caller.
pub const AUTHORIZATION: &str = "authorization";
/// Header that carries the request's id over all hops.
pub const REQUEST_ID: &str = "x-request-id";

/// Who a call is made for, as the guard found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A person.
    User(UserCaller),
    /// A device or an application.
    Client(ClientCaller),
}

/// A user that calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCaller {
    /// Its id.
    pub id: UserId,
    /// Whether it administers the platform.
    pub platform_admin: bool,
    /// Whether its e-mail address is verified.
    pub verified: bool,
    /// The request that the call belongs to.
    pub request_id: RequestId,
    /// The original value of the `authorization` header, to be forwarded and checked again.
    pub authorization: Secret,
}

impl UserCaller {
    /// A request to another service on behalf of this user.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Ok(value) = MetadataValue::try_from(self.authorization.expose()) {
            request.metadata_mut().insert(AUTHORIZATION, value);
        }
        if let Ok(value) = MetadataValue::try_from(self.request_id.to_string()) {
            request.metadata_mut().insert(REQUEST_ID, value);
        }
        request
    }
}

/// A client that calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCaller {
    /// Its id.
    pub id: ClientId,
    /// Its domain.
    pub domain_id: DomainId,
    /// The credential that it came with.
    pub credential_id: CredentialId,
}

/// The user that calls, as the guard left it with the request.
///
/// # Errors
/// UNAUTHENTICATED when the call came without one: internal methods that act for a user must get one forwarded.
pub fn user<T>(request: &Request<T>) -> Result<UserCaller, Status> {
    match request.extensions().get::<Caller>() {
        Some(Caller::User(user)) => Ok(user.clone()),
        _ => Err(status::from_fault(Fault::new(
            Code::Unauthenticated,
            reason::CREDENTIALS_MISSING,
            "this operation needs a user's token in `authorization`, as `Bearer <token>`",
        ))),
    }
}

/// The request's id, as the stack left it; a new one outside of any request.
pub fn request_id(extensions: &Extensions) -> RequestId {
    extensions.get::<RequestId>().copied().unwrap_or_default()
}

//! The guard of every service: it turns the rule of a method into questions, asks them, and leaves the caller with the request.

use std::sync::Arc;

use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status};
use trunkline_core::error::{Code, Fault, reason};
use trunkline_core::{DomainId, RequestId, Secret, UserId};
use trunkline_proto::auth::v1::auth_service_client::AuthServiceClient;
use trunkline_proto::auth::v1::{AuthenticateRequest, AuthorizeRequest, ObjectCheck, Principal};
use trunkline_proto::channels::v1 as channels;
use trunkline_proto::channels::v1::channels_service_client::ChannelsServiceClient;
use trunkline_proto::clients::v1 as clients;
use trunkline_proto::clients::v1::clients_service_client::ClientsServiceClient;
use trunkline_proto::guard::{self, Call, Entity, Guard, Method, Rule};

use crate::caller::{AUTHORIZATION, Caller, ClientCaller, UserCaller, request_id};
use crate::hub::Hub;
use crate::peer::Peer;
use crate::status::from_fault;
use crate::transport::Transport;

/// The proto name of the service that decides about users.
pub const AUTH_SERVICE: &str = "trunkline.auth.v1.AuthService";
/// The proto name of the service that knows the secrets of clients.
pub const CLIENTS_SERVICE: &str = "trunkline.clients.v1.ClientsService";
/// The proto name of the service that knows what clients may do.
pub const CHANNELS_SERVICE: &str = "trunkline.channels.v1.ChannelsService";

/// Ids that one call may name for its checks.
const IDS_MAX: usize = 1_000;

/// What a caller shows of himself in `authorization`; the scheme's spelling counts (magistrala.md 0).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// `Bearer <token>`: a user.
    Bearer(Secret),
    /// `Client <secret>`: a client.
    Client(Secret),
}

impl Credentials {
    /// Reads the header; `None` when it is absent or of another form.
    pub fn from_metadata(metadata: &MetadataMap) -> Option<Self> {
        let value = metadata.get(AUTHORIZATION)?.to_str().ok()?;
        let secret = |text: &str| Secret::new(text.trim().to_owned());
        match value.split_once(' ')? {
            ("Bearer", token) => Some(Self::Bearer(secret(token))),
            ("Client", text) => Some(Self::Client(secret(text))),
            _ => None,
        }
    }
}

/// A question about a user: is the token genuine, and do all checks hold? No checks ask about the token alone.
#[derive(Debug)]
pub struct Question<'a> {
    /// The user's token.
    pub token: &'a Secret,
    /// The request that it is asked for, under which a denial can be explained.
    pub request_id: RequestId,
    /// Whether a user whose e-mail address is not verified is accepted.
    pub unverified: bool,
    /// What must hold.
    pub checks: Vec<ObjectCheck>,
}

/// Decides about users. Two implementations: the evaluator where `auth` runs, and the way to it elsewhere.
#[tonic::async_trait]
pub trait Authorizer: Send + Sync + 'static {
    /// The user, if the token is genuine and every check holds.
    ///
    /// # Errors
    /// UNAUTHENTICATED, PERMISSION_DENIED, NOT_FOUND or INVALID_ARGUMENT as DESIGN section 5 says, UNAVAILABLE when it cannot be decided.
    async fn authorize(&self, question: Question<'_>) -> Result<Principal, Status>;
}

/// The way to the evaluator through the hub.
#[derive(Clone)]
struct RemoteAuthorizer(AuthServiceClient<Transport>);

#[tonic::async_trait]
impl Authorizer for RemoteAuthorizer {
    async fn authorize(&self, question: Question<'_>) -> Result<Principal, Status> {
        let caller = UserCaller {
            id: UserId::from_uuid(Default::default()),
            platform_admin: false,
            verified: false,
            request_id: question.request_id,
            authorization: bearer(question.token),
        };
        let (unverified, checks) = (question.unverified, question.checks);
        let answer = if checks.is_empty() {
            self.0
                .clone()
                .authenticate(caller.request(AuthenticateRequest { unverified }))
                .await
        } else {
            self.0
                .clone()
                .authorize(caller.request(AuthorizeRequest { checks, unverified }))
                .await
        };
        answer.map(tonic::Response::into_inner)
    }
}

/// Decides about clients, where a service lets clients in.
#[derive(Clone)]
struct Devices {
    clients: ClientsServiceClient<Transport>,
    channels: ChannelsServiceClient<Transport>,
}

/// The guard of every service.
#[derive(Clone)]
pub struct RpcGuard {
    authorizer: Arc<dyn Authorizer>,
    devices: Option<Devices>,
}

impl RpcGuard {
    /// A guard that asks `authorizer` and lets no clients in.
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self {
            authorizer,
            devices: None,
        }
    }

    /// A guard that asks the services behind `hub`, as the process part `peer`.
    pub fn through(hub: &Hub, peer: &'static str) -> Self {
        let auth = AuthServiceClient::new(hub.transport(AUTH_SERVICE, peer));
        let devices = Devices {
            clients: ClientsServiceClient::new(hub.transport(CLIENTS_SERVICE, peer)),
            channels: ChannelsServiceClient::new(hub.transport(CHANNELS_SERVICE, peer)),
        };
        Self {
            authorizer: Arc::new(RemoteAuthorizer(auth)),
            devices: Some(devices),
        }
    }

    async fn admit_user(&self, call: &Call, token: Secret, request_id: RequestId) -> Result<Caller, Status> {
        if !admits(call.method, guard::Caller::User) && !admits(call.method, guard::Caller::Pat) {
            return Err(denied("users may not call this"));
        }
        // Who cannot be told apart from nobody is not told what is wrong with his request either.
        let malformed = malformed_id(call);
        let question = Question {
            token: &token,
            request_id,
            unverified: call.method.unverified,
            checks: if malformed.is_none() {
                checks_of(call)
            } else {
                Vec::new()
            },
        };
        let principal = self.authorizer.authorize(question).await?;
        if let Some(fault) = malformed {
            return Err(from_fault(fault));
        }
        let id = principal
            .user_id
            .parse()
            .map_err(|_| Status::internal("auth gave no user id"))?;
        let authorization = bearer(&token);
        let (platform_admin, verified) = (principal.platform_admin, principal.verified);
        Ok(Caller::User(UserCaller {
            id,
            platform_admin,
            verified,
            request_id,
            authorization,
        }))
    }

    async fn admit_client(&self, call: &Call, secret: &Secret) -> Result<Caller, Status> {
        let (true, Some(devices)) = (admits(call.method, guard::Caller::Client), &self.devices) else {
            return Err(denied("clients may not call this"));
        };
        let domain = call
            .targets
            .first()
            .map(|target| target.domain_id.clone())
            .unwrap_or_default();
        let request = clients::AuthenticateRequest {
            client_id: String::new(),
            domain,
            secret: secret.expose().to_owned(),
        };
        let found = devices
            .clients
            .clone()
            .authenticate(Request::new(request))
            .await?
            .into_inner();
        for check in checks_of(call) {
            devices.check(&found, &check).await?;
        }
        let unreadable = |_| Status::internal("an id of a client is no UUID");
        Ok(Caller::Client(ClientCaller {
            id: found.client_id.parse().map_err(unreadable)?,
            domain_id: found.domain_id.parse().map_err(unreadable)?,
            credential_id: found.credential_id.parse().map_err(unreadable)?,
        }))
    }
}

impl Devices {
    /// What a client may do is the connection table of channels, and nothing else.
    async fn check(&self, client: &clients::AuthenticateResponse, check: &ObjectCheck) -> Result<(), Status> {
        let kind = match (check.entity == Entity::Channel as i32, check.action.as_str()) {
            (true, "publish") => channels::ConnectionType::Publish,
            (true, "subscribe") => channels::ConnectionType::Subscribe,
            _ => return Err(denied("clients may not do this")),
        };
        for channel in &check.objects {
            let request = channels::AuthorizeRequest {
                client_id: client.client_id.clone(),
                domain_id: client.domain_id.clone(),
                channel: channel.clone(),
                r#type: kind.into(),
            };
            self.channels.clone().authorize(Request::new(request)).await?;
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Guard for RpcGuard {
    async fn admit(&self, call: Call, metadata: &MetadataMap, extensions: &mut Extensions) -> Result<(), Status> {
        match call.method.rule {
            Rule::Public { switch: "" } => return Ok(()),
            Rule::Public { switch } => return Err(denied(&format!("the configuration switch `{switch}` is off"))),
            Rule::Internal(peers) => {
                admit_peer(peers, extensions)?;
                // What the caller may is asked of `auth`, which checks the forwarded credentials again.
                if let Some(credentials) = Credentials::from_metadata(metadata) {
                    extensions.insert(credentials);
                }
                return Ok(());
            }
            Rule::Authenticated | Rule::Checks(_) => {}
        }
        let request_id = request_id(extensions);
        check_size(&call)?;
        let caller = match Credentials::from_metadata(metadata) {
            Some(Credentials::Bearer(token)) => self.admit_user(&call, token, request_id).await?,
            Some(Credentials::Client(secret)) => self.admit_client(&call, &secret).await?,
            None => return Err(credentials_missing(call.method)),
        };
        extensions.insert(caller);
        Ok(())
    }
}

/// An internal method does not exist for whoever is no process of the platform.
fn admit_peer(peers: &[&str], extensions: &Extensions) -> Result<(), Status> {
    match extensions.get::<Peer>() {
        None => Err(Status::unimplemented("there is no such method here")),
        Some(peer) if peers.contains(&&*peer.0) => Ok(()),
        Some(peer) => Err(denied(&format!("processes of `{}` may not call this", peer.0))),
    }
}

/// Refuses a call that names more ids than any method takes, before each of them costs a decision.
fn check_size(call: &Call) -> Result<(), Status> {
    let ids: usize = call.targets.iter().map(|target| target.objects.len()).sum();
    if ids <= IDS_MAX {
        return Ok(());
    }
    let message = format!("the call names {ids} ids; at most {IDS_MAX} are allowed");
    Err(from_fault(Fault::new(
        Code::InvalidArgument,
        reason::INVALID_FIELD,
        message,
    )))
}

fn admits(method: &Method, kind: guard::Caller) -> bool {
    method.callers.contains(&kind)
}

/// The first id of a call that is no UUID, named as the request spells its field.
fn malformed_id(call: &Call) -> Option<Fault> {
    let Rule::Checks(checks) = call.method.rule else {
        return None;
    };
    let wrong = |field: String| Fault::invalid(field, "is not a UUID");
    let is_id = |text: &str| text.parse::<DomainId>().is_ok();
    call.targets.iter().find_map(|target| {
        let check = &checks[target.check];
        if !check.domain.is_empty() && !is_id(&target.domain_id) {
            return Some(wrong(check.domain.to_owned()));
        }
        let place = target.objects.iter().position(|id| !is_id(id))?;
        Some(wrong(match check.is_repeated {
            true => format!("{}[{place}]", check.object),
            false => check.object.to_owned(),
        }))
    })
}

/// The checks of a call with the ids that it names. Where it names none, at least membership of the domain must be held, and the
/// service then says which field is empty.
fn checks_of(call: &Call) -> Vec<ObjectCheck> {
    let Rule::Checks(checks) = call.method.rule else {
        return Vec::new();
    };
    call.targets
        .iter()
        .map(|target| {
            let check = &checks[target.check];
            let (entity, action, objects) = match check.entity {
                Entity::Platform | Entity::User => (check.entity, check.action, target.objects.clone()),
                _ if target.objects.is_empty() => (Entity::Domain, "membership", vec![target.domain_id.clone()]),
                _ => (check.entity, check.action, target.objects.clone()),
            };
            ObjectCheck {
                entity: entity as i32,
                action: action.to_owned(),
                objects,
                domain_id: target.domain_id.clone(),
                or_self: check.or_self,
                or_platform_admin: check.or_platform_admin,
            }
        })
        .collect()
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

fn credentials_missing(method: &Method) -> Status {
    let forms = if admits(method, guard::Caller::Client) {
        "`Bearer <token>` or `Client <secret>`"
    } else {
        "`Bearer <token>`"
    };
    let message = format!("credentials are missing: send {forms} in `authorization`");
    from_fault(Fault::new(Code::Unauthenticated, reason::CREDENTIALS_MISSING, message))
}

fn denied(message: &str) -> Status {
    from_fault(Fault::new(Code::PermissionDenied, reason::NOT_AUTHORIZED, message))
}

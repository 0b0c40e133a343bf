//! The platform's gate: credentials by `things`, connections by `channels`, domains by `auth`, all of it remembered as long as it holds.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tonic::{Code, Status};
use trunkline_bus::{Ref, Route};
use trunkline_core::{ChannelId, ClientId, CredentialId, DomainId};
use trunkline_proto::auth::v1::auth_service_client::AuthServiceClient;
use trunkline_proto::auth::v1::{CheckObjectsRequest, ResolveDomainRequest};
use trunkline_proto::channels::v1::channels_service_client::ChannelsServiceClient;
use trunkline_proto::channels::v1::{AuthorizeRequest, ConnectionType};
use trunkline_proto::clients::v1::clients_service_client::ClientsServiceClient;
use trunkline_proto::clients::v1::{AuthenticateRequest, IdentifyRequest};
use trunkline_rpc::{Hub, Transport};
use uuid::Uuid;

use crate::lease::Lease;
use crate::limits::{ADMISSION_STRIPES, ANSWER_TIME_MAX, DECISION_ATTEMPTS_MAX};
use crate::place::Place;
use crate::registry::{Fingerprint, Registry};
use crate::session::Principal;
use crate::{Action, Credentials, Denial, Gate, Grant, Identity, Permit, Realm, Refusal, Session};

/// Name under which the gate calls other services.
const PEER: &str = "gate";

/// The gate of the platform.
pub struct PlatformGate {
    pub(crate) registry: Registry,
    pub(crate) lease: Lease,
    clients: ClientsServiceClient<Transport>,
    channels: ChannelsServiceClient<Transport>,
    auth: AuthServiceClient<Transport>,
    admitting: Vec<Mutex<()>>,
}

impl PlatformGate {
    /// A gate that asks the services of `hub`. It remembers nothing until [`PlatformGate::follow`] runs.
    pub fn new(hub: &Hub) -> Self {
        Self {
            registry: Registry::new(),
            lease: Lease::absent(),
            clients: ClientsServiceClient::new(hub.transport("trunkline.clients.v1.ClientsService", PEER)),
            channels: ChannelsServiceClient::new(hub.transport("trunkline.channels.v1.ChannelsService", PEER)),
            auth: AuthServiceClient::new(hub.transport("trunkline.auth.v1.AuthService", PEER)),
            admitting: (0..ADMISSION_STRIPES).map(|_| Mutex::default()).collect(),
        }
    }

    async fn authenticate(&self, credentials: Credentials) -> Result<Principal, Refusal> {
        let (client_id, domain) = match credentials.realm {
            Realm::Client(id) => (id, String::new()),
            Realm::Domain(domain) => (String::new(), domain),
            Realm::Certificate(client_id) => return self.identify(client_id).await,
        };
        let request = AuthenticateRequest {
            client_id,
            domain,
            secret: credentials.secret.expose().to_owned(),
        };
        let answer = self.clients.clone().authenticate(request).await;
        let admitted = answer.map_err(|status| refusal_of(&status))?.into_inner();
        let ids = || -> Option<(DomainId, ClientId, CredentialId)> {
            let domain_id = admitted.domain_id.parse().ok()?;
            Some((
                domain_id,
                admitted.client_id.parse().ok()?,
                admitted.credential_id.parse().ok()?,
            ))
        };
        let (domain_id, client_id, credential_id) = ids().ok_or(Refusal::Unavailable)?;
        Ok(Principal::new(domain_id, client_id, credential_id, self.lease.clone()))
    }

    /// Asks where a client is that its certificate names. Certificates are not kept by the platform, so the credential has no id.
    async fn identify(&self, client_id: ClientId) -> Result<Principal, Refusal> {
        let request = IdentifyRequest {
            client_id: client_id.to_string(),
        };
        let answer = self.clients.clone().identify(request).await;
        let found = answer.map_err(|status| refusal_of(&status))?.into_inner();
        let domain_id = found.domain_id.parse().map_err(|_| Refusal::Unavailable)?;
        let credential_id = CredentialId::from_uuid(Uuid::nil());
        Ok(Principal::new(domain_id, client_id, credential_id, self.lease.clone()))
    }

    async fn admit_in_turn(
        &self,
        fingerprint: Fingerprint,
        credentials: &Credentials,
    ) -> Result<Arc<Principal>, Refusal> {
        let stripe = usize::from(fingerprint[0]) % ADMISSION_STRIPES;
        let _one_at_a_time = self.admitting[stripe].lock().await;
        match self.registry.recall(&fingerprint) {
            Some(principal) => Ok(principal),
            None => self.admit(fingerprint, credentials).await,
        }
    }

    /// Asks until an answer is given that no change of authorization overlapped.
    async fn admit(&self, fingerprint: Fingerprint, credentials: &Credentials) -> Result<Arc<Principal>, Refusal> {
        for _ in 0..DECISION_ATTEMPTS_MAX {
            let changes = self.registry.changes();
            let principal = Arc::new(self.authenticate(credentials.clone()).await?);
            if self.registry.enter(fingerprint, &principal, changes) {
                return Ok(principal);
            }
        }
        Err(Refusal::Unavailable)
    }

    /// Asks until an answer is given that no change of authorization overlapped, and remembers it.
    async fn decide_in_turn(&self, principal: &Principal, action: Action, place: &Place) -> Result<Arc<Grant>, Denial> {
        let _one_at_a_time = principal.deciding.lock().await;
        if let Some(answer) = principal.recall(action, place) {
            return answer;
        }
        let domain = self.registry.domain(principal.domain_id());
        for _ in 0..DECISION_ATTEMPTS_MAX {
            let changes = domain.changes();
            let answer = self.decide(principal, action, place).await;
            if principal.remember(action, place, &answer, || domain.changes() == changes) {
                return answer;
            }
        }
        Err(Denial::Unavailable)
    }

    /// Asks whether the principal may use `place`, without any memory.
    async fn decide(&self, principal: &Principal, action: Action, place: &Place) -> Result<Arc<Grant>, Denial> {
        let domain_id = match place.domain {
            Ref::Id(domain_id) => domain_id,
            Ref::Route(route) => self.resolve_domain(route).await?,
        };
        if domain_id != principal.domain_id() {
            return Err(Denial::NotAuthorized);
        }
        let connection = match action {
            Action::Publish => ConnectionType::Publish,
            Action::Subscribe => ConnectionType::Subscribe,
        };
        let channel = match place.channel {
            Ref::Id(channel_id) => channel_id.to_string(),
            Ref::Route(route) => route.to_string(),
        };
        let request = AuthorizeRequest {
            client_id: principal.client_id().to_string(),
            domain_id: domain_id.to_string(),
            channel,
            r#type: connection.into(),
        };
        let answer = self.channels.clone().authorize(request).await;
        let allowed = answer.map_err(|status| denial_of(&status))?.into_inner();
        let channel_id: ChannelId = allowed.channel_id.parse().map_err(|_| Denial::Unavailable)?;
        Ok(Arc::new(Grant::new(domain_id, channel_id, self.lease.clone())))
    }

    async fn resolve_domain(&self, route: Route) -> Result<DomainId, Denial> {
        let request = ResolveDomainRequest {
            domain: route.to_string(),
        };
        let answer = self.auth.clone().resolve_domain(request).await;
        let found = answer.map_err(|status| denial_of(&status))?.into_inner();
        found.domain_id.parse().map_err(|_| Denial::Unavailable)
    }
}

#[async_trait]
impl Gate for PlatformGate {
    async fn connect(&self, credentials: Credentials) -> Result<Session, Refusal> {
        let fingerprint = self.registry.fingerprint(&credentials);
        if let Some(principal) = self.registry.recall(&fingerprint) {
            return Ok(Session::new(principal));
        }
        // While the services do not answer, each who waits for his turn would otherwise wait for all before him.
        let admitted = timeout(ANSWER_TIME_MAX, self.admit_in_turn(fingerprint, &credentials)).await;
        admitted.unwrap_or(Err(Refusal::Unavailable)).map(Session::new)
    }

    fn may_warm(&self, session: &Session, action: Action, topic: &str) -> Option<Result<Permit, Denial>> {
        let place = match Place::parse(topic, action) {
            Ok(place) => place,
            Err(denial) => return Some(Err(denial)),
        };
        let answer = session.principal().recall(action, &place)?;
        Some(answer.map(|grant| place.permit(grant)))
    }

    async fn may(&self, session: &Session, action: Action, topic: &str) -> Result<Permit, Denial> {
        let place = Place::parse(topic, action)?;
        let decided = timeout(
            ANSWER_TIME_MAX,
            self.decide_in_turn(session.principal(), action, &place),
        )
        .await;
        let answer = decided.unwrap_or(Err(Denial::Unavailable));
        answer.map(|grant| place.permit(grant))
    }

    async fn recheck(&self, session: &Session) -> Result<(), Refusal> {
        let principal = session.principal();
        let _one_at_a_time = principal.deciding.lock().await;
        if session.is_undisturbed() {
            return Ok(());
        }
        let domain = self.registry.domain(principal.domain_id());
        for _ in 0..DECISION_ATTEMPTS_MAX {
            let changes = domain.changes();
            let request = CheckObjectsRequest {
                domain_id: principal.domain_id().to_string(),
                objects: vec![principal.client_id().to_string()],
            };
            let answer = self.auth.clone().check_objects(request).await;
            answer.map_err(|status| ended_by(&status))?;
            if principal.reassure(|| domain.changes() == changes) {
                return Ok(());
            }
        }
        Err(Refusal::Unavailable)
    }

    fn recall(&self, identity: Identity) -> Session {
        let session = Session::recalled(identity, self.lease.clone());
        self.registry.follow(session.principal());
        session
    }
}

/// What the answer to credentials means. Only a clear no is one.
fn refusal_of(status: &Status) -> Refusal {
    match status.code() {
        Code::Unauthenticated | Code::NotFound | Code::InvalidArgument => Refusal::BadCredentials,
        Code::PermissionDenied | Code::FailedPrecondition => Refusal::Disabled,
        _ => Refusal::Unavailable,
    }
}

/// What the answer about a channel or a domain means. Whether it exists makes no difference.
fn denial_of(status: &Status) -> Denial {
    match status.code() {
        Code::PermissionDenied | Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition => {
            Denial::NotAuthorized
        }
        _ => Denial::Unavailable,
    }
}

/// What the answer about the client of a running session means.
fn ended_by(status: &Status) -> Refusal {
    match status.code() {
        Code::PermissionDenied | Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition => Refusal::Disabled,
        _ => Refusal::Unavailable,
    }
}

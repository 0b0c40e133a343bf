//! Secrets of clients: how they are stored, and whether the one that is shown is right.

use tonic::Request;
use tonic::metadata::MetadataValue;
use trunkline_core::digest::DigestKey;
use trunkline_core::error::Code;
use trunkline_core::{ClientId, CredentialId, DomainId, RequestId, Secret, Timestamp};
use trunkline_proto::auth::v1::{CheckObjectsRequest, ResolveDomainRequest};
use trunkline_registry::{Error, Object as _, refusal};
use trunkline_rpc::caller::REQUEST_ID;
use trunkline_rpc::status::to_fault;
use uuid::Uuid;

use crate::client::Client;
use crate::error::wrong_credentials;
use crate::service::Service;
use crate::store::{self, Credential, NewCredential};

/// Version of the one key that there is.
const KEY_VERSION: u32 = 1;
/// How exactly it is known when a credential was used last: a write for each use would cost more than the use.
const LAST_USED_STEP_S: i64 = 3_600;
/// Where the secrets of unknown clients and domains are looked for, so that refusing them takes as long as refusing known ones.
const NOWHERE: DomainId = DomainId::from_uuid(Uuid::nil());

/// Turns secrets into digests, under a key that is kept outside the database.
pub(crate) struct Secrets(DigestKey);

impl Secrets {
    pub(crate) const fn new(key: DigestKey) -> Self {
        Self(key)
    }

    /// A new credential for `secret`, valid from `now` on without end.
    pub(crate) fn seal(&self, domain_id: DomainId, secret: &Secret, now: Timestamp) -> NewCredential {
        NewCredential {
            id: CredentialId::new(),
            digest: self.0.digest(&parts(&domain_id, secret)),
            key_version: KEY_VERSION,
            not_before: now,
            not_after: None,
        }
    }

    fn digest(&self, domain_id: DomainId, secret: &Secret) -> [u8; 32] {
        self.0.digest(&parts(&domain_id, secret))
    }

    fn is_genuine(&self, domain_id: DomainId, secret: &Secret, credential: &Credential) -> bool {
        self.0.verify(&parts(&domain_id, secret), &credential.digest)
    }
}

/// The domain is part of what is digested: equal secrets in two domains have nothing in common.
fn parts<'a>(domain_id: &'a DomainId, secret: &'a Secret) -> [&'a [u8]; 2] {
    [domain_id.as_bytes(), secret.expose().as_bytes()]
}

/// What somebody shows to be admitted as a client.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Where the secret is to be looked for.
    pub(crate) holder: Holder,
    /// The secret.
    pub(crate) secret: Secret,
    /// The request that it is part of.
    pub(crate) request_id: RequestId,
}

/// Whose secret it is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// That of this client; absent when its id cannot be one.
    Client(Option<ClientId>),
    /// That of some client of this domain, named by id or route.
    Domain(String),
}

/// A client that has proven itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proven {
    pub(crate) client_id: ClientId,
    pub(crate) domain_id: DomainId,
    pub(crate) credential_id: CredentialId,
}

/// A credential that was used, to be noted.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) domain_id: DomainId,
    pub(crate) credential_id: CredentialId,
    pub(crate) time: Timestamp,
}

impl Service {
    /// Tells which client a claim proves. Whatever is wrong with a claim is told in the same words, after the same work; that a
    /// client or its domain is disabled is told only to who knows the secret.
    pub(crate) async fn authenticate(&self, claim: &Claim) -> Result<Proven, Error> {
        let domain_id = self.domain_of(claim).await?.unwrap_or(NOWHERE);
        let digest = self.secrets.digest(domain_id, &claim.secret);
        let found = store::credential(&self.clients.db, domain_id, &digest).await;
        let now = self.clients.clock.now();
        let credential = found
            .map_err(Error::database("looking for", "credentials"))?
            .filter(|found| self.secrets.is_genuine(domain_id, &claim.secret, found))
            .filter(|found| is_current(found, now) && claim.holder.may_be(found.client_id))
            .ok_or_else(wrong_credentials)?;
        let proven = Proven {
            client_id: credential.client_id,
            domain_id,
            credential_id: credential.id,
        };
        self.check_enabled(domain_id, proven.client_id, claim.request_id)
            .await?;
        self.note_use(&proven, credential.last_used, now);
        Ok(proven)
    }

    /// Tells the domain of a client that has proven itself by something that is not kept here, such as a certificate. One that is
    /// not there is refused like a wrong secret.
    pub(crate) async fn identify(&self, client_id: ClientId, request_id: RequestId) -> Result<DomainId, Error> {
        let domain_id = self.domain_of_client(client_id).await?;
        let domain_id = domain_id.ok_or_else(wrong_credentials)?;
        self.check_enabled(domain_id, client_id, request_id).await?;
        Ok(domain_id)
    }

    async fn domain_of_client(&self, id: ClientId) -> Result<Option<DomainId>, Error> {
        store::domain_of(&self.clients.db, id)
            .await
            .map_err(Error::database("looking for the domain of", Client::NOUNS))
    }

    async fn domain_of(&self, claim: &Claim) -> Result<Option<DomainId>, Error> {
        match &claim.holder {
            Holder::Client(id) => {
                let id = id.unwrap_or(ClientId::from_uuid(Uuid::nil()));
                self.domain_of_client(id).await
            }
            Holder::Domain(domain) => match domain.parse() {
                Ok(id) => Ok(Some(id)),
                Err(_) => self.resolve(domain, claim.request_id).await,
            },
        }
    }

    async fn resolve(&self, route: &str, request_id: RequestId) -> Result<Option<DomainId>, Error> {
        let request = request(
            ResolveDomainRequest {
                domain: route.to_owned(),
            },
            request_id,
        );
        match self.clients.auth.clone().resolve_domain(request).await {
            Ok(answer) => Ok(answer.into_inner().domain_id.parse().ok()),
            Err(status) => match to_fault(&status) {
                fault if matches!(fault.code, Code::NotFound | Code::InvalidArgument) => Ok(None),
                fault => Err(Error::Refused(fault)),
            },
        }
    }

    async fn check_enabled(
        &self,
        domain_id: DomainId,
        client_id: ClientId,
        request_id: RequestId,
    ) -> Result<(), Error> {
        let question = CheckObjectsRequest {
            domain_id: domain_id.to_string(),
            objects: vec![client_id.to_string()],
        };
        match self
            .clients
            .auth
            .clone()
            .check_objects(request(question, request_id))
            .await
        {
            Ok(_) => Ok(()),
            Err(status) => Err(not_admitted(refusal(status))),
        }
    }

    /// Leaves it to the background work to note the use; when that is behind, the note is dropped.
    fn note_use(&self, proven: &Proven, last_used: Option<Timestamp>, time: Timestamp) {
        if last_used.is_none_or(|last| last.plus_seconds(LAST_USED_STEP_S) <= time) {
            let used = Used {
                domain_id: proven.domain_id,
                credential_id: proven.credential_id,
                time,
            };
            let _ = self.used.try_send(used);
        }
    }
}

impl Holder {
    fn may_be(&self, client_id: ClientId) -> bool {
        match self {
            Self::Client(id) => *id == Some(client_id),
            Self::Domain(_) => true,
        }
    }
}

fn is_current(credential: &Credential, now: Timestamp) -> bool {
    credential.not_before <= now && credential.not_after.is_none_or(|end| now < end)
}

/// What `auth` said about a client that has proven itself: what it no longer knows is refused like a wrong secret.
fn not_admitted(error: Error) -> Error {
    match error {
        Error::Refused(fault) if fault.code == Code::NotFound => wrong_credentials(),
        other => other,
    }
}

/// A call of this service's own, inside the request that it is part of.
fn request<T>(message: T, request_id: RequestId) -> Request<T> {
    let mut request = Request::new(message);
    if let Ok(value) = MetadataValue::try_from(request_id.to_string()) {
        request.metadata_mut().insert(REQUEST_ID, value);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline_core::error::{Fault, reason};

    fn credential(not_before: i64, not_after: Option<i64>) -> Credential {
        Credential {
            id: CredentialId::new(),
            client_id: ClientId::new(),
            digest: Vec::new(),
            not_before: Timestamp::from_micros(not_before),
            not_after: not_after.map(Timestamp::from_micros),
            last_used: None,
        }
    }

    #[test]
    fn a_credential_is_valid_from_its_start_until_before_its_end() {
        let at = |credential: &Credential, now| is_current(credential, Timestamp::from_micros(now));
        let bounded = credential(10, Some(20));
        assert_eq!([9, 10, 19, 20].map(|now| at(&bounded, now)), [false, true, true, false]);
        assert!(at(&credential(10, None), i64::MAX));
    }

    #[test]
    fn equal_secrets_in_two_domains_have_different_digests() {
        let secrets = Secrets::new(DigestKey::new([1; 32]));
        let secret = Secret::new("12345678".into());
        assert_ne!(
            secrets.digest(DomainId::new(), &secret),
            secrets.digest(DomainId::new(), &secret)
        );
    }

    #[test]
    fn a_secret_is_genuine_under_its_own_domain_and_key_alone() {
        let (domain_id, secret) = (DomainId::new(), Secret::generate());
        let secrets = Secrets::new(DigestKey::new([1; 32]));
        let sealed = secrets.seal(domain_id, &secret, Timestamp::from_micros(1));
        let stored = Credential {
            digest: sealed.digest.to_vec(),
            ..credential(1, None)
        };
        assert!(secrets.is_genuine(domain_id, &secret, &stored));
        assert!(!secrets.is_genuine(domain_id, &Secret::generate(), &stored));
        assert!(!secrets.is_genuine(DomainId::new(), &secret, &stored));
        assert!(!Secrets::new(DigestKey::new([2; 32])).is_genuine(domain_id, &secret, &stored));
    }

    #[test]
    fn a_client_that_auth_does_not_know_is_refused_like_a_wrong_secret() {
        let told = |code, reason: &'static str| {
            let fault = not_admitted(Error::Refused(Fault::new(code, reason, "x"))).fault();
            (fault.code, fault.reason.into_owned())
        };
        let pair = |code, reason: &str| (code, reason.to_owned());
        assert_eq!(
            told(Code::NotFound, reason::NOT_FOUND),
            pair(Code::Unauthenticated, reason::CREDENTIALS_INVALID)
        );
        for (code, reason) in [(Code::PermissionDenied, "CLIENT_DISABLED"), (Code::Unavailable, "X")] {
            assert_eq!(told(code, reason), pair(code, reason));
        }
    }

    #[test]
    fn a_secret_of_one_client_does_not_prove_another() {
        let (kettle, toaster) = (ClientId::new(), ClientId::new());
        assert!(Holder::Client(Some(kettle)).may_be(kettle));
        assert!(!Holder::Client(Some(kettle)).may_be(toaster));
        assert!(!Holder::Client(None).may_be(toaster));
    }
}

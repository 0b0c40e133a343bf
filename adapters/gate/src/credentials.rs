//! What a device shows to be admitted: a secret and the realm that the secret is looked up in, or a certificate.

use trunkline_core::{ClientId, Secret};

/// The secret of a client with the place to look it up in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Where the secret is looked up.
    pub realm: Realm,
    /// The secret as it was shown.
    pub secret: Secret,
}

/// Where a secret is looked up. Secrets are unique in a domain only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Realm {
    /// At the client with this id, as MQTT's user name and HTTP's basic authentication give it.
    Client(String),
    /// Among all clients of this domain, by id or route, as `Authorization: Client <secret>` implies it by the topic.
    Domain(String),
    /// Nowhere: an adapter has verified a certificate that names this client, and there is no secret.
    Certificate(ClientId),
}

impl Credentials {
    /// A secret with the id of its client.
    pub fn of_client(client_id: impl Into<String>, secret: Secret) -> Self {
        Self {
            realm: Realm::Client(client_id.into()),
            secret,
        }
    }

    /// A client that proved itself to an adapter by a certificate.
    pub const fn of_certificate(client_id: ClientId) -> Self {
        Self {
            realm: Realm::Certificate(client_id),
            secret: Secret::new(String::new()),
        }
    }

    /// A secret with the id or route of its domain.
    pub fn of_domain(domain: impl Into<String>, secret: Secret) -> Self {
        Self {
            realm: Realm::Domain(domain.into()),
            secret,
        }
    }
}

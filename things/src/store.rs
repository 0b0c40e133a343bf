//! The tables of clients and their credentials: SQL and row types, no decisions.

use trunkline_core::attributes::Metadata;
use trunkline_core::{ClientId, CredentialId, DomainId, Timestamp};
use trunkline_db::{Db, Error, Migrations, Row, Tx, Value, params};
use trunkline_proto::guard::Entity;
use trunkline_registry::store::{self as registry, Statements};
use trunkline_registry::{Base, Object, corrupt, statements};

use crate::client::{Client, Identity};
use crate::convert;

/// The migrations of this service.
pub const MIGRATIONS: Migrations = trunkline_db::migrations!("things", "0001_clients");

/// The unique constraints that a new client can violate.
pub mod constraint {
    /// The id is in use in the domain.
    pub const ID: &str = "clients_pkey";
    /// The id is in use, here or in another domain.
    pub const ID_ANYWHERE: &str = "clients_id_key";
    /// The secret is in use in the domain.
    pub const SECRET: &str = "client_credentials_domain_id_digest_key";
}

const INSERT_CREDENTIAL: &str = "
    INSERT INTO client_credentials (domain_id, id, client_id, kind, digest, key_version, not_before, not_after)
    VALUES ($1, $2, $3, 'secret', $4, $5, $6, $7)";

const DOMAIN_OF: &str = "
    SELECT domain_id
    FROM clients
    WHERE id = $1 AND deleted_at IS NULL";

const CREDENTIAL: &str = "
    SELECT k.id, k.client_id, k.digest, k.not_before, k.not_after, k.last_used
    FROM client_credentials k
    JOIN clients c ON c.domain_id = k.domain_id AND c.id = k.client_id
    WHERE k.domain_id = $1 AND k.digest = $2 AND c.deleted_at IS NULL";

const USED: &str = "
    UPDATE client_credentials
    SET last_used = $3
    WHERE domain_id = $1 AND id = $2";

/// A secret's digest to store.
#[derive(Debug, Clone)]
pub struct NewCredential {
    /// Its id.
    pub id: CredentialId,
    /// HMAC of domain and secret.
    pub digest: [u8; 32],
    /// Which key made the digest.
    pub key_version: u32,
    /// Valid from then on.
    pub not_before: Timestamp,
    /// Valid until then; for ever when absent.
    pub not_after: Option<Timestamp>,
}

/// A stored credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// The client that it belongs to.
    pub client_id: ClientId,
    /// HMAC of domain and secret.
    pub digest: Vec<u8>,
    /// Valid from then on.
    pub not_before: Timestamp,
    /// Valid until then; for ever when absent.
    pub not_after: Option<Timestamp>,
    /// When it was used last, to the hour.
    pub last_used: Option<Timestamp>,
}

/// Stores a new client with its first credential.
///
/// # Errors
/// [`Error::Conflict`] with one of the names in [`constraint`].
pub async fn insert(tx: &mut Tx<'_>, client: &Client, credential: &NewCredential) -> Result<(), Error> {
    registry::insert(tx, client).await?;
    let values = params![
        client.base.domain_id,
        credential.id,
        client.base.id,
        credential.digest,
        credential.key_version,
        credential.not_before,
        credential.not_after,
    ];
    tx.execute(INSERT_CREDENTIAL, values).await?;
    Ok(())
}

/// The domain of a client.
pub async fn domain_of(db: &Db, id: ClientId) -> Result<Option<DomainId>, Error> {
    db.fetch_optional(DOMAIN_OF, params![id], |row| row.get("domain_id"))
        .await
}

/// The credential with a digest.
pub async fn credential(db: &Db, domain_id: DomainId, digest: &[u8]) -> Result<Option<Credential>, Error> {
    let read = |row: &Row| {
        Ok(Credential {
            id: row.get("id")?,
            client_id: row.get("client_id")?,
            digest: row.get("digest")?,
            not_before: row.get("not_before")?,
            not_after: row.get("not_after")?,
            last_used: row.get("last_used")?,
        })
    };
    db.fetch_optional(CREDENTIAL, params![domain_id, digest], read).await
}

/// Notes when a credential was used.
pub async fn mark_used(db: &Db, domain_id: DomainId, id: CredentialId, now: Timestamp) -> Result<(), Error> {
    db.execute(USED, params![domain_id, id, now]).await?;
    Ok(())
}

impl Object for Client {
    type Id = ClientId;

    const ENTITY: Entity = Entity::Client;
    const NOUN: &'static str = "client";
    const NOUNS: &'static str = "clients";
    const STATEMENTS: Statements = statements!("clients", "identity" = 13, "private_metadata" = 14);

    fn base(&self) -> &Base<ClientId> {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base<ClientId> {
        &mut self.base
    }

    fn read(base: Base<ClientId>, row: &Row) -> Result<Self, Error> {
        let identity: Option<String> = row.get("identity")?;
        let private_metadata: Option<String> = row.get("private_metadata")?;
        Ok(Self {
            base,
            identity: identity
                .map(|text| Identity::parse("identity", &text))
                .transpose()
                .map_err(corrupt)?,
            private_metadata: private_metadata.map(Metadata::trusted),
        })
    }

    fn own_values(&self) -> Vec<Value> {
        params![
            self.identity.as_ref().map(Identity::as_str),
            self.private_metadata.as_ref().map(Metadata::as_str),
        ]
    }

    fn event_body(&self) -> Vec<u8> {
        convert::event_body(self)
    }
}

//! Requests and answers of the contract, to and from this service's own types. A fault names the field by its request path.

use prost::Message as _;
use prost_types::FieldMask;
use trunkline_core::attributes::Tags;
use trunkline_core::{ClientId, DomainId, Fault, RequestId, Secret};
use trunkline_db::{Page, Total};
use trunkline_proto::clients::v1 as proto;
use trunkline_registry::wire::{self, domain_id, given, json, metadata, name, time};
use trunkline_registry::{Change, Direction, List, Order, Status};

use crate::client::{self, Changes, Client, Identity, NewClient};
use crate::credential::{Claim, Holder, Proven};

const NAME: &str = "client.name";
const TAGS: &str = "client.tags";
const IDENTITY: &str = "client.credentials.identity";
const SECRET: &str = "client.credentials.secret";
const METADATA: &str = "client.metadata";
const PRIVATE_METADATA: &str = "client.private_metadata";

/// A client to create. An empty text is the same as none: older clients send all fields always.
pub(crate) fn new_client(request: proto::CreateClientRequest) -> Result<NewClient, Fault> {
    let domain_id = domain_id(&request.domain_id)?;
    let client = request.client.unwrap_or_default();
    let credentials = client.credentials.unwrap_or_default();
    let id = match given(Some(client.id)) {
        Some(text) => wire::id("client.id", &text)?,
        None => ClientId::new(),
    };
    let secret = match given(credentials.secret) {
        Some(text) => client::parse_secret(SECRET, &text)?,
        None => Secret::generate(),
    };
    Ok(NewClient {
        id,
        domain_id,
        name: name(NAME, client.name)?,
        tags: Tags::parse(TAGS, client.tags)?,
        identity: given(credentials.identity)
            .map(|text| Identity::parse(IDENTITY, &text))
            .transpose()?,
        secret,
        metadata: metadata(METADATA, client.metadata)?,
        private_metadata: metadata(PRIVATE_METADATA, client.private_metadata)?,
    })
}

/// What an update changes: the fields in the mask, to nothing where the client has none.
pub(crate) fn changes(client: Option<proto::Client>, mask: Option<FieldMask>) -> Result<Changes, Fault> {
    let client = client.unwrap_or_default();
    let paths = wire::paths(mask, &["name", "metadata", "private_metadata"])?;
    let names = |path: &str| paths.iter().any(|named| named == path);
    let mut changes = Changes::default();
    if names("name") {
        changes.name = Change::Set(name(NAME, client.name)?);
    }
    if names("metadata") {
        changes.metadata = Change::Set(metadata(METADATA, client.metadata)?);
    }
    if names("private_metadata") {
        changes.private_metadata = Change::Set(metadata(PRIVATE_METADATA, client.private_metadata)?);
    }
    Ok(changes)
}

/// A question for a page.
pub(crate) fn list(request: &proto::ListClientsRequest) -> Result<List, Fault> {
    Ok(List {
        domain_id: domain_id(&request.domain_id)?,
        page: Page::parse(Some(request.offset), Some(request.limit).filter(|limit| *limit > 0))?,
        order: match proto::Order::try_from(request.order) {
            Ok(proto::Order::Unspecified | proto::Order::UpdatedAt) => Order::UpdatedAt,
            Ok(proto::Order::CreatedAt) => Order::CreatedAt,
            Ok(proto::Order::Name) => Order::Name,
            Err(_) => return Err(Fault::invalid("order", "is not one that clients are ordered by")),
        },
        direction: match proto::Direction::try_from(request.dir) {
            Ok(proto::Direction::Unspecified | proto::Direction::Descending) => Direction::Descending,
            Ok(proto::Direction::Ascending) => Direction::Ascending,
            Err(_) => return Err(Fault::invalid("dir", "is neither ascending nor descending")),
        },
        name_folded: wire::part_of_name(&request.name)?,
        status: match proto::Status::try_from(request.status) {
            Ok(proto::Status::Unspecified | proto::Status::Enabled) => Some(Status::Enabled),
            Ok(proto::Status::Disabled) => Some(Status::Disabled),
            Ok(proto::Status::All) => None,
            Err(_) => return Err(Fault::invalid("status", "is not one that clients have")),
        },
    })
}

/// What somebody shows to be admitted. What cannot be an id is looked for like any other, so that it is refused like any other.
pub(crate) fn claim(request: proto::AuthenticateRequest, request_id: RequestId) -> Result<Claim, Fault> {
    let holder = match (request.client_id.is_empty(), request.domain.is_empty()) {
        (false, true) => Holder::Client(request.client_id.parse().ok()),
        (true, false) => Holder::Domain(request.domain),
        (true, true) => {
            return Err(Fault::invalid(
                "client_id",
                "is empty, and so is `domain`; give one of them",
            ));
        }
        (false, false) => {
            return Err(Fault::invalid(
                "domain",
                "is given beside `client_id`; give one of them",
            ));
        }
    };
    Ok(Claim {
        holder,
        secret: Secret::new(request.secret),
        request_id,
    })
}

/// The ids that a method on one client names.
pub(crate) fn ids(domain: &str, client: &str) -> Result<(DomainId, ClientId), Fault> {
    Ok((domain_id(domain)?, wire::id("id", client)?))
}

/// A client as everyone sees it who may read it.
pub(crate) fn client(client: &Client) -> proto::Client {
    proto::Client {
        private_metadata: client.private_metadata.clone().map(json),
        ..public(client)
    }
}

/// A client as its creator sees it, once: with its secret.
pub(crate) fn created(client: &Client, secret: &Secret) -> proto::Client {
    let mut shown = self::client(client);
    shown.credentials.get_or_insert_default().secret = Some(secret.expose().to_owned());
    shown
}

/// A client as events carry it.
pub(crate) fn event_body(client: &Client) -> Vec<u8> {
    public(client).encode_to_vec()
}

/// What any reader of events may know of a client.
fn public(client: &Client) -> proto::Client {
    let base = &client.base;
    let status = match base.status {
        Status::Enabled => proto::Status::Enabled,
        Status::Disabled => proto::Status::Disabled,
    };
    proto::Client {
        id: base.id.to_string(),
        name: base.name.as_ref().map(ToString::to_string),
        tags: base.tags.clone().into_vec(),
        domain_id: base.domain_id.to_string(),
        parent_group_id: base.parent_group_id.map(|id| id.to_string()),
        credentials: Some(proto::Credentials {
            identity: client.identity.as_ref().map(ToString::to_string),
            secret: None,
        }),
        metadata: base.metadata.clone().map(json),
        private_metadata: None,
        status: status.into(),
        created_at: Some(time(base.created_at)),
        updated_at: Some(time(base.updated_at)),
        updated_by: base.updated_by.map(|id| id.to_string()),
    }
}

/// A page of clients.
pub(crate) fn page(list: &List, total: Total, clients: &[Client]) -> proto::ListClientsResponse {
    proto::ListClientsResponse {
        total: total.count,
        offset: list.page.offset(),
        limit: list.page.limit(),
        clients: clients.iter().map(client).collect(),
    }
}

/// A client that has proven itself.
pub(crate) fn proven(proven: &Proven) -> proto::AuthenticateResponse {
    proto::AuthenticateResponse {
        client_id: proven.client_id.to_string(),
        domain_id: proven.domain_id.to_string(),
        credential_id: proven.credential_id.to_string(),
    }
}

#[cfg(test)]
mod tests;

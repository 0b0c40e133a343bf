//! Requests and answers of the contract, to and from this service's own types. A fault names the field by its request path.

use prost_types::{FieldMask, Timestamp as ProtoTime};
use trunkline_core::attributes::{Metadata, Name, Tags, bounded_text};
use trunkline_core::{ClientId, DomainId, Fault, RequestId, Secret, Timestamp};
use trunkline_db::{Page, Total};
use trunkline_proto::auth::v1::ExpandResponse;
use trunkline_proto::clients::v1 as proto;
use trunkline_proto::http::v1::Json;

use crate::client::{self, Change, Changes, Client, Identity, NewClient, Status};
use crate::credential::{Claim, Holder, Proven};
use crate::error::Error;
use crate::list::{Direction, List, Order, Visible};

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
        Some(text) => parsed_id("client.id", &text)?,
        None => ClientId::new(),
    };
    let secret = match given(credentials.secret) {
        Some(text) => client::parse_secret(SECRET, &text)?,
        None => Secret::generate(),
    };
    Ok(NewClient {
        id,
        domain_id,
        name: name(client.name)?,
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
    let paths = mask.unwrap_or_default().paths;
    for path in &paths {
        if !matches!(path.as_str(), "name" | "metadata" | "private_metadata") {
            let shown: String = path.chars().take(64).collect();
            let description = format!("names `{shown}`; only `name`, `metadata` and `private_metadata` can be changed");
            return Err(Fault::invalid("update_mask", description));
        }
    }
    let names = |path: &str| paths.iter().any(|named| named == path);
    let mut changes = Changes::default();
    if names("name") {
        changes.name = Change::Set(name(client.name)?);
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
    bounded_text("name", &request.name, trunkline_core::attributes::NAME_BYTES_MAX)?;
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
        name_folded: Some(request.name.to_lowercase()).filter(|text| !text.is_empty()),
        status: match proto::Status::try_from(request.status) {
            Ok(proto::Status::Unspecified | proto::Status::Enabled) => Some(Status::Enabled),
            Ok(proto::Status::Disabled) => Some(Status::Disabled),
            Ok(proto::Status::All) => None,
            Err(_) => return Err(Fault::invalid("status", "is not one that clients have")),
        },
    })
}

/// What `auth` says that the caller may read.
pub(crate) fn visible(held: &ExpandResponse) -> Result<Visible, Error> {
    if held.all {
        return Ok(Visible::All);
    }
    let groups = held.group_ids.iter().map(|id| id.parse()).collect::<Result<_, _>>();
    let clients = held.object_ids.iter().map(|id| id.parse()).collect::<Result<_, _>>();
    match (groups, clients) {
        (Ok(groups), Ok(clients)) => Ok(Visible::some(groups, clients)?),
        (Err(_), _) | (_, Err(_)) => Err(Error::Answer {
            service: "auth",
            defect: "an expanded id is no UUID",
        }),
    }
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
    Ok((domain_id(domain)?, parsed_id("id", client)?))
}

/// A client as everyone sees it who may read it.
pub(crate) fn client(client: &Client) -> proto::Client {
    proto::Client {
        private_metadata: client.private_metadata.clone().map(json),
        ..event_body(client)
    }
}

/// A client as its creator sees it, once: with its secret.
pub(crate) fn created(client: &Client, secret: &Secret) -> proto::Client {
    let mut shown = self::client(client);
    shown.credentials.get_or_insert_default().secret = Some(secret.expose().to_owned());
    shown
}

/// A client as events carry it.
pub(crate) fn event_body(client: &Client) -> proto::Client {
    let status = match client.status {
        Status::Enabled => proto::Status::Enabled,
        Status::Disabled => proto::Status::Disabled,
    };
    proto::Client {
        id: client.id.to_string(),
        name: client.name.as_ref().map(ToString::to_string),
        tags: client.tags.clone().into_vec(),
        domain_id: client.domain_id.to_string(),
        parent_group_id: client.parent_group_id.map(|id| id.to_string()),
        credentials: Some(proto::Credentials {
            identity: client.identity.as_ref().map(ToString::to_string),
            secret: None,
        }),
        metadata: client.metadata.clone().map(json),
        private_metadata: None,
        status: status.into(),
        created_at: Some(time(client.created_at)),
        updated_at: Some(time(client.updated_at)),
        updated_by: client.updated_by.map(|id| id.to_string()),
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

/// A time as contracts carry it.
pub(crate) fn time(time: Timestamp) -> ProtoTime {
    let nanos = time.micros().rem_euclid(1_000_000) * 1_000;
    ProtoTime {
        seconds: time.seconds(),
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}

fn domain_id(text: &str) -> Result<DomainId, Fault> {
    text.parse().map_err(|_| Fault::invalid("domain_id", "is not a UUID"))
}

fn parsed_id(field: &str, text: &str) -> Result<ClientId, Fault> {
    let id: ClientId = text.parse().map_err(|_| Fault::invalid(field, "is not a UUID"))?;
    if id.uuid().is_nil() {
        return Err(Fault::invalid(field, "is the nil UUID, which names nothing"));
    }
    Ok(id)
}

fn name(text: Option<String>) -> Result<Option<Name>, Fault> {
    given(text).map(|text| Name::parse(NAME, &text)).transpose()
}

fn metadata(field: &str, json: Option<Json>) -> Result<Option<Metadata>, Fault> {
    json.map(|json| Metadata::parse(field, &json.text)).transpose()
}

fn json(metadata: Metadata) -> Json {
    Json {
        text: metadata.into_string().into(),
    }
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;

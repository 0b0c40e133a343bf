//! Between the contracts' messages and the types of this service: parsing on the way in, nothing but copying on the way out.

use std::collections::HashSet;

use trunkline_bus::topic::Route;
use trunkline_core::attributes::{Metadata, NAME_BYTES_MAX, Name, Tags, bounded_text};
use trunkline_core::{DomainId, Fault, Timestamp, UserId};
use trunkline_db::Page;
use trunkline_proto::auth::v1 as auth;
use trunkline_proto::domains::v1 as domains;
use trunkline_proto::http::v1::Json;
use trunkline_proto::users::v1 as users;
use uuid::Uuid;

use crate::domain::{Domain, Filter, NewDomain, NewRole, Order, RoleName};
use crate::service::roles::CreatedRole;
use crate::tree::Status;
use crate::user::{Email, NewUser, Password, PlatformRole, User, Username};

/// Longest first name, last name or picture address in bytes.
const TEXT_BYTES_MAX: usize = 1_024;
/// Longest address of a picture in bytes.
const PICTURE_BYTES_MAX: usize = 2_048;

/// A user to create.
pub(crate) fn new_user(message: Option<users::User>) -> Result<NewUser, Fault> {
    let user = message.ok_or_else(|| Fault::invalid("user", "is missing"))?;
    let credentials = user.credentials.unwrap_or_default();
    let email = user.email.filter(|email| !email.is_empty());
    let email = email.ok_or_else(|| Fault::invalid("user.email", "is missing"))?;
    let secret = credentials
        .secret
        .ok_or_else(|| Fault::invalid("user.credentials.secret", "is missing"))?;
    let username = credentials.username.filter(|name| !name.is_empty());
    let role = users::Role::try_from(user.role).map_err(|_| Fault::invalid("user.role", "is `user` or `admin`"))?;
    Ok(NewUser {
        email: Email::parse("user.email", &email)?,
        username: username
            .map(|name| Username::parse("user.credentials.username", &name))
            .transpose()?,
        password: Password::parse("user.credentials.secret", &secret)?,
        first_name: text("user.first_name", user.first_name, TEXT_BYTES_MAX)?,
        last_name: text("user.last_name", user.last_name, TEXT_BYTES_MAX)?,
        tags: Tags::parse("user.tags", user.tags)?,
        metadata: metadata("user.metadata", user.metadata)?,
        private_metadata: metadata("user.private_metadata", user.private_metadata)?,
        profile_picture: text("user.profile_picture", user.profile_picture, PICTURE_BYTES_MAX)?,
        role: match role {
            users::Role::Admin => PlatformRole::Admin,
            users::Role::User | users::Role::Unspecified => PlatformRole::User,
        },
    })
}

/// A user as its owner and administrators see it.
pub(crate) fn user(user: User) -> users::User {
    let status = if user.is_enabled {
        users::Status::Enabled
    } else {
        users::Status::Disabled
    };
    let role = match user.role {
        PlatformRole::User => users::Role::User,
        PlatformRole::Admin => users::Role::Admin,
    };
    users::User {
        id: user.id.to_string(),
        first_name: user.first_name,
        last_name: user.last_name,
        email: Some(user.email.as_str().to_owned()),
        credentials: Some(users::Credentials {
            username: Some(user.username.as_str().to_owned()),
            secret: None,
        }),
        tags: user.tags.into_vec(),
        metadata: user.metadata.map(json),
        private_metadata: user.private_metadata.map(json),
        profile_picture: user.profile_picture,
        status: status.into(),
        role: role.into(),
        created_at: Some(time(user.created_at)),
        updated_at: Some(time(user.updated_at)),
        updated_by: user.updated_by.map(|id| id.to_string()),
        verified_at: user.verified_at.map(time),
    }
}

/// A domain to create.
pub(crate) fn new_domain(message: Option<domains::Domain>) -> Result<NewDomain, Fault> {
    let domain = message.ok_or_else(|| Fault::invalid("domain", "is missing"))?;
    let route = Route::parse(&domain.route).ok_or_else(|| {
        let rule = "is no route; one is a letter, then up to 35 letters, digits, single `-` and single `_`";
        Fault::invalid("domain.route", rule)
    })?;
    let id = Some(domain.id)
        .filter(|id| !id.is_empty())
        .map(|id| self::id("domain.id", &id))
        .transpose()?;
    Ok(NewDomain {
        id: id.map(DomainId::from_uuid),
        route,
        name: Name::parse("domain.name", &domain.name)?,
        tags: Tags::parse("domain.tags", domain.tags)?,
        metadata: metadata("domain.metadata", domain.metadata)?,
    })
}

/// A domain as its members see it.
pub(crate) fn domain(domain: Domain) -> domains::Domain {
    let status = match domain.status {
        Status::Enabled => domains::Status::Enabled,
        Status::Disabled => domains::Status::Disabled,
        Status::Frozen => domains::Status::Frozen,
    };
    domains::Domain {
        id: domain.id.to_string(),
        name: domain.name.as_str().to_owned(),
        route: domain.route.as_str().to_owned(),
        tags: domain.tags.into_vec(),
        metadata: domain.metadata.map(json),
        status: status.into(),
        created_by: domain.created_by.to_string(),
        created_at: Some(time(domain.created_at)),
        updated_by: domain.updated_by.map(|id| id.to_string()),
        updated_at: Some(time(domain.updated_at)),
    }
}

/// Filter and page of a list of domains.
pub(crate) fn domain_list(request: &domains::ListDomainsRequest) -> Result<(Filter, Page), Fault> {
    let status = domains::Status::try_from(request.status).map_err(|_| Fault::invalid("status", "is no status"))?;
    let order = domains::Order::try_from(request.order).map_err(|_| Fault::invalid("order", "is no order"))?;
    let direction = domains::Direction::try_from(request.dir).map_err(|_| Fault::invalid("dir", "is no direction"))?;
    bounded_text("name", &request.name, NAME_BYTES_MAX)?;
    let filter = Filter {
        member: None,
        name: Some(request.name.to_lowercase()).filter(|name| !name.is_empty()),
        status: match status {
            domains::Status::Unspecified | domains::Status::Enabled => Some(Status::Enabled),
            domains::Status::Disabled => Some(Status::Disabled),
            domains::Status::Frozen => Some(Status::Frozen),
            domains::Status::All => None,
        },
        order: match order {
            domains::Order::Unspecified | domains::Order::UpdatedAt => Order::UpdatedAt,
            domains::Order::CreatedAt => Order::CreatedAt,
            domains::Order::Name => Order::Name,
        },
        is_ascending: direction == domains::Direction::Ascending,
    };
    let page = Page::parse(Some(request.offset), Some(request.limit).filter(|limit| *limit > 0))?;
    Ok((filter, page))
}

/// Actions that a role may be created with.
const ACTIONS_MAX: usize = 200;
/// Members that a role may be created with.
const MEMBERS_MAX: usize = 100;

/// A role to create.
pub(crate) fn new_role(name: &str, actions: Vec<String>, members: &[String]) -> Result<NewRole, Fault> {
    bounded_list("optional_actions", &actions, ACTIONS_MAX)?;
    bounded_list("optional_members", members, MEMBERS_MAX)?;
    let member =
        |(index, text): (usize, &String)| id(&format!("optional_members[{index}]"), text).map(UserId::from_uuid);
    Ok(NewRole {
        name: RoleName::parse("role_name", name)?,
        actions,
        members: members.iter().enumerate().map(member).collect::<Result<_, _>>()?,
    })
}

/// A role after its creation.
pub(crate) fn role(created: CreatedRole) -> auth::Role {
    auth::Role {
        id: created.id.to_string(),
        name: created.role.name.as_str().to_owned(),
        entity_id: created.entity_id.to_string(),
        created_by: created.created_by.to_string(),
        created_at: Some(time(created.created_at)),
        updated_by: None,
        updated_at: Some(time(created.created_at)),
        optional_actions: created.role.actions,
        optional_members: created.role.members.iter().map(ToString::to_string).collect(),
    }
}

/// Refuses a list that is too long or names something twice.
fn bounded_list(field: &str, items: &[String], most: usize) -> Result<(), Fault> {
    if items.len() > most {
        return Err(Fault::invalid(
            field,
            format!("has {} entries; at most {most} are allowed", items.len()),
        ));
    }
    let mut seen = HashSet::new();
    match items.iter().position(|item| !seen.insert(item)) {
        Some(index) => Err(Fault::invalid(
            format!("{field}[{index}]"),
            "stands there twice; once is enough",
        )),
        None => Ok(()),
    }
}

/// An id from the wire; a fault names `field`.
pub(crate) fn id(field: &str, text: &str) -> Result<Uuid, Fault> {
    let id = Uuid::try_parse(text).map_err(|_| Fault::invalid(field, "is no UUID"))?;
    if id.is_nil() {
        Err(Fault::invalid(field, "is the nil UUID, which names nothing"))
    } else {
        Ok(id)
    }
}

/// An id that may be absent, as empty text.
pub(crate) fn optional_id(field: &str, text: &str) -> Result<Option<Uuid>, Fault> {
    if text.is_empty() {
        Ok(None)
    } else {
        id(field, text).map(Some)
    }
}

fn text(field: &str, value: Option<String>, bytes_max: usize) -> Result<Option<String>, Fault> {
    let value = value.filter(|value| !value.is_empty());
    if let Some(value) = &value {
        bounded_text(field, value, bytes_max)?;
    }
    Ok(value)
}

fn metadata(field: &str, value: Option<Json>) -> Result<Option<Metadata>, Fault> {
    let value = value.filter(|json| !json.text.is_empty());
    value.map(|json| Metadata::parse(field, &json.text)).transpose()
}

fn json(metadata: Metadata) -> Json {
    Json {
        text: metadata.into_string().into(),
    }
}

fn time(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.micros().rem_euclid(1_000_000);
    prost_types::Timestamp {
        seconds: time.seconds(),
        nanos: i32::try_from(micros * 1_000).unwrap_or_default(),
    }
}

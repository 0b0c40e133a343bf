//! Requests and answers of the contract, to and from this service's own types. A fault names the field by its request path.

use prost::Message as _;
use prost_types::FieldMask;
use trunkline_bus::{Ref, Route};
use trunkline_core::attributes::Tags;
use trunkline_core::{ChannelId, DomainId, Fault};
use trunkline_db::{Page, Total};
use trunkline_proto::channels::v1 as proto;
use trunkline_registry::wire::{self, domain_id, given, json, metadata, name, time};
use trunkline_registry::{Change, Direction, List, Order, Status};

use crate::channel::{self, Changes, Channel, NewChannel};
use crate::connect::Question;
use crate::connection::{Connections, Kind};
use crate::store::Reachable;

const NAME: &str = "channel.name";
const METADATA: &str = "channel.metadata";

/// A channel to create. An empty text is the same as none: older clients send all fields always.
pub(crate) fn new_channel(request: proto::CreateChannelRequest) -> Result<NewChannel, Fault> {
    let domain_id = domain_id(&request.domain_id)?;
    let channel = request.channel.unwrap_or_default();
    let id = match given(Some(channel.id)) {
        Some(text) => wire::id("channel.id", &text)?,
        None => ChannelId::new(),
    };
    let route = given(channel.route);
    Ok(NewChannel {
        id,
        domain_id,
        route: route
            .map(|text| channel::parse_route("channel.route", &text))
            .transpose()?,
        name: name(NAME, channel.name)?,
        tags: Tags::parse("channel.tags", channel.tags)?,
        metadata: metadata(METADATA, channel.metadata)?,
    })
}

/// What an update changes: the fields in the mask, to nothing where the channel has none.
pub(crate) fn changes(channel: Option<proto::Channel>, mask: Option<FieldMask>) -> Result<Changes, Fault> {
    let channel = channel.unwrap_or_default();
    let paths = wire::paths(mask, &["name", "metadata"])?;
    let names = |path: &str| paths.iter().any(|named| named == path);
    let mut changes = Changes::default();
    if names("name") {
        changes.name = Change::Set(name(NAME, channel.name)?);
    }
    if names("metadata") {
        changes.metadata = Change::Set(metadata(METADATA, channel.metadata)?);
    }
    Ok(changes)
}

/// A question for a page.
pub(crate) fn list(request: &proto::ListChannelsRequest) -> Result<List, Fault> {
    Ok(List {
        domain_id: domain_id(&request.domain_id)?,
        page: Page::parse(Some(request.offset), Some(request.limit).filter(|limit| *limit > 0))?,
        order: match proto::Order::try_from(request.order) {
            Ok(proto::Order::Unspecified | proto::Order::UpdatedAt) => Order::UpdatedAt,
            Ok(proto::Order::CreatedAt) => Order::CreatedAt,
            Ok(proto::Order::Name) => Order::Name,
            Err(_) => return Err(Fault::invalid("order", "is not one that channels are ordered by")),
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
            Err(_) => return Err(Fault::invalid("status", "is not one that channels have")),
        },
    })
}

/// What one call connects or disconnects.
pub(crate) fn ends(domain: &str, channels: &[String], clients: &[String], types: &[i32]) -> Result<Connections, Fault> {
    let channels = each("channel_ids", channels, |field, text| wire::id(field, text))?;
    ends_of(domain, &channels, clients, types)
}

/// What one call connects to one channel or disconnects from it.
pub(crate) fn ends_of_one(
    domain: &str,
    channel: &str,
    clients: &[String],
    types: &[i32],
) -> Result<Connections, Fault> {
    ends_of(domain, &[wire::id("id", channel)?], clients, types)
}

fn ends_of(domain: &str, channels: &[ChannelId], clients: &[String], types: &[i32]) -> Result<Connections, Fault> {
    let clients = each("client_ids", clients, |field, text| wire::id(field, text))?;
    let kinds = each("types", types, |field, number| kind(field, *number))?;
    Connections::new(domain_id(domain)?, channels, &clients, &kinds)
}

/// Parses each entry of a repeated field; a fault names the entry.
fn each<'a, In: 'a, Out>(
    field: &str,
    given: &'a [In],
    parse: impl Fn(&str, &'a In) -> Result<Out, Fault>,
) -> Result<Vec<Out>, Fault> {
    given
        .iter()
        .enumerate()
        .map(|(index, entry)| parse(&format!("{field}[{index}]"), entry))
        .collect()
}

/// A question of a gate; `None` where the channel can be none, which is refused like one that is not there.
pub(crate) fn question(request: &proto::AuthorizeRequest) -> Result<Option<Question>, Fault> {
    let (domain_id, client_id) = (
        domain_id(&request.domain_id)?,
        wire::id("client_id", &request.client_id)?,
    );
    let kind = kind("type", request.r#type)?;
    let channel = match request.channel.parse() {
        Ok(id) => Some(Ref::Id(id)),
        Err(_) => Route::parse(&request.channel).map(Ref::Route),
    };
    Ok(channel.map(|channel| Question {
        domain_id,
        client_id,
        channel,
        kind,
    }))
}

/// A channel that a client may use.
pub(crate) fn reachable(channel: &Reachable) -> proto::AuthorizeResponse {
    proto::AuthorizeResponse {
        channel_id: channel.id.to_string(),
        route: channel.route.map(|route| route.to_string()),
    }
}

/// The connections of one channel, as events carry them.
pub(crate) fn connections(connections: &Connections, id: ChannelId) -> Vec<u8> {
    let types = connections.kinds().map(|kind| match kind {
        Kind::Publish => proto::ConnectionType::Publish.into(),
        Kind::Subscribe => proto::ConnectionType::Subscribe.into(),
    });
    let body = proto::ConnectClientsRequest {
        domain_id: connections.domain_id().to_string(),
        id: id.to_string(),
        client_ids: connections.clients().map(|id| id.to_string()).collect(),
        types: types.collect(),
    };
    body.encode_to_vec()
}

/// The ids that a method on one channel names.
pub(crate) fn ids(domain: &str, channel: &str) -> Result<(DomainId, ChannelId), Fault> {
    Ok((domain_id(domain)?, wire::id("id", channel)?))
}

/// A channel as everyone sees it who may read it.
pub(crate) fn channel(channel: &Channel) -> proto::Channel {
    let base = &channel.base;
    let status = match base.status {
        Status::Enabled => proto::Status::Enabled,
        Status::Disabled => proto::Status::Disabled,
    };
    proto::Channel {
        id: base.id.to_string(),
        name: base.name.as_ref().map(ToString::to_string),
        tags: base.tags.clone().into_vec(),
        domain_id: base.domain_id.to_string(),
        parent_group_id: base.parent_group_id.map(|id| id.to_string()),
        route: channel.route.map(|route| route.to_string()),
        metadata: base.metadata.clone().map(json),
        status: status.into(),
        created_by: channel.created_by.to_string(),
        created_at: Some(time(base.created_at)),
        updated_at: Some(time(base.updated_at)),
        updated_by: base.updated_by.map(|id| id.to_string()),
    }
}

/// A channel as events carry it.
pub(crate) fn event_body(channel: &Channel) -> Vec<u8> {
    self::channel(channel).encode_to_vec()
}

/// A page of channels.
pub(crate) fn page(list: &List, total: Total, channels: &[Channel]) -> proto::ListChannelsResponse {
    proto::ListChannelsResponse {
        total: total.count,
        offset: list.page.offset(),
        limit: list.page.limit(),
        channels: channels.iter().map(channel).collect(),
    }
}

fn kind(field: &str, number: i32) -> Result<Kind, Fault> {
    match proto::ConnectionType::try_from(number) {
        Ok(proto::ConnectionType::Publish) => Ok(Kind::Publish),
        Ok(proto::ConnectionType::Subscribe) => Ok(Kind::Subscribe),
        Ok(proto::ConnectionType::Unspecified) | Err(_) => {
            Err(Fault::invalid(field, "is neither `Publish` nor `Subscribe`"))
        }
    }
}

#[cfg(test)]
mod tests;

//! From the contract's request to a query, and from a page to the contract's response.

use std::str::FromStr;

use trunkline_proto::http::v1::Json;
use trunkline_proto::messages::v1::{Message, ReadMessagesRequest, ReadMessagesResponse};
use trunkline_store::{Filter, Order, Page, PageLimit, Protocol, Query, StoredRecord};
use uuid::Uuid;

use crate::Error;

/// Furthest start of a page: the store walks over every record before it.
const OFFSET_MAX: u64 = 1_000_000;

/// The query that a request means. Empty texts are unset, but for `subtopic`: there it means records without one.
pub(crate) fn query(request: &ReadMessagesRequest) -> Result<Query, Error> {
    let limit = PageLimit::parse(request.limit).map_err(|error| Error::invalid("limit", error.to_string()))?;
    if request.offset > OFFSET_MAX {
        let description = format!("must be at most {OFFSET_MAX}; `from` and `to` reach further");
        return Err(Error::invalid("offset", description));
    }
    Ok(Query {
        domain_id: id("domain_id", &request.domain_id)?,
        channel_id: id("channel_id", &request.channel_id)?,
        filter: Filter {
            from: request.from,
            to: request.to,
            subtopic: request.subtopic.clone(),
            publisher_id: set(&request.publisher)
                .map(|text| id::<Uuid>("publisher", text))
                .transpose()?,
            protocol: set(&request.protocol).map(protocol).transpose()?,
            name: set(&request.name).map(str::to_owned),
        },
        order: Order::Descending,
        after: None,
        offset: request.offset,
        limit,
    })
}

/// The response that a page makes.
pub(crate) fn response(query: &Query, page: Page) -> ReadMessagesResponse {
    ReadMessagesResponse {
        offset: query.offset,
        limit: query.limit.count() as u64,
        total: page.total,
        total_is_capped: page.is_total_capped,
        messages: page.records.into_iter().map(message).collect(),
    }
}

fn message(record: StoredRecord) -> Message {
    let origin = &record.origin;
    Message {
        channel: origin.channel_id.to_string(),
        subtopic: origin.subtopic.clone(),
        publisher: origin.publisher_id.to_string(),
        protocol: origin.protocol.as_str().to_owned(),
        content_type: (!origin.content_type.is_empty()).then(|| origin.content_type.clone()),
        message_id: origin.message_id.to_string(),
        pack_index: record.pack_index,
        name: record.name,
        unit: record.unit,
        time: record.time,
        update_time: record.update_time,
        value: record.value,
        string_value: record.string_value,
        data_value: record.data_value,
        bool_value: record.bool_value,
        sum: record.sum,
        payload: record.payload.map(|text| Json { text: text.into() }),
        decode_error: record.decode_error,
    }
}

fn set(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn id<T: FromStr>(field: &'static str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| Error::invalid(field, "must be a UUID"))
}

fn protocol(text: &str) -> Result<Protocol, Error> {
    Protocol::parse(text)
        .ok_or_else(|| Error::invalid("protocol", "must be mqtt, http, ws, coap, grpc, internal or unknown"))
}

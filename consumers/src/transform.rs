//! What an envelope becomes in the message store. Pure: no clock, no state.
//!
//! | payload | becomes |
//! |---|---|
//! | SenML by its content type, or a JSON array of which at least one record resolves | one record per measurement |
//! | a record of such a pack that does not resolve, or with U+0000 in a text | its JSON as `payload`, with `decode_error` |
//! | a JSON object | one record with it as `payload`, as it was written |
//! | anything else, other JSON included | one record with it as `data_value` in base64 (RFC 4648, section 4) |
//!
//! What was said to be SenML or JSON and is not carries `decode_error` besides.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use trunkline_bus::envelope::Ids;
use trunkline_bus::{EnvelopeError, StoredEntry};
use trunkline_proto::messages::v1 as proto;
use trunkline_senml::{Entry, Limits, Pack, Value};
use trunkline_store::{LogPosition, Origin, Protocol, PublisherKind, StoredRecord};
use uuid::Uuid;

/// Levels that a JSON object may be nested in to be kept as an object: whoever reads the page must be able to parse it.
const OBJECT_DEPTH_MAX: usize = 32;

const SENML_JSON: &str = "application/senml+json";
const SENML_CBOR: &str = "application/senml+cbor";
const JSON: &str = "application/json";

/// The records that an entry of the log becomes; at least one.
///
/// # Errors
/// When the envelope lacks an id that a record must have.
pub fn transform(entry: &StoredEntry) -> Result<Vec<StoredRecord>, EnvelopeError> {
    let origin = Arc::new(origin(entry)?);
    let payload = &entry.envelope.payload[..];
    let media_type = media_type(&entry.envelope.content_type);
    if media_type.eq_ignore_ascii_case(SENML_JSON) {
        return Ok(declared_senml(&origin, payload));
    }
    if media_type.eq_ignore_ascii_case(SENML_CBOR) {
        return Ok(vec![undecoded(
            &origin,
            payload,
            "SenML in CBOR is not decoded by this version",
        )]);
    }
    if let Some(records) = undeclared_senml(&origin, payload) {
        return Ok(records);
    }
    let is_broken = media_type.eq_ignore_ascii_case(JSON) && serde_json::from_slice::<&RawValue>(payload).is_err();
    let record = if is_broken {
        undecoded(&origin, payload, "the payload is not JSON")
    } else {
        whole(&origin, payload)
    };
    Ok(vec![record])
}

fn origin(entry: &StoredEntry) -> Result<Origin, EnvelopeError> {
    let envelope = &*entry.envelope;
    let ids = Ids::read(envelope)?;
    let publisher = envelope.publisher.clone().unwrap_or_default();
    Ok(Origin {
        domain_id: ids.domain,
        channel_id: ids.channel,
        message_id: ids.message,
        subtopic: envelope.subtopic.clone(),
        publisher_id: Uuid::from_slice(&publisher.id).unwrap_or_default(),
        publisher_kind: publisher_kind(publisher.kind()),
        device_id: Uuid::from_slice(&envelope.device_id).ok(),
        protocol: protocol(envelope.protocol()),
        content_type: envelope.content_type.clone(),
        received_at: envelope.received_at,
        log_shard: entry.shard.0,
        log_position: LogPosition {
            incarnation: entry.incarnation.0,
            sequence: entry.sequence,
        },
    })
}

fn publisher_kind(kind: proto::PublisherKind) -> PublisherKind {
    match kind {
        proto::PublisherKind::Client => PublisherKind::Client,
        proto::PublisherKind::User => PublisherKind::User,
        proto::PublisherKind::Rule => PublisherKind::Rule,
        proto::PublisherKind::Unspecified => PublisherKind::Unknown,
    }
}

fn protocol(protocol: proto::Protocol) -> Protocol {
    match protocol {
        proto::Protocol::Mqtt => Protocol::Mqtt,
        proto::Protocol::Http => Protocol::Http,
        proto::Protocol::Ws => Protocol::Ws,
        proto::Protocol::Coap => Protocol::Coap,
        proto::Protocol::Grpc => Protocol::Grpc,
        proto::Protocol::Internal => Protocol::Internal,
        proto::Protocol::Unspecified => Protocol::Unknown,
    }
}

/// A content type without its parameters.
fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn declared_senml(origin: &Arc<Origin>, payload: &[u8]) -> Vec<StoredRecord> {
    let pack = match trunkline_senml::decode_json(payload, &Limits::default()) {
        Ok(pack) => pack,
        Err(error) => return vec![undecoded(origin, payload, &error.to_string())],
    };
    let records = resolve(origin, &pack);
    if records.is_empty() {
        return vec![undecoded(origin, payload, "the pack has no measurements")];
    }
    records
}

/// `None` when the payload is no pack of which any record resolves.
fn undeclared_senml(origin: &Arc<Origin>, payload: &[u8]) -> Option<Vec<StoredRecord>> {
    if payload.trim_ascii_start().first() != Some(&b'[') {
        return None;
    }
    let pack = trunkline_senml::decode_json(payload, &Limits::default()).ok()?;
    let is_senml = pack.resolve(origin.received_at).any(|entry| entry.record.is_ok());
    is_senml.then(|| resolve(origin, &pack))
}

fn resolve(origin: &Arc<Origin>, pack: &Pack<'_>) -> Vec<StoredRecord> {
    pack.resolve(origin.received_at)
        .map(|entry| measurement(origin, entry))
        .collect()
}

fn measurement(origin: &Arc<Origin>, entry: Entry<'_>) -> StoredRecord {
    let pack_index = u32::try_from(entry.index).expect("a pack has at most 10,000 records");
    let empty = |time| StoredRecord::new(origin.clone(), time, pack_index);
    let broken = |error: &str| StoredRecord {
        payload: Some(entry.text.to_owned()),
        decode_error: Some(reason(error)),
        ..empty(origin.received_at)
    };
    let resolved = match entry.record {
        Ok(resolved) => resolved,
        Err(error) => return broken(&error.to_string()),
    };
    let mut record = StoredRecord {
        name: Some(resolved.name.into_owned()),
        unit: resolved.unit.map(Into::into),
        sum: resolved.sum,
        update_time: resolved.update_time,
        ..empty(resolved.time)
    };
    match resolved.value {
        Some(Value::Number(number)) => record.value = Some(number),
        Some(Value::Text(text)) => record.string_value = Some(text.into_owned()),
        Some(Value::Bool(bool)) => record.bool_value = Some(bool),
        Some(Value::Data(data)) => record.data_value = Some(data.into_owned()),
        None => {}
    }
    // Postgres cannot keep it; what a record becomes must not depend on where it is stored.
    let texts = [&record.name, &record.unit, &record.string_value];
    if texts.into_iter().flatten().any(|text| text.contains('\0')) {
        return broken("a text with U+0000 is not kept as such");
    }
    record
}

fn undecoded(origin: &Arc<Origin>, payload: &[u8], error: &str) -> StoredRecord {
    StoredRecord {
        decode_error: Some(reason(error)),
        ..whole(origin, payload)
    }
}

/// A reason as it is kept: it may quote what was sent.
fn reason(error: &str) -> String {
    error.replace('\0', "\u{fffd}")
}

/// The payload as one record.
fn whole(origin: &Arc<Origin>, payload: &[u8]) -> StoredRecord {
    let record = StoredRecord::new(origin.clone(), origin.received_at, 0);
    match json_object(payload) {
        Some(object) => StoredRecord {
            payload: Some(object.to_owned()),
            ..record
        },
        None => StoredRecord {
            data_value: Some(STANDARD.encode(payload)),
            ..record
        },
    }
}

/// The text of a JSON object, without the blanks around it.
fn json_object(payload: &[u8]) -> Option<&str> {
    let value: &RawValue = serde_json::from_slice(payload).ok()?;
    let is_object = value.get().starts_with('{') && !trunkline_senml::nests_deeper_than(payload, OBJECT_DEPTH_MAX);
    is_object.then(|| value.get())
}

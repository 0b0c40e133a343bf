//! Values that are one text: times, durations, masks and bytes, and every kind as paths and queries spell it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};
use prost_reflect::{DynamicMessage, Value};

use crate::codec::decode;
use crate::codec::duration;
use crate::schema::{Field, Kind, Schema};

/// Go's zero time in seconds since the Unix epoch: what its clients send for a time that is not set.
const ZERO_TIME_SECONDS: i64 = -62_135_596_800;
const NANOSECONDS: i128 = 1_000_000_000;

/// A value as a path or a query spells it. `None` is "not given"; an error says what would be right.
pub(crate) fn from_text(schema: &Schema, field: &Field, text: &str) -> Result<Option<Value>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let value = match field.kind {
        Kind::Bool => text.parse().ok().map(Value::Bool).ok_or("must be `true` or `false`")?,
        Kind::Int32 => text
            .parse()
            .ok()
            .map(Value::I32)
            .ok_or("must be a whole number of 32 bits")?,
        Kind::Int64 => text
            .parse()
            .ok()
            .map(Value::I64)
            .ok_or("must be a whole number of 64 bits")?,
        Kind::Uint32 => text
            .parse()
            .ok()
            .map(Value::U32)
            .ok_or("must be a whole number from 0 to 4294967295")?,
        Kind::Uint64 => text
            .parse()
            .ok()
            .map(Value::U64)
            .ok_or("must be a whole number, not negative, of 64 bits")?,
        Kind::Double => text
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Value::F64)
            .ok_or("must be a number")?,
        Kind::Text => Value::String(text.to_owned()),
        Kind::Json => decode::free_json(field, text.trim())?,
        Kind::Enum(_) | Kind::Bytes | Kind::Time | Kind::Duration | Kind::Mask => return spelled(schema, field, text),
        Kind::Message(_) => return Err("cannot be given here".to_owned()),
    };
    Ok(Some(value))
}

/// The kinds that JSON, too, spells as a text.
pub(crate) fn spelled(schema: &Schema, field: &Field, text: &str) -> Result<Option<Value>, String> {
    if text.is_empty() && field.is_unset_by_empty_text() {
        return Ok(None);
    }
    match field.kind {
        Kind::Text => Ok(Some(Value::String(text.to_owned()))),
        Kind::Enum(id) => {
            let known = schema.enumeration(id);
            let allowed = || format!("must be one of {}", known.names().collect::<Vec<_>>().join(", "));
            known
                .number(text)
                .map(|number| Some(Value::EnumNumber(number)))
                .ok_or_else(allowed)
        }
        Kind::Bytes => {
            let bytes = STANDARD.decode(text).map_err(|_| "must be base64 with padding")?;
            Ok(Some(Value::Bytes(bytes.into())))
        }
        Kind::Time => {
            let time = DateTime::parse_from_rfc3339(text)
                .map_err(|_| "must be a time as in RFC 3339, such as 2026-11-22T10:00:00Z")?;
            let (seconds, nanoseconds) = (time.timestamp(), time.timestamp_subsec_nanos());
            let is_zero = (seconds, nanoseconds) == (ZERO_TIME_SECONDS, 0);
            Ok((!is_zero).then(|| pair(field, seconds, i32::try_from(nanoseconds).unwrap_or_default())))
        }
        Kind::Duration => {
            let total = duration::parse(text).ok_or("must be a duration such as 1h30m0s")?;
            let (seconds, nanoseconds) = (total / 1_000_000_000, total % 1_000_000_000);
            Ok(Some(pair(
                field,
                seconds,
                i32::try_from(nanoseconds).unwrap_or_default(),
            )))
        }
        Kind::Mask => {
            let paths = text
                .split(',')
                .map(|path| Value::String(path.trim().to_owned()))
                .collect();
            Ok(Some(mask(field, paths)))
        }
        Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Double => {
            Err("cannot be a text".to_owned())
        }
        Kind::Message(_) | Kind::Json => Err("must be an object".to_owned()),
    }
}

/// A field mask of `paths`.
pub(crate) fn mask(field: &Field, paths: Vec<Value>) -> Value {
    let mut message = empty(field);
    message.set_field_by_name("paths", Value::List(paths));
    Value::Message(message)
}

/// RFC 3339 in UTC, with as many digits as it takes; `None` outside the years 1 to 9999.
pub(crate) fn time_text(time: &DynamicMessage) -> Option<String> {
    let (seconds, nanoseconds) = parts(time);
    let time = DateTime::<Utc>::from_timestamp(seconds, u32::try_from(nanoseconds).ok()?)?;
    (1..=9999)
        .contains(&time.year())
        .then(|| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// A duration as Go writes it.
pub(crate) fn duration_text(message: &DynamicMessage) -> String {
    let (seconds, nanoseconds) = parts(message);
    duration::format(i128::from(seconds) * NANOSECONDS + i128::from(nanoseconds))
}

/// The message of seconds and nanoseconds that times and durations are.
fn pair(field: &Field, seconds: i64, nanoseconds: i32) -> Value {
    let mut message = empty(field);
    message.set_field_by_name("seconds", Value::I64(seconds));
    message.set_field_by_name("nanos", Value::I32(nanoseconds));
    Value::Message(message)
}

fn parts(message: &DynamicMessage) -> (i64, i32) {
    let seconds = message.get_field_by_name("seconds").and_then(|value| value.as_i64());
    let nanoseconds = message.get_field_by_name("nanos").and_then(|value| value.as_i32());
    (seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

/// An empty message of the field's type.
pub(crate) fn empty(field: &Field) -> DynamicMessage {
    let kind = field.descriptor.kind();
    DynamicMessage::new(
        kind.as_message()
            .expect("the schema gives this kind to fields of messages alone")
            .clone(),
    )
}

//! Messages to JSON, straight into bytes.
//!
//! A field without presence and a list are always written; a field with presence when it is set; an enum when its value has a
//! text; a field that callers alone send never.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, Value};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::codec::scalar;
use crate::schema::{Field, Kind, MessageId, Schema};

/// Writes `message`, which is of the type `id`, to the end of `out`.
pub(crate) fn message(schema: &Schema, id: MessageId, message: &DynamicMessage, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut separator: &[u8] = b"";
    for field in &schema.message(id).fields {
        if !is_written(schema, field, message) {
            continue;
        }
        out.extend_from_slice(separator);
        separator = b",";
        json(&field.name, out);
        out.push(b':');
        match message.get_field(&field.descriptor).as_ref() {
            Value::List(elements) => list(schema, field, elements, out),
            single => value(schema, field, single, out),
        }
    }
    out.push(b'}');
}

fn is_written(schema: &Schema, field: &Field, message: &DynamicMessage) -> bool {
    if field.is_input_only {
        return false;
    }
    if field.is_list {
        return true;
    }
    if field.has_presence && !message.has_field(&field.descriptor) {
        return false;
    }
    match field.kind {
        Kind::Enum(id) => {
            let number = message
                .get_field(&field.descriptor)
                .as_enum_number()
                .unwrap_or_default();
            schema.enumeration(id).name(number).is_some_and(|name| !name.is_empty())
        }
        Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Double | Kind::Text => true,
        Kind::Bytes | Kind::Message(_) | Kind::Time | Kind::Duration | Kind::Mask | Kind::Json => true,
    }
}

fn list(schema: &Schema, field: &Field, elements: &[Value], out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        value(schema, field, element, out);
    }
    out.push(b']');
}

fn value(schema: &Schema, field: &Field, value: &Value, out: &mut Vec<u8>) {
    match (value, field.kind) {
        (Value::Bool(truth), _) => json(truth, out),
        (Value::I32(number), _) => json(number, out),
        (Value::I64(number), _) => json(number, out),
        (Value::U32(number), _) => json(number, out),
        (Value::U64(number), _) => json(number, out),
        (Value::F64(number), _) => json(number, out),
        (Value::String(text), _) => json(text, out),
        (Value::Bytes(bytes), _) => json(&STANDARD.encode(bytes), out),
        (Value::EnumNumber(number), Kind::Enum(id)) => {
            json(schema.enumeration(id).name(*number).unwrap_or_default(), out);
        }
        (Value::Message(inner), Kind::Message(id)) => message(schema, id, inner, out),
        (Value::Message(inner), Kind::Time) => json(&scalar::time_text(inner), out),
        (Value::Message(inner), Kind::Duration) => json(&scalar::duration_text(inner), out),
        (Value::Message(inner), Kind::Mask) => json(&mask_text(inner), out),
        (Value::Message(inner), Kind::Json) => free_json(inner, out),
        // Floats and maps are refused when the schema is made, and a list is taken apart before.
        (Value::F32(_) | Value::Map(_) | Value::List(_) | Value::EnumNumber(_) | Value::Message(_), _) => {
            out.extend_from_slice(b"null");
        }
    }
}

fn mask_text(mask: &DynamicMessage) -> String {
    let paths = mask.get_field_by_name("paths");
    let paths = paths.as_ref().and_then(|paths| paths.as_list()).unwrap_or_default();
    paths.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// Free JSON goes out as it came in. A damaged text becomes null: it must not damage the answer around it.
fn free_json(message: &DynamicMessage, out: &mut Vec<u8>) {
    let text = message.get_field_by_name("text");
    let bytes = text
        .as_ref()
        .and_then(|text| text.as_bytes())
        .map(|bytes| &bytes[..])
        .unwrap_or_default();
    match serde_json::from_slice::<&RawValue>(bytes) {
        Ok(raw) => out.extend_from_slice(raw.get().as_bytes()),
        Err(_) => out.extend_from_slice(b"null"),
    }
}

/// Writes a plain value; numbers that JSON lacks become null.
fn json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("plain values always serialize into memory");
}

//! Path, query and body to one request message. The path wins over the body; the query fills what they leave.

use std::borrow::Cow;

use prost_reflect::{DynamicMessage, Value};
use serde_json::value::RawValue;
use trunkline_core::error::{Code, Fault, FieldViolation};

use crate::codec::decode::{Decoder, parse};
use crate::codec::scalar;
use crate::contract::{Body, Operation};
use crate::percent;
use crate::schema::{Field, Kind, Message, Schema};

/// What a request carries besides its method.
pub(crate) struct Parts<'a> {
    /// Values of the path's variables, in the order of the template.
    pub(crate) captures: Vec<Cow<'a, str>>,
    /// The query as it came, without its `?`.
    pub(crate) query: &'a str,
    /// The body.
    pub(crate) body: &'a [u8],
}

/// Builds the request of `operation`.
///
/// # Errors
/// INVALID_ARGUMENT, naming the field by the path that the caller wrote.
pub(crate) fn build(schema: &Schema, operation: &Operation, parts: Parts<'_>) -> Result<DynamicMessage, Fault> {
    let input = schema.message(operation.input);
    let mut message = match operation.body {
        Body::Ignored => DynamicMessage::new(input.descriptor.clone()),
        Body::Whole => {
            let raw = body(parts.body)?;
            let in_path = |field: &Field| {
                operation
                    .path_fields
                    .iter()
                    .any(|position| input.fields[*position].name == field.name)
            };
            Decoder::new(schema)
                .message(operation.input, raw.get(), &|field| !in_path(field))?
                .message
        }
        Body::Field(position) => {
            let mut message = DynamicMessage::new(input.descriptor.clone());
            resource(
                schema,
                operation,
                &input.fields[position],
                body(parts.body)?,
                &mut message,
            )?;
            message
        }
    };
    query(schema, operation, parts.query, &mut message)?;
    for (position, capture) in operation.path_fields.iter().zip(parts.captures) {
        message.set_field(&input.fields[*position].descriptor, Value::String(capture.into_owned()));
    }
    Ok(message)
}

fn body(bytes: &[u8]) -> Result<&RawValue, Fault> {
    if bytes.is_empty() {
        return Err(Fault::new(
            Code::InvalidArgument,
            "INVALID_JSON",
            "the body is empty; a JSON body is needed",
        ));
    }
    parse(bytes)
}

/// Reads a body that fills one field; of an update, only the declared fields, whose names become the mask.
fn resource(
    schema: &Schema,
    operation: &Operation,
    field: &Field,
    raw: &RawValue,
    message: &mut DynamicMessage,
) -> Result<(), Fault> {
    let mut decoder = Decoder::new(schema);
    let Kind::Message(id) = field.kind else {
        return whole_field(&mut decoder, field, raw, message);
    };
    if field.is_list {
        return whole_field(&mut decoder, field, raw, message);
    }
    let Some(update) = &operation.update else {
        let decoded = decoder.message(id, raw.get(), &|_| true)?;
        message.set_field(&field.descriptor, Value::Message(decoded.message));
        return Ok(());
    };
    let decoded = decoder.message(id, raw.get(), &|known| update.fields.contains(&known.name))?;
    let mask = &schema.message(operation.input).fields[update.mask];
    let given = decoded.given.into_iter().map(Value::String).collect();
    message.set_field(&field.descriptor, Value::Message(decoded.message));
    message.set_field(&mask.descriptor, scalar::mask(mask, given));
    Ok(())
}

/// Reads a body that is not an object, such as a list of resources.
fn whole_field(
    decoder: &mut Decoder<'_>,
    field: &Field,
    raw: &RawValue,
    message: &mut DynamicMessage,
) -> Result<(), Fault> {
    if let Some(value) = decoder.field(field, raw.get())? {
        message.set_field(&field.descriptor, value);
    }
    Ok(())
}

/// Fills the fields that the query may fill. Other keys are ignored.
///
/// The raw query is split at `?` too: clients append `?roles=true` to URLs that have a query already, and encode the `?` of values.
fn query(schema: &Schema, operation: &Operation, query: &str, message: &mut DynamicMessage) -> Result<(), Fault> {
    let input = schema.message(operation.input);
    let mut seen = Vec::new();
    for pair in query.split(['&', '?']) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(key) = percent::decode_query(key) else {
            continue;
        };
        let Some(field) = query_field(operation, input, &key) else {
            continue;
        };
        if seen.contains(&key) {
            return Err(Fault::invalid(key, "is given twice in the query"));
        }
        let text = percent::decode_query(value).ok_or_else(|| Fault::invalid(&*key, "is not percent-encoded UTF-8"))?;
        if let Some(value) = query_value(schema, field, &text).map_err(|problem| Fault::invalid(&*key, problem))? {
            message.set_field(&field.descriptor, value);
        }
        seen.push(key);
    }
    Ok(())
}

fn query_field<'a>(operation: &Operation, input: &'a Message, key: &str) -> Option<&'a Field> {
    operation
        .query_fields
        .iter()
        .map(|position| &input.fields[*position])
        .find(|field| field.name == key)
}

/// One value, or a list of them joined by commas.
fn query_value(schema: &Schema, field: &Field, text: &str) -> Result<Option<Value>, String> {
    if !field.is_list {
        return scalar::from_text(schema, field, text);
    }
    let values = text
        .split(',')
        .filter_map(|part| scalar::from_text(schema, field, part).transpose());
    let values: Vec<Value> = values.collect::<Result<_, _>>()?;
    Ok((!values.is_empty()).then_some(Value::List(values)))
}

/// Tells the violations of a fault by the paths that the HTTP caller wrote: a whole resource as body has no name of its own, so
/// `client.name` is `name` to him, and `clients[2].name` of a list is `[2].name`.
pub(crate) fn rename_violations(schema: &Schema, operation: &Operation, fault: &mut Fault) {
    let Body::Field(position) = operation.body else { return };
    let body = &schema.message(operation.input).fields[position].name;
    let in_body = |path: &str| match path.strip_prefix(body.as_str())? {
        rest if rest.starts_with('[') => Some(rest.to_owned()),
        rest => rest.strip_prefix('.').map(str::to_owned),
    };
    for FieldViolation { field, .. } in &mut fault.fields {
        let Some(inner) = in_body(field) else { continue };
        if let Some(rest) = fault.message.strip_prefix(&*field).filter(|rest| rest.starts_with(':')) {
            fault.message = format!("{inner}{rest}");
        }
        *field = inner;
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

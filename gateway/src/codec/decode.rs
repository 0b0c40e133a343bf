//! JSON to messages. What is refused is named by its path as the caller wrote it.
//!
//! `null` is absent. A key that comes twice is refused, because two readers could take different ones.

use std::collections::HashSet;

use prost_reflect::{DynamicMessage, Value};
use serde::Deserialize;
use serde_json::value::RawValue;
use trunkline_core::error::{Code, Fault, reason};

use crate::codec::raw::{DEPTH_MAX, Members, depth};
use crate::codec::scalar;
use crate::schema::{Field, Kind, MessageId, Schema};

/// A message as it was read.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// The message.
    pub(crate) message: DynamicMessage,
    /// Names of the fields that were given, in the order of the keys.
    pub(crate) given: Vec<String>,
}

/// Reads bodies of one contract.
pub(crate) struct Decoder<'a> {
    schema: &'a Schema,
    /// Path of the value in hand, such as `outputs[2].type`.
    path: String,
}

/// Checks that `body` is one JSON text of bounded depth.
pub(crate) fn parse(body: &[u8]) -> Result<&RawValue, Fault> {
    let invalid = |cause: String| Fault::new(Code::InvalidArgument, "INVALID_JSON", cause);
    let raw: &RawValue =
        serde_json::from_slice(body).map_err(|error| invalid(format!("the body is not valid JSON: {error}")))?;
    if depth(raw.get()) > DEPTH_MAX {
        return Err(invalid(format!("the body is nested more than {DEPTH_MAX} levels deep")));
    }
    Ok(raw)
}

/// A `Json` message of `text` when it is an object; an error says what would be right.
pub(crate) fn free_json(field: &Field, text: &str) -> Result<Value, String> {
    let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
    if !is_json || !text.starts_with('{') || depth(text) > DEPTH_MAX {
        return Err(format!("must be a JSON object, at most {DEPTH_MAX} levels deep"));
    }
    let mut json = scalar::empty(field);
    json.set_field_by_name("text", Value::Bytes(text.as_bytes().to_vec().into()));
    Ok(Value::Message(json))
}

/// Reads a JSON value that is a finite number. The standard library rounds to the nearest double; serde_json may miss it by one.
fn number(text: &str) -> Option<f64> {
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    text.parse().ok().filter(|number: &f64| is_number && number.is_finite())
}

impl<'a> Decoder<'a> {
    /// A decoder of messages in `schema`.
    pub(crate) fn new(schema: &'a Schema) -> Self {
        Self {
            schema,
            path: String::new(),
        }
    }

    /// Reads an object into the fields that `keep` lets pass. Other known keys are dropped unread, unknown ones are refused.
    pub(crate) fn message(
        &mut self,
        id: MessageId,
        text: &str,
        keep: &dyn Fn(&Field) -> bool,
    ) -> Result<Decoded, Fault> {
        let schema = self.schema.message(id);
        let Members(members) = self.read(text, "must be an object")?;
        let mut decoded = Decoded {
            message: DynamicMessage::new(schema.descriptor.clone()),
            given: Vec::new(),
        };
        let mut seen = HashSet::with_capacity(members.len());
        for (key, raw) in &members {
            let outer_bytes = self.enter(key);
            if !seen.insert(key) {
                return Err(self.wrong("is given twice"));
            }
            match schema.fields.iter().find(|field| field.name == *key) {
                Some(field) if field.is_output_only || !keep(field) => {}
                Some(field) => {
                    if let Some(value) = self.field(field, raw.get())? {
                        decoded.message.set_field(&field.descriptor, value);
                        decoded.given.push(field.name.clone());
                    }
                }
                None if schema.legacy_keys.contains(key) => {}
                None => return Err(self.wrong("unknown field")),
            }
            self.path.truncate(outer_bytes);
        }
        Ok(decoded)
    }

    /// Reads the value of `field`; `None` when it is not given.
    pub(crate) fn field(&mut self, field: &Field, text: &str) -> Result<Option<Value>, Fault> {
        if text == "null" {
            return Ok(None);
        }
        if !field.is_list {
            return self.value(field, text);
        }
        let elements: Vec<&RawValue> = self.read(text, "must be a list")?;
        let mut values = Vec::with_capacity(elements.len());
        for (index, raw) in elements.into_iter().enumerate() {
            let outer_bytes = self.path.len();
            self.path.push_str(&format!("[{index}]"));
            values.push(
                self.value(field, raw.get())?
                    .ok_or_else(|| self.wrong("must not be empty"))?,
            );
            self.path.truncate(outer_bytes);
        }
        Ok(Some(Value::List(values)))
    }

    /// Reads one value of the field's kind.
    fn value(&mut self, field: &Field, text: &str) -> Result<Option<Value>, Fault> {
        let value = match field.kind {
            Kind::Bool => Value::Bool(self.read(text, "must be true or false")?),
            Kind::Int32 => Value::I32(self.read(text, "must be a whole number of 32 bits")?),
            Kind::Int64 => Value::I64(self.read(text, "must be a whole number of 64 bits")?),
            Kind::Uint32 => Value::U32(self.read(text, "must be a whole number from 0 to 4294967295")?),
            Kind::Uint64 => Value::U64(self.read(text, "must be a whole number, not negative, of 64 bits")?),
            Kind::Double => Value::F64(number(text).ok_or_else(|| self.wrong("must be a number"))?),
            Kind::Json => free_json(field, text).map_err(|problem| self.wrong(problem))?,
            Kind::Message(id) => Value::Message(self.message(id, text, &|_| true)?.message),
            Kind::Text | Kind::Bytes | Kind::Enum(_) | Kind::Time | Kind::Duration | Kind::Mask => {
                let spelled: String = self.read(text, "must be a text")?;
                return scalar::spelled(self.schema, field, &spelled).map_err(|problem| self.wrong(problem));
            }
        };
        Ok(Some(value))
    }

    fn read<'t, T: Deserialize<'t>>(&self, text: &'t str, expected: &str) -> Result<T, Fault> {
        serde_json::from_str(text).map_err(|_| self.wrong(expected))
    }

    /// Appends `key` to the path and gives the length to cut it back to.
    fn enter(&mut self, key: &str) -> usize {
        const KEY_CHARS_SHOWN: usize = 64;
        let outer_bytes = self.path.len();
        if outer_bytes > 0 {
            self.path.push('.');
        }
        self.path.extend(key.chars().take(KEY_CHARS_SHOWN));
        outer_bytes
    }

    /// The value in hand is refused.
    fn wrong(&self, problem: impl Into<String>) -> Fault {
        let problem = problem.into();
        if self.path.is_empty() {
            return Fault::new(
                Code::InvalidArgument,
                reason::INVALID_FIELD,
                format!("the body {problem}"),
            );
        }
        Fault::invalid(self.path.clone(), problem)
    }
}

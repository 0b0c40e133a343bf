//! JSON Schemas of messages and enums, as components of the document.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use crate::openapi::comments::Comments;
use crate::schema::{EnumId, Field, Kind, MessageId, Schema};

/// Component of the body of failures.
const ERROR: &str = "Error";

/// Collects the components that are referred to.
pub(super) struct Schemas<'a> {
    schema: &'a Schema,
    comments: &'a Comments,
    names: HashMap<String, String>,
    components: BTreeMap<String, Value>,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(schema: &'a Schema, comments: &'a Comments) -> Self {
        let components = BTreeMap::from([(ERROR.to_owned(), error())]);
        Self {
            schema,
            comments,
            names: names(schema),
            components,
        }
    }

    /// The components.
    pub(super) fn finish(self) -> BTreeMap<String, Value> {
        self.components
    }

    /// The comment on a field.
    pub(super) fn comment(&self, field: &Field) -> String {
        self.comments.of_field(&field.descriptor).text
    }

    /// A reference to a message, whose component is made if need be.
    pub(super) fn reference(&mut self, id: MessageId) -> Value {
        let name = self.names[self.schema.message(id).descriptor.full_name()].clone();
        self.body(id, &name, &|_| true)
    }

    /// A reference to the component `name`: the message with those fields alone that `keep` lets pass.
    pub(super) fn body(&mut self, id: MessageId, name: &str, keep: &dyn Fn(&Field) -> bool) -> Value {
        if !self.components.contains_key(name) {
            // The place is taken first: a message may hold itself.
            self.components.insert(name.to_owned(), Value::Null);
            let component = self.object(id, keep);
            self.components.insert(name.to_owned(), component);
        }
        reference_to(name)
    }

    /// The schema of a field's value.
    pub(super) fn value(&mut self, field: &Field) -> Value {
        let element = self.element(field);
        if field.is_list {
            json!({ "type": "array", "items": element })
        } else {
            element
        }
    }

    fn object(&mut self, id: MessageId, keep: &dyn Fn(&Field) -> bool) -> Value {
        let message = self.schema.message(id);
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message.fields.iter().filter(|field| keep(field)) {
            let mut property = self.value(field);
            property["description"] = self.comment(field).into();
            if field.is_output_only {
                property["readOnly"] = true.into();
            }
            if field.is_input_only {
                property["writeOnly"] = true.into();
            }
            if field.is_output_only && is_always_written(field) {
                required.push(Value::from(field.name.as_str()));
            }
            properties.insert(field.name.clone(), property);
        }
        let mut object = json!({
            "type": "object",
            "description": self.comments.of_message(&message.descriptor).text,
            "properties": properties,
        });
        if !required.is_empty() {
            object["required"] = required.into();
        }
        object
    }

    fn element(&mut self, field: &Field) -> Value {
        match field.kind {
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Int32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Int64 => json!({ "type": "integer", "format": "int64" }),
            Kind::Uint32 => json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX }),
            Kind::Uint64 => json!({ "type": "integer", "format": "int64", "minimum": 0 }),
            Kind::Double => json!({ "type": "number", "format": "double" }),
            Kind::Text if field.is_id() => json!({ "type": "string", "format": "uuid" }),
            Kind::Text | Kind::Mask => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Time => json!({ "type": "string", "format": "date-time" }),
            Kind::Duration => json!({ "type": "string", "examples": ["1h30m0s"] }),
            Kind::Json => json!({ "type": "object", "additionalProperties": true }),
            Kind::Message(id) => self.reference(id),
            Kind::Enum(id) => self.enumeration(id),
        }
    }

    fn enumeration(&mut self, id: EnumId) -> Value {
        let enumeration = self.schema.enumeration(id);
        let name = self.names[enumeration.descriptor.full_name()].clone();
        let named = enumeration.descriptor.values().filter_map(|value| {
            let text = enumeration.name(value.number()).filter(|text| !text.is_empty())?;
            Some(format!("- `{text}`: {}", self.comments.of_value(&value).text))
        });
        let values: Vec<String> = named.collect();
        let description = format!(
            "{}\n\n{}",
            self.comments.of_enum(&enumeration.descriptor).text,
            values.join("\n")
        );
        let texts: Vec<&str> = enumeration.names().collect();
        self.components.insert(
            name.clone(),
            json!({ "type": "string", "enum": texts, "description": description }),
        );
        reference_to(&name)
    }
}

/// Whether every answer has the field.
fn is_always_written(field: &Field) -> bool {
    let may_be_unset = field.has_presence || matches!(field.kind, Kind::Enum(_));
    !field.is_input_only && (field.is_list || !may_be_unset)
}

fn reference_to(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Names of the components: the type's own name, with its package's area before it where two packages share it.
fn names(schema: &Schema) -> HashMap<String, String> {
    let messages = schema
        .messages()
        .map(|(_, message)| (message.descriptor.full_name(), message.descriptor.package_name()));
    let enums = schema.enums().map(|(_, enumeration)| {
        (
            enumeration.descriptor.full_name(),
            enumeration.descriptor.package_name(),
        )
    });
    let types: Vec<(&str, &str)> = messages.chain(enums).collect();
    let own = |full_name: &str| full_name.rsplit('.').next().unwrap_or(full_name).to_owned();
    let mut uses: HashMap<String, usize> = HashMap::from([(ERROR.to_owned(), 1)]);
    for (full_name, _) in &types {
        *uses.entry(own(full_name)).or_default() += 1;
    }
    let named = types.into_iter().map(|(full_name, package)| {
        let name = own(full_name);
        let area = package.split('.').nth(1).unwrap_or_default();
        let shared = uses.get(&name).is_some_and(|count| *count > 1);
        (
            full_name.to_owned(),
            if shared {
                format!("{}{name}", capitalized(area))
            } else {
                name
            },
        )
    });
    named.collect()
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + chars.as_str())
        .unwrap_or_default()
}

/// The body of failures, which no contract holds.
fn error() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "type": "object",
        "description": "A failure.",
        "required": ["message", "error", "code", "reason", "request_id", "fields"],
        "properties": {
            "message": text("One sentence for people."),
            "error": text("The reason in words."),
            "code": text("Kind of failure, as gRPC names it."),
            "reason": text("Which failure it is, in a form that programs may rely on."),
            "request_id": text("Id of the request, under which its defects are logged."),
            "fields": {
                "type": "array",
                "description": "The fields that are wrong, if that is the failure.",
                "items": {
                    "type": "object",
                    "required": ["field", "description"],
                    "properties": {
                        "field": text("Path of the field, as the caller wrote it."),
                        "description": text("What is wrong and what would be right."),
                    },
                },
            },
        },
    })
}

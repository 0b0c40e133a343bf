//! The messages of the contracts as the codec needs them: fields by name, kinds, and what the options say, looked up once.

use std::collections::HashMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind as ProtoKind, MessageDescriptor};

use crate::error::Error;
use crate::options::Options;

/// Every message and enum that is reachable from a route.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    messages: Vec<Message>,
    enums: Vec<Enum>,
    message_ids: HashMap<String, MessageId>,
    enum_ids: HashMap<String, EnumId>,
}

/// Place of a message in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MessageId(usize);

/// Place of an enum in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EnumId(usize);

/// One message.
#[derive(Debug)]
pub(crate) struct Message {
    /// Its descriptor.
    pub(crate) descriptor: MessageDescriptor,
    /// Its fields in the order of the contract.
    pub(crate) fields: Vec<Field>,
    /// Keys that older clients send and that are dropped.
    pub(crate) legacy_keys: Vec<String>,
}

/// One field.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its descriptor.
    pub(crate) descriptor: FieldDescriptor,
    /// Its proto name, which is its JSON key.
    pub(crate) name: String,
    /// Kind of its value, or of each element.
    pub(crate) kind: Kind,
    /// Whether it is a list.
    pub(crate) is_list: bool,
    /// Whether unset differs from the kind's default.
    pub(crate) has_presence: bool,
    /// Whether the server alone sets it.
    pub(crate) is_output_only: bool,
    /// Whether it is never written.
    pub(crate) is_input_only: bool,
}

/// Kinds of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Double,
    Text,
    Bytes,
    Enum(EnumId),
    Message(MessageId),
    /// `google.protobuf.Timestamp`
    Time,
    /// `google.protobuf.Duration`
    Duration,
    /// `google.protobuf.FieldMask`
    Mask,
    /// `trunkline.http.v1.Json`
    Json,
}

/// One enum.
#[derive(Debug)]
pub(crate) struct Enum {
    /// Its descriptor.
    pub(crate) descriptor: EnumDescriptor,
    /// Number and JSON text of each value; the empty text is "not given".
    pub(crate) values: Vec<(i32, String)>,
}

impl Schema {
    /// The message at `id`.
    pub(crate) fn message(&self, id: MessageId) -> &Message {
        &self.messages[id.0]
    }

    /// The enum at `id`.
    pub(crate) fn enumeration(&self, id: EnumId) -> &Enum {
        &self.enums[id.0]
    }

    /// Every message.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (MessageId, &Message)> {
        self.messages
            .iter()
            .enumerate()
            .map(|(index, message)| (MessageId(index), message))
    }

    /// Every enum.
    pub(crate) fn enums(&self) -> impl Iterator<Item = (EnumId, &Enum)> {
        self.enums
            .iter()
            .enumerate()
            .map(|(index, enumeration)| (EnumId(index), enumeration))
    }

    /// Takes in a message with everything that it holds; messages may hold themselves.
    pub(crate) fn add(&mut self, descriptor: &MessageDescriptor, options: &Options) -> Result<MessageId, Error> {
        if let Some(id) = self.message_ids.get(descriptor.full_name()) {
            return Ok(*id);
        }
        let id = MessageId(self.messages.len());
        self.message_ids.insert(descriptor.full_name().to_owned(), id);
        self.messages.push(Message {
            descriptor: descriptor.clone(),
            fields: Vec::new(),
            legacy_keys: options.legacy_keys(descriptor),
        });
        let fields = descriptor
            .fields()
            .map(|field| self.field(field, options))
            .collect::<Result<_, _>>()?;
        self.messages[id.0].fields = fields;
        Ok(id)
    }

    fn field(&mut self, descriptor: FieldDescriptor, options: &Options) -> Result<Field, Error> {
        if descriptor.is_map() {
            return Err(Error::contract(
                descriptor.full_name(),
                "maps are not supported over HTTP; use trunkline.http.v1.Json",
            ));
        }
        Ok(Field {
            name: descriptor.name().to_owned(),
            kind: self.kind(&descriptor, options)?,
            is_list: descriptor.is_list(),
            has_presence: descriptor.supports_presence(),
            is_output_only: options.is_output_only(&descriptor),
            is_input_only: options.is_input_only(&descriptor),
            descriptor,
        })
    }

    fn kind(&mut self, field: &FieldDescriptor, options: &Options) -> Result<Kind, Error> {
        Ok(match field.kind() {
            ProtoKind::Bool => Kind::Bool,
            ProtoKind::Int32 | ProtoKind::Sint32 | ProtoKind::Sfixed32 => Kind::Int32,
            ProtoKind::Int64 | ProtoKind::Sint64 | ProtoKind::Sfixed64 => Kind::Int64,
            ProtoKind::Uint32 | ProtoKind::Fixed32 => Kind::Uint32,
            ProtoKind::Uint64 | ProtoKind::Fixed64 => Kind::Uint64,
            ProtoKind::Double => Kind::Double,
            ProtoKind::Float => {
                return Err(Error::contract(
                    field.full_name(),
                    "use double: float loses digits in JSON",
                ));
            }
            ProtoKind::String => Kind::Text,
            ProtoKind::Bytes => Kind::Bytes,
            ProtoKind::Enum(descriptor) => Kind::Enum(self.add_enum(&descriptor, options)?),
            ProtoKind::Message(descriptor) => match descriptor.full_name() {
                "google.protobuf.Timestamp" => Kind::Time,
                "google.protobuf.Duration" => Kind::Duration,
                "google.protobuf.FieldMask" => Kind::Mask,
                "trunkline.http.v1.Json" => Kind::Json,
                _ => Kind::Message(self.add(&descriptor, options)?),
            },
        })
    }

    fn add_enum(&mut self, descriptor: &EnumDescriptor, options: &Options) -> Result<EnumId, Error> {
        if let Some(id) = self.enum_ids.get(descriptor.full_name()) {
            return Ok(*id);
        }
        let named = |value: prost_reflect::EnumValueDescriptor| {
            let name = options.value_name(&value);
            let name =
                name.ok_or_else(|| Error::contract(value.full_name(), "it lacks the option (trunkline.http.v1.name)"))?;
            Ok::<_, Error>((value.number(), name))
        };
        let values = descriptor.values().map(named).collect::<Result<_, _>>()?;
        let id = EnumId(self.enums.len());
        self.enum_ids.insert(descriptor.full_name().to_owned(), id);
        self.enums.push(Enum {
            descriptor: descriptor.clone(),
            values,
        });
        Ok(id)
    }
}

impl Message {
    /// Place of the field `name`.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}

impl Field {
    /// Whether its empty text means that it is unset: ids, enums and times.
    pub(crate) fn is_unset_by_empty_text(&self) -> bool {
        match self.kind {
            Kind::Text => self.is_id(),
            Kind::Enum(_) | Kind::Time => true,
            Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Double | Kind::Bytes => false,
            Kind::Message(_) | Kind::Duration | Kind::Mask | Kind::Json => false,
        }
    }

    /// Whether it holds ids: by name, as everywhere in the contracts.
    pub(crate) fn is_id(&self) -> bool {
        self.kind == Kind::Text && (self.name == "id" || self.name.ends_with("_id") || self.name.ends_with("_ids"))
    }
}

impl Enum {
    /// The number of the value that `text` names, without regard to case.
    pub(crate) fn number(&self, text: &str) -> Option<i32> {
        self.values
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
            .map(|(number, _)| *number)
    }

    /// The text of the value `number`; `None` when this edge does not know it.
    pub(crate) fn name(&self, number: i32) -> Option<&str> {
        self.values
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, name)| name.as_str())
    }

    /// The texts that name something.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values
            .iter()
            .map(|(_, name)| name.as_str())
            .filter(|name| !name.is_empty())
    }
}

//! The JSON form of a pack: from bytes to the members of each record, nothing interpreted yet but the version.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::field::Label;
use crate::number::{number_text, parse_double};
use crate::{DecodeError, Field};

/// The version of SenML that RFC 8428 defines; lower ones are read alike.
const VERSION_MAX: f64 = 10.0;

/// What a pack may ask of its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Records in a pack.
    pub records_max: usize,
    /// Levels of arrays and objects, the pack itself being the first.
    pub depth_max: usize,
    /// Bytes of a resolved name. A pack writes its base name once and resolving writes it once a record.
    pub name_bytes_max: usize,
    /// Bytes of a unit.
    pub unit_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            records_max: 10_000,
            depth_max: 32,
            name_bytes_max: 1024,
            unit_bytes_max: 128,
        }
    }
}

/// A pack whose records are not resolved yet. It borrows from the bytes it was decoded from.
#[derive(Debug)]
pub struct Pack<'a> {
    pub(crate) records: Vec<Members<'a>>,
    pub(crate) limits: Limits,
}

/// The members of one record as they were written.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    /// The whole record.
    pub(crate) text: &'a str,
    /// The first unknown label that must be understood.
    pub(crate) must_understand: Option<String>,
    /// The first unknown base label that must be understood.
    pub(crate) base_must_understand: Option<String>,
    values: [Option<&'a RawValue>; Field::ALL.len()],
    is_duplicate: [bool; Field::ALL.len()],
}

/// Decodes a pack from JSON.
///
/// # Errors
/// When the bytes are no array of objects within the limits, or of a version that must not be read. What is wrong with one record
/// alone comes out when the pack is resolved.
pub fn decode_json<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Pack<'a>, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)?;
    if nests_deeper_than(bytes, limits.depth_max) {
        return Err(DecodeError::TooDeep(limits.depth_max));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let elements = Elements {
        count_max: limits.records_max.saturating_add(1),
    }
    .deserialize(&mut deserializer)
    .and_then(|elements| deserializer.end().map(|()| elements))
    .map_err(|error| DecodeError::NotAnArray(error.to_string()))?;
    if elements.is_empty() {
        return Err(DecodeError::Empty);
    }
    if elements.len() > limits.records_max {
        return Err(DecodeError::TooManyRecords(limits.records_max));
    }
    let records = elements
        .into_iter()
        .enumerate()
        .map(|(index, element)| Members::parse(element).ok_or(DecodeError::NotARecord(index)))
        .collect::<Result<Vec<_>, _>>()?;
    check_version(&records)?;
    Ok(Pack {
        records,
        limits: limits.clone(),
    })
}

/// Whether arrays and objects of a JSON text are nested in more than `depth_max` levels.
///
/// Brackets outside of strings are counted, since a parser that skips values has no limit of its own. Whether the text is JSON at all
/// is for that parser to say.
pub fn nests_deeper_than(json: &[u8], depth_max: usize) -> bool {
    let mut depth = 0_usize;
    let mut is_in_string = false;
    let mut is_escaped = false;
    for byte in json {
        if is_in_string {
            is_in_string = is_escaped || *byte != b'"';
            is_escaped = !is_escaped && *byte == b'\\';
            continue;
        }
        match byte {
            b'"' => is_in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > depth_max {
            return true;
        }
    }
    false
}

/// A version counts for the whole pack, so that no record of a pack of an unknown version is used.
fn check_version(records: &[Members<'_>]) -> Result<(), DecodeError> {
    let mut version = None;
    for value in records.iter().filter_map(|record| record.value(Field::BaseVersion)) {
        let number = number_text(value)
            .and_then(parse_double)
            .filter(|number| (1.0..=VERSION_MAX).contains(number) && number.fract() == 0.0)
            .ok_or_else(|| DecodeError::UnknownVersion(value.get().chars().take(20).collect()))?;
        if version.is_some_and(|earlier| earlier != number) {
            return Err(DecodeError::MixedVersions);
        }
        version = Some(number);
    }
    Ok(())
}

impl<'a> Members<'a> {
    /// The members of an object, or `None` when the value is no object.
    fn parse(element: &'a RawValue) -> Option<Members<'a>> {
        let mut members = Members {
            text: element.get(),
            must_understand: None,
            base_must_understand: None,
            values: [None; Field::ALL.len()],
            is_duplicate: [false; Field::ALL.len()],
        };
        serde_json::Deserializer::from_str(element.get())
            .deserialize_map(MembersVisitor(&mut members))
            .ok()?;
        Some(members)
    }

    /// The value of a field as it was written.
    pub(crate) fn value(&self, field: Field) -> Option<&'a RawValue> {
        self.values[field as usize]
    }

    /// Whether the label of a field came more than once.
    pub(crate) fn is_duplicate(&self, field: Field) -> bool {
        self.is_duplicate[field as usize]
    }

    fn put(&mut self, field: Field, value: &'a RawValue) {
        let previous = self.values[field as usize].replace(value);
        self.is_duplicate[field as usize] |= previous.is_some();
    }
}

struct MembersVisitor<'m, 'a>(&'m mut Members<'a>);

impl<'a> Visitor<'a> for MembersVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a record")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(label) = map.next_key::<Label>()? {
            match label {
                Label::Known(field) => self.0.put(field, map.next_value()?),
                Label::Ignored => {
                    map.next_value::<IgnoredAny>()?;
                }
                Label::MustUnderstand(label) => {
                    map.next_value::<IgnoredAny>()?;
                    self.0.must_understand.get_or_insert(label);
                }
                Label::BaseMustUnderstand(label) => {
                    map.next_value::<IgnoredAny>()?;
                    self.0.base_must_understand.get_or_insert(label);
                }
            }
        }
        Ok(())
    }
}

/// Takes the elements of an array, the first `count_max` of them.
struct Elements {
    count_max: usize,
}

impl<'de> DeserializeSeed<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < self.count_max {
            match sequence.next_element()? {
                Some(element) => elements.push(element),
                None => return Ok(elements),
            }
        }
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(elements)
    }
}

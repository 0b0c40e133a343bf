//! What every entity may carry: a name, tags and free metadata. Parsed once at the edge, valid from then on.

use std::fmt;

use serde::de::IgnoredAny;

use crate::error::Fault;

/// Longest name in bytes (magistrala.md 0, "Name limits").
pub const NAME_BYTES_MAX: usize = 1_024;
/// Most tags of an entity.
pub const TAGS_MAX: usize = 64;
/// Longest tag in bytes.
pub const TAG_BYTES_MAX: usize = 256;
/// Longest metadata in bytes.
pub const METADATA_BYTES_MAX: usize = 64 * 1_024;

/// A name for people: 1 to [`NAME_BYTES_MAX`] bytes without control characters; not unique.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(String);

impl Name {
    /// Parses a name; a fault names `field`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when the text is empty, too long or has control characters.
    pub fn parse(field: &str, text: &str) -> Result<Self, Fault> {
        bounded_text(field, text, NAME_BYTES_MAX)?;
        if text.trim().is_empty() {
            return Err(Fault::invalid(
                field,
                "is empty; a name has at least one visible character",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with case folded, as searches compare it.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Labels of an entity: at most [`TAGS_MAX`] of at most [`TAG_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags(Vec<String>);

impl Tags {
    /// Parses tags; a fault names `field` and the index.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when there are too many or one of them is empty, too long or has control characters.
    pub fn parse(field: &str, tags: Vec<String>) -> Result<Self, Fault> {
        if tags.len() > TAGS_MAX {
            return Err(Fault::invalid(
                field,
                format!("has {} tags; at most {TAGS_MAX} are allowed", tags.len()),
            ));
        }
        for (index, tag) in tags.iter().enumerate() {
            let field = format!("{field}[{index}]");
            bounded_text(&field, tag, TAG_BYTES_MAX)?;
            if tag.is_empty() {
                return Err(Fault::invalid(field, "is empty; leave it out"));
            }
        }
        Ok(Self(tags))
    }

    /// Reads tags that [`Tags::to_json`] wrote; none when the text is damaged.
    pub fn from_json(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap_or_default())
    }

    /// The tags as a JSON array of texts, as databases keep them.
    pub fn to_json(&self) -> String {
        serde_json::Value::from(self.0.clone()).to_string()
    }

    /// The tags in their order.
    pub fn into_vec(self) -> Vec<String> {
        self.0
    }
}

/// Free JSON of the user's own: one object of at most [`METADATA_BYTES_MAX`] bytes, kept as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata(String);

impl Metadata {
    /// Parses metadata; a fault names `field`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when the bytes are too many or not one JSON object.
    pub fn parse(field: &str, bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() > METADATA_BYTES_MAX {
            let description = format!("is {} bytes; at most {METADATA_BYTES_MAX} are allowed", bytes.len());
            return Err(Fault::invalid(field, description));
        }
        let not_json = || Fault::invalid(field, "is not a JSON object");
        let text = std::str::from_utf8(bytes).map_err(|_| not_json())?;
        if !text.trim_start().starts_with('{') {
            return Err(not_json());
        }
        // A NUL inside a string would be refused by Postgres later, so it is refused here (reliability.md B4 row 11).
        if text.contains("\\u0000") {
            return Err(Fault::invalid(
                field,
                "has the character U+0000, which cannot be stored",
            ));
        }
        serde_json::from_str::<IgnoredAny>(text)
            .map_err(|error| Fault::invalid(field, format!("is not JSON: {error}")))?;
        Ok(Self(text.to_owned()))
    }

    /// Takes text that [`Metadata::parse`] accepted before, such as a database's.
    pub const fn trusted(text: String) -> Self {
        Self(text)
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The JSON text, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Refuses text that is too long or has control characters.
///
/// # Errors
/// INVALID_ARGUMENT that names `field`.
pub fn bounded_text(field: &str, text: &str, bytes_max: usize) -> Result<(), Fault> {
    if text.len() > bytes_max {
        return Err(Fault::invalid(
            field,
            format!("is {} bytes; at most {bytes_max} are allowed", text.len()),
        ));
    }
    match text.chars().find(|character| character.is_control()) {
        Some(control) => Err(Fault::invalid(
            field,
            format!("has the control character U+{:04X}", control as u32),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_visible_characters_and_no_control_characters() {
        assert!(Name::parse("name", "Kühlraum 7").is_ok());
        for bad in ["", "  ", "a\nb", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert!(Name::parse("name", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn metadata_is_one_json_object_kept_as_it_came() {
        let text = br#" {"a": 1.50, "b": {"c": []}} "#;
        assert_eq!(
            Metadata::parse("metadata", text).map(Metadata::into_string),
            Ok(String::from_utf8_lossy(text).into())
        );
        for bad in [&b"[1]"[..], b"{", b"{} {}", b"\xff", br#"{"a":"\u0000"}"#] {
            assert!(Metadata::parse("metadata", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tags_read_back_from_what_the_database_keeps() {
        let tags = Tags::parse("tags", vec!["a \"b\"".into(), "c".into()]).unwrap();
        assert_eq!(Tags::from_json(&tags.to_json()), tags);
    }
}

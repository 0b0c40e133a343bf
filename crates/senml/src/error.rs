//! What can be wrong with a pack, and what with one record of it.

use crate::Field;

/// Why a text is no SenML pack that this version may use. Nothing of it is resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// The text is not one JSON array.
    #[error("the text is not a JSON array: {0}")]
    NotAnArray(String),
    /// An element of the array is not a JSON object; the index counts from 0.
    #[error("element {0} of the pack is not an object")]
    NotARecord(usize),
    /// The array has no elements.
    #[error("the pack is empty")]
    Empty,
    /// There are more records than [`crate::Limits::records_max`].
    #[error("the pack has more than {0} records")]
    TooManyRecords(usize),
    /// Arrays and objects are nested deeper than [`crate::Limits::depth_max`].
    #[error("the text is nested deeper than {0} levels")]
    TooDeep(usize),
    /// The base version is not an integer from 1 to 10, the version of RFC 8428.
    #[error("version {0} of the pack is not known")]
    UnknownVersion(String),
    /// Two records give different base versions.
    #[error("the records of the pack have different versions")]
    MixedVersions,
}

/// Why one record of a pack could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The record has an unknown label that must be understood (RFC 8428, 4.4); the first 64 characters of it.
    #[error("the label {0} must be understood and is not")]
    MustUnderstand(String),
    /// This or an earlier record has an unknown base label that must be understood, so that its meaning for this record is not known;
    /// the first 64 characters of it.
    #[error("the base label {0} must be understood and is not")]
    BaseMustUnderstand(String),
    /// A label comes twice in the record.
    #[error("the label {0} comes twice")]
    Duplicate(Field),
    /// A value has another JSON type than its label asks for.
    #[error("the label {0} has a value of the wrong type")]
    WrongType(Field),
    /// A number is beyond what a double can hold.
    #[error("the number of label {0} is out of range")]
    NumberOutOfRange(Field),
    /// An earlier record gave this base field in a form that cannot be used, and no record since has given it anew.
    #[error("the base field {0} of an earlier record is not valid")]
    BrokenBase(Field),
    /// Base name and name are both missing or empty.
    #[error("the name is empty")]
    NameEmpty,
    /// The name has a character outside of `A-Z a-z 0-9 - : . / _`, or begins with none of the letters and digits.
    #[error("the name has a character that is not allowed")]
    NameCharacter,
    /// The name is longer than [`crate::Limits::name_bytes_max`].
    #[error("the name is longer than {0} bytes")]
    NameTooLong(usize),
    /// The unit is longer than [`crate::Limits::unit_bytes_max`].
    #[error("the unit is longer than {0} bytes")]
    UnitTooLong(usize),
    /// The time does not fit into nanoseconds since the epoch, years 1677 to 2262.
    #[error("the time is out of range")]
    TimeOutOfRange,
    /// The record has neither a value nor a sum.
    #[error("the record has no value")]
    NoValue,
    /// The record has more than one of `v`, `vs`, `vb` and `vd`.
    #[error("the record has more than one value")]
    SeveralValues,
    /// The data value is not base64 in the alphabet that is safe in URLs.
    #[error("the data value is not base64url")]
    DataNotBase64,
}

//! Resolving a pack: base fields applied, times made absolute, values checked (RFC 8428, 4.5 and 4.6).
//!
//! Base fields apply to their own record and those after it until one gives them anew. A base field that cannot be used breaks the
//! records that depend on it and no others. A record of base fields alone measures nothing and gives no entry.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::value::RawValue;

use crate::number::{Seconds, number_text, parse_double};
use crate::pack::Members;
use crate::{Field, Limits, Pack, RecordError};

/// Times below this many seconds are relative to the time of reception (RFC 8428, 4.5.3).
const ABSOLUTE_TIME_MIN: Seconds = Seconds::from_whole(1 << 28);

/// RFC 8428 leaves padding out; what carries it is read as well.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One record of a pack, resolved or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'a> {
    /// Place in the pack, counted from 0.
    pub index: usize,
    /// The record as it was written.
    pub text: &'a str,
    /// The resolved record, or why there is none.
    pub record: Result<Record<'a>, RecordError>,
}

/// A resolved record. It stands alone: nothing of its pack is needed to read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    /// Base name and name.
    pub name: Cow<'a, str>,
    /// Unit, or base unit; `None` when neither is given.
    pub unit: Option<Cow<'a, str>>,
    /// Time of the measurement in nanoseconds since the Unix epoch.
    pub time: i64,
    /// The value; `None` when the record has only a sum.
    pub value: Option<Value<'a>>,
    /// Sum and base sum.
    pub sum: Option<f64>,
    /// Longest time in nanoseconds until the sensor gives its next reading.
    pub update_time: Option<i64>,
}

/// The value of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `v` and base value: the nearest double.
    Number(f64),
    /// `vs`
    Text(Cow<'a, str>),
    /// `vb`
    Bool(bool),
    /// `vd`: base64url as it was written, known to be valid.
    Data(Cow<'a, str>),
}

impl<'a> Pack<'a> {
    /// The records of the pack in their order; `received_at` is what relative times count from, in nanoseconds since the epoch.
    pub fn resolve(&self, received_at: i64) -> impl Iterator<Item = Entry<'a>> {
        let mut base = Base::default();
        self.records.iter().enumerate().filter_map(move |(index, members)| {
            base.take(members, &self.limits);
            let is_measurement = Field::ALL
                .iter()
                .any(|field| !field.is_base() && members.value(*field).is_some())
                || members.must_understand.is_some()
                || members.base_must_understand.is_some();
            is_measurement.then(|| Entry {
                index,
                text: members.text,
                record: base.resolve(members, received_at, &self.limits),
            })
        })
    }
}

/// The base fields in force, and which of them are broken.
#[derive(Default)]
struct Base<'a> {
    name: BaseField<Cow<'a, str>>,
    time: BaseField<Seconds>,
    unit: BaseField<Cow<'a, str>>,
    value: BaseField<f64>,
    sum: BaseField<f64>,
    must_understand: Option<String>,
}

/// What the last record that gave the field made of it; `None` before the first.
type BaseField<T> = Option<Result<T, RecordError>>;

impl<'a> Base<'a> {
    /// Takes the base fields that a record gives.
    fn take(&mut self, members: &Members<'a>, limits: &Limits) {
        let name_bytes_max = limits.name_bytes_max;
        take(&mut self.name, members, Field::BaseName, |value, field| {
            string(value, field).and_then(|name| check_bytes(name, name_bytes_max, RecordError::NameTooLong))
        });
        let unit_bytes_max = limits.unit_bytes_max;
        take(&mut self.unit, members, Field::BaseUnit, |value, field| {
            string(value, field).and_then(|unit| check_bytes(unit, unit_bytes_max, RecordError::UnitTooLong))
        });
        take(&mut self.time, members, Field::BaseTime, seconds);
        take(&mut self.value, members, Field::BaseValue, double);
        take(&mut self.sum, members, Field::BaseSum, double);
        if self.must_understand.is_none() {
            self.must_understand.clone_from(&members.base_must_understand);
        }
    }

    fn resolve(&self, members: &Members<'a>, received_at: i64, limits: &Limits) -> Result<Record<'a>, RecordError> {
        if let Some(label) = &self.must_understand {
            return Err(RecordError::BaseMustUnderstand(label.clone()));
        }
        if let Some(label) = &members.must_understand {
            return Err(RecordError::MustUnderstand(label.clone()));
        }
        let value = self.resolve_value(members)?;
        let sum = self.resolve_sum(members)?;
        if value.is_none() && sum.is_none() {
            return Err(RecordError::NoValue);
        }
        Ok(Record {
            name: self.resolve_name(members, limits)?,
            unit: self.resolve_unit(members, limits)?,
            time: self.resolve_time(members, received_at)?,
            value,
            sum,
            update_time: own(members, Field::UpdateTime, duration)?,
        })
    }

    fn resolve_name(&self, members: &Members<'a>, limits: &Limits) -> Result<Cow<'a, str>, RecordError> {
        let base = in_force(&self.name, members, Field::BaseName)?.unwrap_or_default();
        let name = own(members, Field::Name, string)?.unwrap_or_default();
        let name = if base.is_empty() {
            name
        } else if name.is_empty() {
            base
        } else {
            base + name
        };
        check_name(check_bytes(name, limits.name_bytes_max, RecordError::NameTooLong)?)
    }

    fn resolve_unit(&self, members: &Members<'a>, limits: &Limits) -> Result<Option<Cow<'a, str>>, RecordError> {
        match own(members, Field::Unit, string)? {
            Some(unit) => check_bytes(unit, limits.unit_bytes_max, RecordError::UnitTooLong).map(Some),
            None => in_force(&self.unit, members, Field::BaseUnit),
        }
    }

    fn resolve_time(&self, members: &Members<'a>, received_at: i64) -> Result<i64, RecordError> {
        let base = in_force(&self.time, members, Field::BaseTime)?.unwrap_or_default();
        let time = own(members, Field::Time, seconds)?.unwrap_or_default();
        let sum = base.checked_add(time).ok_or(RecordError::TimeOutOfRange)?;
        let nanoseconds = sum.nanoseconds().ok_or(RecordError::TimeOutOfRange)?;
        if sum >= ABSOLUTE_TIME_MIN {
            return Ok(nanoseconds);
        }
        received_at.checked_add(nanoseconds).ok_or(RecordError::TimeOutOfRange)
    }

    /// A missing `v` counts as 0 where a base value is in force and there is no value of another type (RFC 8428, 4.5.4).
    fn resolve_value(&self, members: &Members<'a>) -> Result<Option<Value<'a>>, RecordError> {
        let kinds = [Field::Value, Field::StringValue, Field::BoolValue, Field::DataValue];
        let mut given = kinds.into_iter().filter(|field| members.value(*field).is_some());
        let kind = given.next().unwrap_or(Field::Value);
        if given.next().is_some() {
            return Err(RecordError::SeveralValues);
        }
        Ok(match kind {
            Field::StringValue => own(members, kind, string)?.map(Value::Text),
            Field::BoolValue => own(members, kind, boolean)?.map(Value::Bool),
            Field::DataValue => own(members, kind, data)?.map(Value::Data),
            _ => {
                let base = in_force(&self.value, members, Field::BaseValue)?;
                add(own(members, kind, double)?, base, kind)?.map(Value::Number)
            }
        })
    }

    fn resolve_sum(&self, members: &Members<'a>) -> Result<Option<f64>, RecordError> {
        let base = in_force(&self.sum, members, Field::BaseSum)?;
        add(own(members, Field::Sum, double)?, base, Field::Sum)
    }
}

type Parse<'a, T> = fn(&'a RawValue, Field) -> Result<T, RecordError>;

/// Replaces a base field when the record gives it.
fn take<'a, T>(
    base: &mut BaseField<T>,
    members: &Members<'a>,
    field: Field,
    parse: impl FnOnce(&'a RawValue, Field) -> Result<T, RecordError>,
) {
    let Some(value) = members.value(field) else { return };
    *base = Some(match members.is_duplicate(field) {
        true => Err(RecordError::Duplicate(field)),
        false => parse(value, field),
    });
}

/// A base field for a record; the record that broke it says how, those after it say that it is broken.
fn in_force<T: Clone>(base: &BaseField<T>, members: &Members<'_>, field: Field) -> Result<Option<T>, RecordError> {
    match base {
        Some(Err(_)) if members.value(field).is_none() => Err(RecordError::BrokenBase(field)),
        base => base.clone().transpose(),
    }
}

/// A field of the record itself.
fn own<'a, T>(members: &Members<'a>, field: Field, parse: Parse<'a, T>) -> Result<Option<T>, RecordError> {
    if members.is_duplicate(field) {
        return Err(RecordError::Duplicate(field));
    }
    members.value(field).map(|value| parse(value, field)).transpose()
}

/// The sum of what is given, a missing part being 0; `None` when both are missing.
fn add(own: Option<f64>, base: Option<f64>, field: Field) -> Result<Option<f64>, RecordError> {
    let sum = match (own, base) {
        (Some(own), Some(base)) => own + base,
        (own, base) => return Ok(own.or(base)),
    };
    if sum.is_finite() {
        Ok(Some(sum))
    } else {
        Err(RecordError::NumberOutOfRange(field))
    }
}

fn check_bytes<'a>(
    text: Cow<'a, str>,
    bytes_max: usize,
    error: fn(usize) -> RecordError,
) -> Result<Cow<'a, str>, RecordError> {
    if text.len() > bytes_max {
        Err(error(bytes_max))
    } else {
        Ok(text)
    }
}

fn check_name(name: Cow<'_, str>) -> Result<Cow<'_, str>, RecordError> {
    let first = name.bytes().next().ok_or(RecordError::NameEmpty)?;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-:./_".contains(&byte);
    if !first.is_ascii_alphanumeric() || !name.bytes().all(is_allowed) {
        return Err(RecordError::NameCharacter);
    }
    Ok(name)
}

fn seconds(value: &RawValue, field: Field) -> Result<Seconds, RecordError> {
    let text = number_text(value).ok_or(RecordError::WrongType(field))?;
    Seconds::parse(text).ok_or(RecordError::TimeOutOfRange)
}

fn duration(value: &RawValue, field: Field) -> Result<i64, RecordError> {
    seconds(value, field)?.nanoseconds().ok_or(RecordError::TimeOutOfRange)
}

fn double(value: &RawValue, field: Field) -> Result<f64, RecordError> {
    let text = number_text(value).ok_or(RecordError::WrongType(field))?;
    parse_double(text).ok_or(RecordError::NumberOutOfRange(field))
}

fn boolean(value: &RawValue, field: Field) -> Result<bool, RecordError> {
    serde_json::from_str(value.get()).map_err(|_| RecordError::WrongType(field))
}

fn string<'a>(value: &'a RawValue, field: Field) -> Result<Cow<'a, str>, RecordError> {
    let text = value.get();
    let inner = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .ok_or(RecordError::WrongType(field))?;
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str(text)
        .map(Cow::Owned)
        .map_err(|_| RecordError::WrongType(field))
}

fn data<'a>(value: &'a RawValue, field: Field) -> Result<Cow<'a, str>, RecordError> {
    let text = string(value, field)?;
    BASE64_URL
        .decode(text.as_bytes())
        .map_err(|_| RecordError::DataNotBase64)?;
    Ok(text)
}

//! What a registry has to know of an object.

use std::str::FromStr;

use trunkline_core::{Fault, Id};
use trunkline_db::{Bind, Column, Row, Value};
use trunkline_proto::guard::Entity;

use crate::base::Base;
use crate::store::Statements;

/// A kind of object that domains have.
pub trait Object: Sized + Send + Sync + 'static {
    /// Its id.
    type Id: Id + Bind + Column;

    /// What it is to `auth`.
    const ENTITY: Entity;
    /// What one is called, such as `client`: in messages, and before the dot in the names of events.
    const NOUN: &'static str;
    /// What many are called.
    const NOUNS: &'static str;
    /// Its table, as [`statements!`](crate::statements) describes it.
    const STATEMENTS: Statements;

    /// What it has in common with all others.
    fn base(&self) -> &Base<Self::Id>;

    /// The same, to be changed.
    fn base_mut(&mut self) -> &mut Base<Self::Id>;

    /// Reads the columns that only this kind has.
    ///
    /// # Errors
    /// [`Corrupt`](trunkline_db::Error::Corrupt) when no object was stored so.
    fn read(base: Base<Self::Id>, row: &Row) -> Result<Self, trunkline_db::Error>;

    /// The values of the columns that only this kind has, in the order of [`Statements::own`].
    fn own_values(&self) -> Vec<Value>;

    /// What events carry of it.
    fn event_body(&self) -> Vec<u8>;
}

/// The error of a stored text that is none of its kind.
pub fn corrupt(fault: Fault) -> trunkline_db::Error {
    trunkline_db::Error::Corrupt(fault.into())
}

/// Whether an object is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is.
    Enabled,
    /// It is not.
    Disabled,
}

impl Status {
    /// The word that databases keep.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

/// A text that names no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a status")]
pub struct UnknownStatus(String);

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        match text {
            "enabled" => Ok(Self::Enabled),
            "disabled" => Ok(Self::Disabled),
            other => Err(UnknownStatus(other.to_owned())),
        }
    }
}

/// One field of an update: left as it is, or set to a value or to nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Not in the mask.
    #[default]
    Keep,
    /// The new value; `None` empties the field.
    Set(Option<T>),
}

impl<T: Clone> Change<T> {
    /// Changes `field`.
    pub fn apply(&self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Set(value) => field.clone_from(value),
        }
    }
}

//! Values that go into a statement: one closed set for both databases, so that a statement is written and bound once.

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Postgres, Sqlite};
use trunkline_core::{
    ChannelId, ClientId, CredentialId, DomainId, GroupId, MessageId, NodeId, RequestId, RoleId, SessionId, Timestamp,
    UserId,
};
use uuid::Uuid;

use crate::Error;

/// A value to bind. The absent ones keep their type, because Postgres wants to know the type of a NULL.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `UUID` on Postgres, a `BLOB` of 16 bytes on SQLite.
    Uuid(Option<Uuid>),
    /// `BIGINT` on Postgres, `INTEGER` on SQLite; also microseconds of a [`Timestamp`].
    Integer(Option<i64>),
    /// `TEXT` on both; also JSON, stored whole.
    Text(Option<String>),
    /// `BYTEA` on Postgres, `BLOB` on SQLite.
    Bytes(Option<Vec<u8>>),
    /// `BOOLEAN` on Postgres, `INTEGER` on SQLite.
    Boolean(Option<bool>),
}

/// A type that can be bound. Services implement it for their own names and closed sets.
pub trait Bind {
    /// What an absent value of this type binds as.
    const NULL: Value;

    /// The value to bind.
    fn bind(self) -> Value;
}

/// Binds its arguments in order: the first is `$1`.
///
/// ```
/// use trunkline_db::{Value, params};
/// let values = params!["kitchen", 3_i64, None::<bool>];
/// assert_eq!(values[2], Value::Boolean(None));
/// ```
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { ::std::vec![$($crate::Bind::bind($value)),*] };
}

impl<T: Bind> Bind for Option<T> {
    const NULL: Value = T::NULL;

    fn bind(self) -> Value {
        self.map_or(T::NULL, Bind::bind)
    }
}

impl Bind for Value {
    const NULL: Value = Value::Text(None);

    fn bind(self) -> Value {
        self
    }
}

macro_rules! binds {
    ($($source:ty => $variant:ident($convert:expr)),+ $(,)?) => {$(
        impl Bind for $source {
            const NULL: Value = Value::$variant(None);

            fn bind(self) -> Value {
                let convert: fn(Self) -> _ = $convert;
                Value::$variant(Some(convert(self)))
            }
        }
    )+};
}

binds! {
    Uuid => Uuid(|id| id),
    UserId => Uuid(UserId::uuid),
    DomainId => Uuid(DomainId::uuid),
    GroupId => Uuid(GroupId::uuid),
    ClientId => Uuid(ClientId::uuid),
    ChannelId => Uuid(ChannelId::uuid),
    RoleId => Uuid(RoleId::uuid),
    CredentialId => Uuid(CredentialId::uuid),
    MessageId => Uuid(MessageId::uuid),
    SessionId => Uuid(SessionId::uuid),
    RequestId => Uuid(RequestId::uuid),
    NodeId => Uuid(NodeId::uuid),
    i64 => Integer(|number| number),
    i32 => Integer(i64::from),
    u32 => Integer(i64::from),
    Timestamp => Integer(Timestamp::micros),
    &str => Text(str::to_owned),
    &String => Text(String::clone),
    String => Text(|text| text),
    &[u8] => Bytes(<[u8]>::to_vec),
    &Vec<u8> => Bytes(Vec::clone),
    Vec<u8> => Bytes(|bytes| bytes),
    bool => Boolean(|flag| flag),
}

impl<const N: usize> Bind for [u8; N] {
    const NULL: Value = Value::Bytes(None);

    fn bind(self) -> Value {
        Value::Bytes(Some(self.to_vec()))
    }
}

impl From<Value> for sea_query::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Uuid(id) => Self::Uuid(id),
            Value::Integer(number) => Self::BigInt(number),
            Value::Text(text) => Self::String(text),
            Value::Bytes(bytes) => Self::Bytes(bytes),
            Value::Boolean(flag) => Self::Bool(flag),
        }
    }
}

/// The values of a built query, in order.
///
/// # Errors
/// When the query holds a value outside the shared subset, such as a floating-point number.
pub(crate) fn from_built(values: sea_query::Values) -> Result<Vec<Value>, Error> {
    use sea_query::Value as Built;

    let convert = |value| match value {
        Built::Bool(flag) => Ok(Value::Boolean(flag)),
        Built::TinyInt(number) => Ok(Value::Integer(number.map(i64::from))),
        Built::SmallInt(number) => Ok(Value::Integer(number.map(i64::from))),
        Built::Int(number) => Ok(Value::Integer(number.map(i64::from))),
        Built::BigInt(number) => Ok(Value::Integer(number)),
        Built::TinyUnsigned(number) => Ok(Value::Integer(number.map(i64::from))),
        Built::SmallUnsigned(number) => Ok(Value::Integer(number.map(i64::from))),
        Built::Unsigned(number) => Ok(Value::Integer(number.map(i64::from))),
        Built::BigUnsigned(Some(number)) if number > i64::MAX as u64 => {
            Err(Error::Defect(format!("{number} does not fit a BIGINT").into()))
        }
        Built::BigUnsigned(number) => Ok(Value::Integer(number.map(u64::cast_signed))),
        Built::String(text) => Ok(Value::Text(text)),
        Built::Char(character) => Ok(Value::Text(character.map(String::from))),
        Built::Bytes(bytes) => Ok(Value::Bytes(bytes)),
        Built::Uuid(id) => Ok(Value::Uuid(id)),
        Built::Float(_) | Built::Double(_) | Built::Enum(_) => Err(Error::Defect(
            "a built query holds a value outside the shared subset".into(),
        )),
    };
    values.0.into_iter().map(convert).collect()
}

macro_rules! bind_all {
    ($query:expr, $values:expr) => {
        $values.into_iter().fold($query, |query, value| match value {
            Value::Uuid(id) => query.bind(id),
            Value::Integer(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
            Value::Boolean(flag) => query.bind(flag),
        })
    };
}

/// Binds `values` in order for SQLite.
pub(crate) fn bind_sqlite(
    query: Query<'static, Sqlite, SqliteArguments>,
    values: Vec<Value>,
) -> Query<'static, Sqlite, SqliteArguments> {
    bind_all!(query, values)
}

/// Binds `values` in order for Postgres.
pub(crate) fn bind_postgres(
    query: Query<'static, Postgres, PgArguments>,
    values: Vec<Value>,
) -> Query<'static, Postgres, PgArguments> {
    bind_all!(query, values)
}

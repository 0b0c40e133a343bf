//! One row of a result, read by column name with types that both databases share.

use std::fmt::Display;
use std::str::FromStr;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use trunkline_core::{
    ChannelId, ClientId, CredentialId, DomainId, GroupId, MessageId, NodeId, RequestId, RoleId, SessionId, Timestamp,
    UserId,
};
use uuid::Uuid;

use crate::Error;

/// One row of a result.
pub struct Row(Inner);

enum Inner {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A type that can be read from a column. `Option` of it reads NULL as `None`.
pub trait Column: Sized {
    /// Reads the column `name` of `row`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when there is no such column, or it holds another type or an unexpected NULL.
    fn read(row: &Row, name: &str) -> Result<Self, Error>;
}

impl Row {
    pub(crate) const fn sqlite(row: SqliteRow) -> Self {
        Self(Inner::Sqlite(row))
    }

    pub(crate) const fn postgres(row: PgRow) -> Self {
        Self(Inner::Postgres(row))
    }

    /// The column `name` as the type that is wanted; see [`Column::read`] for the errors.
    pub fn get<T: Column>(&self, name: &str) -> Result<T, Error> {
        T::read(self, name)
    }

    /// The text column `name`, parsed: for closed sets and names.
    ///
    /// # Errors
    /// [`Error::Corrupt`] as for [`Row::get`], or when the text does not parse.
    pub fn parse<T: FromStr>(&self, name: &str) -> Result<T, Error>
    where
        T::Err: Display,
    {
        let text: String = self.get(name)?;
        text.parse()
            .map_err(|error| Error::Corrupt(format!("column {name}: {error}").into()))
    }
}

macro_rules! columns {
    ($($stored:ty),+ $(,)?) => {$(
        impl Column for $stored {
            /// Asks for NULL first: sqlx reads a NULL of SQLite as 0 or as an empty text.
            fn read(row: &Row, name: &str) -> Result<Self, Error> {
                let value = Option::<Self>::read(row, name)?;
                value.ok_or_else(|| Error::Corrupt(format!("column {name} is NULL").into()))
            }
        }

        impl Column for Option<$stored> {
            fn read(row: &Row, name: &str) -> Result<Self, Error> {
                match &row.0 {
                    Inner::Sqlite(row) => row.try_get(name),
                    Inner::Postgres(row) => row.try_get(name),
                }
                .map_err(|error| Error::Corrupt(error.into()))
            }
        }
    )+};
}

columns!(Uuid, i64, String, Vec<u8>, bool);

macro_rules! columns_stored_as {
    ($($name:ty: $stored:ty, $convert:expr);+ $(;)?) => {$(
        impl Column for $name {
            fn read(row: &Row, name: &str) -> Result<Self, Error> {
                <$stored>::read(row, name).map($convert)
            }
        }

        impl Column for Option<$name> {
            fn read(row: &Row, name: &str) -> Result<Self, Error> {
                Ok(Option::<$stored>::read(row, name)?.map($convert))
            }
        }
    )+};
}

columns_stored_as! {
    UserId: Uuid, UserId::from_uuid;
    DomainId: Uuid, DomainId::from_uuid;
    GroupId: Uuid, GroupId::from_uuid;
    ClientId: Uuid, ClientId::from_uuid;
    ChannelId: Uuid, ChannelId::from_uuid;
    RoleId: Uuid, RoleId::from_uuid;
    CredentialId: Uuid, CredentialId::from_uuid;
    MessageId: Uuid, MessageId::from_uuid;
    SessionId: Uuid, SessionId::from_uuid;
    RequestId: Uuid, RequestId::from_uuid;
    NodeId: Uuid, NodeId::from_uuid;
    Timestamp: i64, Timestamp::from_micros;
}

//! Rows of the table `messages`: how a record is bound and how it is read.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use trunkline_core::{ChannelId, DomainId, MessageId};

use crate::{LogPosition, Origin, Protocol, PublisherKind, StoredRecord};

/// The columns of a record after its channel, in the order in which they are bound and read.
pub(super) const COLUMNS: [&str; 23] = [
    "time",
    "message_id",
    "pack_index",
    "subtopic",
    "publisher_id",
    "publisher_kind",
    "device_id",
    "protocol",
    "content_type",
    "name",
    "unit",
    "value",
    "string_value",
    "bool_value",
    "data_value",
    "sum",
    "update_time",
    "payload",
    "decode_error",
    "log_incarnation",
    "log_shard",
    "log_sequence",
    "received_at",
];

/// On SQLite: binds `channel_key` and then [`COLUMNS`].
pub(super) fn bind<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    channel_key: i64,
    record: &'q StoredRecord,
) -> Query<'q, Sqlite, SqliteArguments> {
    let origin = &*record.origin;
    query
        .bind(channel_key)
        .bind(record.time)
        .bind(origin.message_id.uuid())
        .bind(record.pack_index)
        .bind(origin.subtopic.as_str())
        .bind(origin.publisher_id)
        .bind(origin.publisher_kind.as_str())
        .bind(origin.device_id)
        .bind(origin.protocol.as_str())
        .bind(origin.content_type.as_str())
        .bind(record.name.as_deref())
        .bind(record.unit.as_deref())
        .bind(record.value)
        .bind(record.string_value.as_deref())
        .bind(record.bool_value)
        .bind(record.data_value.as_deref())
        .bind(record.sum)
        .bind(record.update_time)
        .bind(record.payload.as_deref())
        .bind(record.decode_error.as_deref())
        .bind(origin.log_position.incarnation)
        .bind(origin.log_shard)
        .bind(origin.log_position.sequence.cast_signed())
        .bind(origin.received_at)
}

/// Reads a row of [`COLUMNS`]: the same text for the row types of both drivers, which share no object-safe trait.
macro_rules! read_row {
    ($name:ident, $row:ty) => {
        pub(super) fn $name(
            row: &$row,
            domain_id: DomainId,
            channel_id: ChannelId,
        ) -> Result<StoredRecord, sqlx::Error> {
            let log_position = LogPosition {
                incarnation: row.try_get("log_incarnation")?,
                sequence: row.try_get::<i64, _>("log_sequence")?.cast_unsigned(),
            };
            let origin = Origin {
                domain_id,
                channel_id,
                message_id: MessageId::from_uuid(row.try_get("message_id")?),
                subtopic: row.try_get("subtopic")?,
                publisher_id: row.try_get("publisher_id")?,
                publisher_kind: word(
                    row.try_get("publisher_kind")?,
                    "publisher_kind",
                    PublisherKind::parse,
                )?,
                device_id: row.try_get("device_id")?,
                protocol: word(row.try_get("protocol")?, "protocol", Protocol::parse)?,
                content_type: row.try_get("content_type")?,
                received_at: row.try_get("received_at")?,
                log_shard: number(row.try_get("log_shard")?, "log_shard")?,
                log_position,
            };
            Ok(StoredRecord {
                origin: Arc::new(origin),
                time: row.try_get("time")?,
                pack_index: number(row.try_get("pack_index")?, "pack_index")?,
                name: row.try_get("name")?,
                unit: row.try_get("unit")?,
                value: row.try_get("value")?,
                string_value: row.try_get("string_value")?,
                bool_value: row.try_get("bool_value")?,
                data_value: row.try_get("data_value")?,
                sum: row.try_get("sum")?,
                update_time: row.try_get("update_time")?,
                payload: row.try_get("payload")?,
                decode_error: row.try_get("decode_error")?,
            })
        }
    };
}

read_row!(read_sqlite, SqliteRow);
read_row!(read_postgres, PgRow);

/// A word of a closed set.
fn word<T>(text: &str, column: &str, parse: fn(&str) -> Option<T>) -> Result<T, sqlx::Error> {
    parse(text).ok_or_else(|| broken(column, format!("`{text}` is not a word of the set")))
}

/// A number that is never negative, and small.
fn number<T: TryFrom<i32>>(number: i32, column: &str) -> Result<T, sqlx::Error> {
    T::try_from(number).map_err(|_| broken(column, format!("{number} is out of range")))
}

fn broken(column: &str, reason: String) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: reason.into(),
    }
}

//! Rows in the binary format of COPY (PostgreSQL manual, COPY, "Binary Format"): what the server stores without parsing.

use crate::StoredRecord;

/// The columns in the order in which [`Encoder::push`] writes them.
pub(super) const COLUMNS: [&str; 24] = [
    "channel_key",
    "time",
    "log_incarnation",
    "log_sequence",
    "received_at",
    "message_id",
    "publisher_id",
    "pack_index",
    "log_shard",
    "value",
    "sum",
    "update_time",
    "device_id",
    "bool_value",
    "subtopic",
    "publisher_kind",
    "protocol",
    "content_type",
    "name",
    "unit",
    "string_value",
    "data_value",
    "payload",
    "decode_error",
];

/// Signature, no flags, no extension.
const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Stands where the number of fields of a further row would.
const TRAILER: i16 = -1;
/// Stands where the length of a value would.
const NULL: i32 = -1;

/// Bytes on their way to the server.
pub(super) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn new() -> Encoder {
        Encoder { bytes: HEADER.to_vec() }
    }

    /// What was encoded since the last [`Encoder::clear`].
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Ends the stream.
    pub(super) fn finish(&mut self) {
        self.bytes.extend(TRAILER.to_be_bytes());
    }

    /// Adds a row.
    pub(super) fn push(&mut self, channel_key: i64, record: &StoredRecord) {
        let origin = &*record.origin;
        self.bytes.extend((COLUMNS.len() as i16).to_be_bytes());
        self.value(channel_key.to_be_bytes());
        self.value(record.time.to_be_bytes());
        self.value(origin.log_position.incarnation.to_be_bytes());
        self.value(origin.log_position.sequence.to_be_bytes());
        self.value(origin.received_at.to_be_bytes());
        self.value(*origin.message_id.as_bytes());
        self.value(*origin.publisher_id.as_bytes());
        self.value(record.pack_index.to_be_bytes());
        self.value(u32::from(origin.log_shard).to_be_bytes());
        self.optional(record.value.map(f64::to_be_bytes));
        self.optional(record.sum.map(f64::to_be_bytes));
        self.optional(record.update_time.map(i64::to_be_bytes));
        self.optional(origin.device_id.map(|id| *id.as_bytes()));
        self.optional(record.bool_value.map(|bool| [u8::from(bool)]));
        self.value(&origin.subtopic);
        self.value(origin.publisher_kind.as_str());
        self.value(origin.protocol.as_str());
        self.value(&origin.content_type);
        self.optional(record.name.as_deref());
        self.optional(record.unit.as_deref());
        self.optional(record.string_value.as_deref());
        self.optional(record.data_value.as_deref());
        self.optional(record.payload.as_deref());
        self.optional(record.decode_error.as_deref());
    }

    fn optional(&mut self, value: Option<impl AsRef<[u8]>>) {
        match value {
            Some(value) => self.value(value),
            None => self.bytes.extend(NULL.to_be_bytes()),
        }
    }

    fn value(&mut self, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        // A value is at most a message with its texts escaped, far below 2 GiB.
        self.bytes.extend((value.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(value);
    }
}

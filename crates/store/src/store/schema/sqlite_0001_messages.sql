-- A channel's rows are found by a small integer instead of two UUIDs: the index below is half as large for it, and with it the cost
-- of inserting. Rows are never removed from this table.
CREATE TABLE channels (
    channel_key INTEGER PRIMARY KEY,
    domain_id   BLOB NOT NULL,
    channel_id  BLOB NOT NULL,
    UNIQUE (domain_id, channel_id)
);

-- Rows lie in the order in which they came, so that inserting appends, whatever their times, channels and sizes are.
CREATE TABLE messages (
    channel_key     INTEGER NOT NULL,
    time            INTEGER NOT NULL,
    message_id      BLOB NOT NULL,
    pack_index      INTEGER NOT NULL,
    subtopic        TEXT NOT NULL,
    publisher_id    BLOB NOT NULL,
    publisher_kind  TEXT NOT NULL CHECK (publisher_kind IN ('client', 'user', 'rule', 'unknown')),
    device_id       BLOB,
    protocol        TEXT NOT NULL CHECK (protocol IN ('mqtt', 'http', 'ws', 'coap', 'grpc', 'internal', 'unknown')),
    content_type    TEXT NOT NULL,
    name            TEXT,
    unit            TEXT,
    value           REAL,
    string_value    TEXT,
    bool_value      INTEGER,
    data_value      TEXT,
    sum             REAL,
    update_time     INTEGER,
    payload         TEXT,
    decode_error    TEXT,
    log_incarnation INTEGER NOT NULL,
    log_shard       INTEGER NOT NULL,
    log_sequence    INTEGER NOT NULL,
    received_at     INTEGER NOT NULL
);

-- The key of a stored record, and the order that pages are read in.
CREATE UNIQUE INDEX messages_key ON messages (channel_key, time, message_id, pack_index);

-- How far a group of consumers has stored each shard of the log; written with the rows.
CREATE TABLE positions (
    consumer_group  TEXT NOT NULL,
    log_shard       INTEGER NOT NULL,
    log_incarnation INTEGER NOT NULL,
    log_sequence    INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, log_shard)
) WITHOUT ROWID;

-- Entries of the log that could not be read, for an operator: the log keeps their bytes for as long as it keeps anything.
CREATE TABLE unreadable_entries (
    log_incarnation INTEGER NOT NULL,
    log_shard       INTEGER NOT NULL,
    log_sequence    INTEGER NOT NULL,
    error           TEXT NOT NULL,
    PRIMARY KEY (log_incarnation, log_shard, log_sequence)
);

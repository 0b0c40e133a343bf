-- A channel's rows are found by a number instead of two UUIDs: the index below is a third smaller for it. Rows are never removed
-- from this table.
CREATE TABLE channels (
    channel_key BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    domain_id   UUID NOT NULL,
    channel_id  UUID NOT NULL,
    UNIQUE (domain_id, channel_id)
);

-- Rows lie in the order in which they came. Columns of eight bytes come first, so that none is padded.
CREATE TABLE messages (
    channel_key     BIGINT NOT NULL,
    time            BIGINT NOT NULL,
    log_incarnation BIGINT NOT NULL,
    log_sequence    BIGINT NOT NULL,
    received_at     BIGINT NOT NULL,
    message_id      UUID NOT NULL,
    publisher_id    UUID NOT NULL,
    pack_index      INTEGER NOT NULL,
    log_shard       INTEGER NOT NULL,
    value           DOUBLE PRECISION,
    sum             DOUBLE PRECISION,
    update_time     BIGINT,
    device_id       UUID,
    bool_value      BOOLEAN,
    subtopic        TEXT COLLATE "C" NOT NULL,
    publisher_kind  TEXT COLLATE "C" NOT NULL CHECK (publisher_kind IN ('client', 'user', 'rule', 'unknown')),
    protocol        TEXT COLLATE "C" NOT NULL
                    CHECK (protocol IN ('mqtt', 'http', 'ws', 'coap', 'grpc', 'internal', 'unknown')),
    content_type    TEXT COLLATE "C" NOT NULL,
    name            TEXT COLLATE "C",
    unit            TEXT COLLATE "C",
    string_value    TEXT COLLATE "C",
    data_value      TEXT COLLATE "C",
    payload         TEXT COLLATE "C",
    decode_error    TEXT COLLATE "C"
);

-- The key of a stored record, and the order that pages are read in.
CREATE UNIQUE INDEX messages_key ON messages (channel_key, time, message_id, pack_index);

-- Rows on their way into `messages` of which some may be there already. Empty for everyone but the transaction that fills it.
CREATE UNLOGGED TABLE arrivals (LIKE messages);

-- How far a group of consumers has stored each shard of the log; written with the rows.
CREATE TABLE positions (
    consumer_group  TEXT COLLATE "C" NOT NULL,
    log_shard       INTEGER NOT NULL,
    log_incarnation BIGINT NOT NULL,
    log_sequence    BIGINT NOT NULL,
    PRIMARY KEY (consumer_group, log_shard)
);

-- Entries of the log that could not be read, for an operator: the log keeps their bytes for as long as it keeps anything.
CREATE TABLE unreadable_entries (
    log_incarnation BIGINT NOT NULL,
    log_shard       INTEGER NOT NULL,
    log_sequence    BIGINT NOT NULL,
    error           TEXT NOT NULL,
    PRIMARY KEY (log_incarnation, log_shard, log_sequence)
);

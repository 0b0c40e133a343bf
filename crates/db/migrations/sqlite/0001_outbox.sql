-- Events that were decided with the rows of the same transaction and wait to be published.
CREATE TABLE outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL,
    payload BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

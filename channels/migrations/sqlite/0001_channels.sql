-- Places that messages are published to. A row with `deleted_at` is gone for every reader and waits until `auth` has forgotten it
-- too; its route is taken until then.
CREATE TABLE channels (
    domain_id BLOB NOT NULL,
    id BLOB NOT NULL UNIQUE,
    parent_group_id BLOB,
    route TEXT,
    name TEXT,
    name_folded TEXT NOT NULL,
    tags TEXT NOT NULL,
    metadata TEXT,
    status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled')),
    created_by BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by BLOB,
    deleted_at INTEGER,
    revision INTEGER NOT NULL,
    PRIMARY KEY (domain_id, id),
    UNIQUE (domain_id, route)
) STRICT;

CREATE INDEX channels_by_update ON channels (domain_id, updated_at, id);
CREATE INDEX channels_by_name ON channels (domain_id, name_folded, id);
CREATE INDEX channels_by_group ON channels (domain_id, parent_group_id);
CREATE INDEX channels_deleted ON channels (deleted_at) WHERE deleted_at IS NOT NULL;

-- What clients may do on channels. The client's row is in another service's database.
CREATE TABLE connections (
    domain_id BLOB NOT NULL,
    channel_id BLOB NOT NULL,
    client_id BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('publish', 'subscribe')),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (domain_id, channel_id, client_id, kind),
    FOREIGN KEY (domain_id, channel_id) REFERENCES channels (domain_id, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX connections_by_client ON connections (domain_id, client_id);

-- Disconnections that nodes may not have heard of yet: written with them, removed once they are announced.
CREATE TABLE revocations (
    domain_id BLOB NOT NULL,
    id BLOB NOT NULL,
    touched BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (domain_id, id)
) STRICT;

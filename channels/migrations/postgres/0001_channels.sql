-- Places that messages are published to. A row with `deleted_at` is gone for every reader and waits until `auth` has forgotten it
-- too; its route is taken until then.
CREATE TABLE channels (
    domain_id UUID NOT NULL,
    id UUID NOT NULL UNIQUE,
    parent_group_id UUID,
    route TEXT COLLATE "C",
    name TEXT,
    name_folded TEXT COLLATE "C" NOT NULL,
    tags TEXT NOT NULL,
    metadata TEXT,
    status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled')),
    created_by UUID NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by UUID,
    deleted_at BIGINT,
    revision BIGINT NOT NULL,
    PRIMARY KEY (domain_id, id),
    UNIQUE (domain_id, route)
);

CREATE INDEX channels_by_update ON channels (domain_id, updated_at, id);
CREATE INDEX channels_by_name ON channels (domain_id, name_folded, id);
CREATE INDEX channels_by_group ON channels (domain_id, parent_group_id);
CREATE INDEX channels_deleted ON channels (deleted_at) WHERE deleted_at IS NOT NULL;

-- What clients may do on channels. The client's row is in another service's database.
CREATE TABLE connections (
    domain_id UUID NOT NULL,
    channel_id UUID NOT NULL,
    client_id UUID NOT NULL,
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('publish', 'subscribe')),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (domain_id, channel_id, client_id, kind),
    FOREIGN KEY (domain_id, channel_id) REFERENCES channels (domain_id, id) ON DELETE CASCADE
);

CREATE INDEX connections_by_client ON connections (domain_id, client_id);

-- Disconnections that nodes may not have heard of yet: written with them, removed once they are announced.
CREATE TABLE revocations (
    domain_id UUID NOT NULL,
    id UUID NOT NULL,
    touched BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (domain_id, id)
);

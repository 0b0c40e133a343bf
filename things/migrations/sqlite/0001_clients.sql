-- Devices and applications. A row with `deleted_at` is gone for every reader and waits until `auth` has forgotten it too.
CREATE TABLE clients (
    domain_id BLOB NOT NULL,
    id BLOB NOT NULL UNIQUE,
    parent_group_id BLOB,
    name TEXT,
    name_folded TEXT NOT NULL,
    tags TEXT NOT NULL,
    identity TEXT,
    metadata TEXT,
    private_metadata TEXT,
    status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled')),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by BLOB,
    deleted_at INTEGER,
    revision INTEGER NOT NULL,
    PRIMARY KEY (domain_id, id)
) STRICT;

CREATE INDEX clients_by_update ON clients (domain_id, updated_at, id);
CREATE INDEX clients_by_name ON clients (domain_id, name_folded, id);
CREATE INDEX clients_by_group ON clients (domain_id, parent_group_id);
CREATE INDEX clients_deleted ON clients (deleted_at) WHERE deleted_at IS NOT NULL;

-- What clients prove themselves with: never the secret, only its digest under a key that is kept elsewhere.
CREATE TABLE client_credentials (
    domain_id BLOB NOT NULL,
    id BLOB NOT NULL,
    client_id BLOB NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('secret')),
    digest BLOB NOT NULL,
    key_version INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    not_after INTEGER,
    last_used INTEGER,
    PRIMARY KEY (domain_id, id),
    UNIQUE (domain_id, digest),
    FOREIGN KEY (domain_id, client_id) REFERENCES clients (domain_id, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX client_credentials_by_client ON client_credentials (domain_id, client_id);

-- Devices and applications. A row with `deleted_at` is gone for every reader and waits until `auth` has forgotten it too.
CREATE TABLE clients (
    domain_id UUID NOT NULL,
    id UUID NOT NULL UNIQUE,
    parent_group_id UUID,
    name TEXT,
    name_folded TEXT COLLATE "C" NOT NULL,
    tags TEXT NOT NULL,
    identity TEXT,
    metadata TEXT,
    private_metadata TEXT,
    status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled')),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by UUID,
    deleted_at BIGINT,
    revision BIGINT NOT NULL,
    PRIMARY KEY (domain_id, id)
);

CREATE INDEX clients_by_update ON clients (domain_id, updated_at, id);
CREATE INDEX clients_by_name ON clients (domain_id, name_folded, id);
CREATE INDEX clients_by_group ON clients (domain_id, parent_group_id);
CREATE INDEX clients_deleted ON clients (deleted_at) WHERE deleted_at IS NOT NULL;

-- What clients prove themselves with: never the secret, only its digest under a key that is kept elsewhere.
CREATE TABLE client_credentials (
    domain_id UUID NOT NULL,
    id UUID NOT NULL,
    client_id UUID NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('secret')),
    digest BYTEA NOT NULL,
    key_version BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT,
    last_used BIGINT,
    PRIMARY KEY (domain_id, id),
    UNIQUE (domain_id, digest),
    FOREIGN KEY (domain_id, client_id) REFERENCES clients (domain_id, id) ON DELETE CASCADE
);

CREATE INDEX client_credentials_by_client ON client_credentials (domain_id, client_id);

-- People that use the platform.
CREATE TABLE users (
    id BLOB NOT NULL PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    username TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    first_name TEXT,
    last_name TEXT,
    tags TEXT NOT NULL,
    metadata TEXT,
    private_metadata TEXT,
    profile_picture TEXT,
    status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled')),
    role TEXT NOT NULL CHECK (role IN ('user', 'admin')),
    verified_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by BLOB,
    revision INTEGER NOT NULL
) STRICT;

-- Tenants.
CREATE TABLE domains (
    id BLOB NOT NULL PRIMARY KEY,
    route TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL,
    tags TEXT NOT NULL,
    metadata TEXT,
    status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled', 'frozen')),
    created_by BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by BLOB,
    revision INTEGER NOT NULL
) STRICT;

-- The object tree. A removed object stays as a tombstone, so that its id is never given out again.
CREATE TABLE objects (
    domain_id BLOB NOT NULL,
    id BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('domain', 'group', 'client', 'channel', 'rule', 'report')),
    parent_id BLOB,
    status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled', 'frozen')),
    state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'removed')),
    created_by BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (domain_id, id)
) STRICT;

CREATE TABLE roles (
    domain_id BLOB NOT NULL,
    id BLOB NOT NULL,
    entity_id BLOB NOT NULL,
    name TEXT NOT NULL,
    is_built_in INTEGER NOT NULL CHECK (is_built_in IN (0, 1)),
    created_by BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by BLOB,
    revision INTEGER NOT NULL,
    PRIMARY KEY (domain_id, id),
    UNIQUE (domain_id, entity_id, name)
) STRICT;

CREATE TABLE role_actions (
    domain_id BLOB NOT NULL,
    role_id BLOB NOT NULL,
    action TEXT NOT NULL,
    PRIMARY KEY (domain_id, role_id, action),
    FOREIGN KEY (domain_id, role_id) REFERENCES roles (domain_id, id) ON DELETE CASCADE
) STRICT;

-- A user has at most one role on an entity.
CREATE TABLE role_members (
    domain_id BLOB NOT NULL,
    entity_id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    role_id BLOB NOT NULL,
    PRIMARY KEY (domain_id, entity_id, user_id),
    FOREIGN KEY (domain_id, role_id) REFERENCES roles (domain_id, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX role_members_user ON role_members (user_id, domain_id);
CREATE INDEX role_members_role ON role_members (domain_id, role_id);

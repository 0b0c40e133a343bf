-- People that use the platform.
CREATE TABLE users (
    id UUID NOT NULL PRIMARY KEY,
    email TEXT COLLATE "C" NOT NULL UNIQUE,
    username TEXT COLLATE "C" NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    first_name TEXT,
    last_name TEXT,
    tags TEXT NOT NULL,
    metadata TEXT,
    private_metadata TEXT,
    profile_picture TEXT,
    status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled')),
    role TEXT NOT NULL CHECK (role IN ('user', 'admin')),
    verified_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by UUID,
    revision BIGINT NOT NULL
);

-- Tenants.
CREATE TABLE domains (
    id UUID NOT NULL PRIMARY KEY,
    route TEXT COLLATE "C" NOT NULL UNIQUE,
    name TEXT COLLATE "C" NOT NULL,
    name_folded TEXT COLLATE "C" NOT NULL,
    tags TEXT NOT NULL,
    metadata TEXT,
    status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled', 'frozen')),
    created_by UUID NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by UUID,
    revision BIGINT NOT NULL
);

-- The object tree. A removed object stays as a tombstone, so that its id is never given out again.
CREATE TABLE objects (
    domain_id UUID NOT NULL,
    id UUID NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('domain', 'group', 'client', 'channel', 'rule', 'report')),
    parent_id UUID,
    status TEXT NOT NULL CHECK (status IN ('enabled', 'disabled', 'frozen')),
    state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'removed')),
    created_by UUID NOT NULL,
    created_at BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (domain_id, id)
);

CREATE TABLE roles (
    domain_id UUID NOT NULL,
    id UUID NOT NULL,
    entity_id UUID NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    is_built_in BOOLEAN NOT NULL,
    created_by UUID NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by UUID,
    revision BIGINT NOT NULL,
    PRIMARY KEY (domain_id, id),
    UNIQUE (domain_id, entity_id, name)
);

CREATE TABLE role_actions (
    domain_id UUID NOT NULL,
    role_id UUID NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (domain_id, role_id, action),
    FOREIGN KEY (domain_id, role_id) REFERENCES roles (domain_id, id) ON DELETE CASCADE
);

-- A user has at most one role on an entity.
CREATE TABLE role_members (
    domain_id UUID NOT NULL,
    entity_id UUID NOT NULL,
    user_id UUID NOT NULL,
    role_id UUID NOT NULL,
    PRIMARY KEY (domain_id, entity_id, user_id),
    FOREIGN KEY (domain_id, role_id) REFERENCES roles (domain_id, id) ON DELETE CASCADE
);

CREATE INDEX role_members_user ON role_members (user_id, domain_id);
CREATE INDEX role_members_role ON role_members (domain_id, role_id);

-- Which key seals the vault. One row at most.
CREATE TABLE vault_key (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    key_id TEXT NOT NULL
);

-- A row is an account's credential file, as its provider writes it. The version is the fencing number: a write counts only
-- onto the version that was read.
CREATE TABLE vault (
    name TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    changed_ms BIGINT NOT NULL,
    -- The provider has refused this version's refresh token for good: why.
    refused TEXT,
    -- Renewals of this version that came to nothing, and until when nobody tries again.
    failures BIGINT NOT NULL DEFAULT 0,
    not_before_ms BIGINT,
    -- The replica that renews it now.
    holder TEXT,
    held_until_ms BIGINT
);

-- Refresh tokens that were used up, as hashes.
CREATE TABLE vault_spent (
    hash TEXT PRIMARY KEY,
    at_ms BIGINT NOT NULL
);

-- What replicas tell each other. Kept for minutes.
CREATE TABLE events (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    replica TEXT NOT NULL,
    topic TEXT NOT NULL,
    body TEXT NOT NULL,
    at_ms BIGINT NOT NULL
);

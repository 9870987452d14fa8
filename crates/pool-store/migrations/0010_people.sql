-- Who may use the pool. Of secrets only SHA-256 hashes are kept. Times are milliseconds since the Unix epoch.

CREATE TABLE users (
    id         TEXT   PRIMARY KEY,
    -- The name in lower case: nobody has another's.
    name_key   TEXT   NOT NULL UNIQUE,
    name       TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    email      TEXT,
    created_ms BIGINT NOT NULL,
    paused     BIGINT NOT NULL,
    -- JSON of pool_core::limits::Limits.
    limits     TEXT   NOT NULL,
    -- JSON list of account ids; NULL: all.
    accounts   TEXT
);

CREATE TABLE pool_credentials (
    id         TEXT   PRIMARY KEY,
    user_id    TEXT   NOT NULL,
    hash       TEXT   NOT NULL UNIQUE,
    hint       TEXT   NOT NULL,
    label      TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    revoked_ms BIGINT
);

CREATE INDEX pool_credentials_by_user ON pool_credentials (user_id);

CREATE TABLE codes (
    hash       TEXT   PRIMARY KEY,
    -- JSON of pool_core::people::Grants.
    grants     TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    used_ms    BIGINT
);

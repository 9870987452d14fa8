-- What the pool would be slow to learn again after a restart. None of it is worth a start that fails: a table that cannot be
-- read is made anew. Times are milliseconds since the Unix epoch. The text runs on SQLite and PostgreSQL alike.

-- Which account a conversation is on. `session` is 16 bytes of hash.
CREATE TABLE IF NOT EXISTS pins (
    session    BYTEA  NOT NULL PRIMARY KEY,
    account    TEXT   NOT NULL,
    used_at    BIGINT NOT NULL,
    bare       BIGINT NOT NULL,
    prefix     BIGINT NOT NULL,
    warm_until BIGINT NOT NULL,
    binding    TEXT   NOT NULL
);

CREATE INDEX IF NOT EXISTS pins_used_at ON pins (used_at);

-- Everything else, as JSON: by kind (`account`: its windows and cooldowns) and name.
CREATE TABLE IF NOT EXISTS notes (
    kind  TEXT   NOT NULL,
    name  TEXT   NOT NULL,
    text  TEXT   NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (kind, name)
);

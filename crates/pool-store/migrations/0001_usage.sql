-- One row a delivered request. Times are milliseconds since the Unix epoch. Token columns are null where the answer did not
-- tell its usage. The text runs on SQLite and PostgreSQL alike.
CREATE TABLE usage_records (
    request_id     TEXT   NOT NULL PRIMARY KEY,
    at_ms          BIGINT NOT NULL,
    provider       TEXT   NOT NULL,
    account        TEXT   NOT NULL,
    model          TEXT,
    client         TEXT,
    session        TEXT,
    status         BIGINT NOT NULL,
    ending         TEXT   NOT NULL,
    input          BIGINT,
    cache_read     BIGINT,
    cache_write_5m BIGINT,
    cache_write_1h BIGINT,
    output         BIGINT,
    reasoning      BIGINT,
    attempts       BIGINT NOT NULL,
    first_byte_ms  BIGINT NOT NULL,
    total_ms       BIGINT NOT NULL
);

CREATE INDEX usage_records_at ON usage_records (at_ms);
CREATE INDEX usage_records_account_at ON usage_records (account, at_ms);

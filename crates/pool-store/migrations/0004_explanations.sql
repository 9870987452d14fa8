-- The story of a request: what codex-pool explain tells. Compressed, see src/ledger/story.rs. Rows older than
-- usage_retention_days are deleted.
CREATE TABLE explanations (
    request_id TEXT   NOT NULL PRIMARY KEY,
    at_ms      BIGINT NOT NULL,
    story      BYTEA  NOT NULL
);

CREATE INDEX explanations_at ON explanations (at_ms);

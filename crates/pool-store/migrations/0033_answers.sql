-- What the operator has answered or been told once. Times are milliseconds since the Unix epoch. The text runs on SQLite and
-- PostgreSQL alike.
CREATE TABLE answers (
    name  TEXT   NOT NULL PRIMARY KEY,
    text  TEXT   NOT NULL,
    at_ms BIGINT NOT NULL
);

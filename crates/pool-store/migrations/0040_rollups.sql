-- Where a request's time went, all or none. NULL: not known (records of before, sockets).
ALTER TABLE usage_records ADD COLUMN choose_us BIGINT;
ALTER TABLE usage_records ADD COLUMN wait_ms BIGINT;
ALTER TABLE usage_records ADD COLUMN connect_ms BIGINT;
ALTER TABLE usage_records ADD COLUMN upstream_ms BIGINT;

-- Sums of usage_records by hour and by day (UTC): written in the transaction of the records, kept when those are deleted.
-- '' stands for unknown. What no account has answered has no model and no client, since anything may stand there.
-- prompt_above: the prompt was longer than so many tokens, a step at which some models' prices change. Money is not summed: it is
-- worked out on reading, so that a mended price mends the past.
-- Times are sums over what was delivered: an answer of 200 to 399 that came to an end. first_* count those by the time to the
-- first byte; `timed` are those whose parts are known.
CREATE TABLE usage_hours (
    start_ms       BIGINT NOT NULL,
    provider       TEXT   NOT NULL,
    account        TEXT   NOT NULL,
    user_id        TEXT   NOT NULL,
    model          TEXT   NOT NULL,
    client         TEXT   NOT NULL,
    prompt_above   BIGINT NOT NULL,
    requests       BIGINT NOT NULL,
    failed         BIGINT NOT NULL,
    incomplete     BIGINT NOT NULL,
    aborted        BIGINT NOT NULL,
    untold         BIGINT NOT NULL,
    attempts       BIGINT NOT NULL,
    input          BIGINT NOT NULL,
    cache_read     BIGINT NOT NULL,
    cache_write_5m BIGINT NOT NULL,
    cache_write_1h BIGINT NOT NULL,
    output         BIGINT NOT NULL,
    reasoning      BIGINT NOT NULL,
    delivered      BIGINT NOT NULL,
    first_byte_ms  BIGINT NOT NULL,
    total_ms       BIGINT NOT NULL,
    timed          BIGINT NOT NULL,
    choose_us      BIGINT NOT NULL,
    wait_ms        BIGINT NOT NULL,
    connect_ms     BIGINT NOT NULL,
    upstream_ms    BIGINT NOT NULL,
    first_250ms    BIGINT NOT NULL,
    first_500ms    BIGINT NOT NULL,
    first_1s       BIGINT NOT NULL,
    first_2s       BIGINT NOT NULL,
    first_4s       BIGINT NOT NULL,
    first_8s       BIGINT NOT NULL,
    first_16s      BIGINT NOT NULL,
    first_32s      BIGINT NOT NULL,
    first_later    BIGINT NOT NULL,
    PRIMARY KEY (start_ms, provider, account, user_id, model, client, prompt_above)
);

CREATE TABLE usage_days (
    start_ms       BIGINT NOT NULL,
    provider       TEXT   NOT NULL,
    account        TEXT   NOT NULL,
    user_id        TEXT   NOT NULL,
    model          TEXT   NOT NULL,
    client         TEXT   NOT NULL,
    prompt_above   BIGINT NOT NULL,
    requests       BIGINT NOT NULL,
    failed         BIGINT NOT NULL,
    incomplete     BIGINT NOT NULL,
    aborted        BIGINT NOT NULL,
    untold         BIGINT NOT NULL,
    attempts       BIGINT NOT NULL,
    input          BIGINT NOT NULL,
    cache_read     BIGINT NOT NULL,
    cache_write_5m BIGINT NOT NULL,
    cache_write_1h BIGINT NOT NULL,
    output         BIGINT NOT NULL,
    reasoning      BIGINT NOT NULL,
    delivered      BIGINT NOT NULL,
    first_byte_ms  BIGINT NOT NULL,
    total_ms       BIGINT NOT NULL,
    timed          BIGINT NOT NULL,
    choose_us      BIGINT NOT NULL,
    wait_ms        BIGINT NOT NULL,
    connect_ms     BIGINT NOT NULL,
    upstream_ms    BIGINT NOT NULL,
    first_250ms    BIGINT NOT NULL,
    first_500ms    BIGINT NOT NULL,
    first_1s       BIGINT NOT NULL,
    first_2s       BIGINT NOT NULL,
    first_4s       BIGINT NOT NULL,
    first_8s       BIGINT NOT NULL,
    first_16s      BIGINT NOT NULL,
    first_32s      BIGINT NOT NULL,
    first_later    BIGINT NOT NULL,
    PRIMARY KEY (start_ms, provider, account, user_id, model, client, prompt_above)
);

-- What the sums of the hours must be, for the records that are still there: the definition that the writer is held to.
CREATE VIEW usage_hours_of_records AS
SELECT
    at_ms - at_ms % 3600000 AS start_ms,
    provider,
    account,
    COALESCE(user_id, '') AS user_id,
    CASE WHEN account = '' THEN '' ELSE SUBSTR(COALESCE(model, ''), 1, 100) END AS model,
    CASE WHEN account = '' THEN '' ELSE SUBSTR(COALESCE(client, ''), 1, 100) END AS client,
    CASE
        WHEN input + cache_read + cache_write_5m + cache_write_1h > 272000 THEN 272000
        WHEN input + cache_read + cache_write_5m + cache_write_1h > 200000 THEN 200000
        WHEN input + cache_read + cache_write_5m + cache_write_1h > 100000 THEN 100000
        ELSE 0
    END AS prompt_above,
    COUNT(*) AS requests,
    COUNT(*) FILTER (WHERE ending = 'failed') AS failed,
    COUNT(*) FILTER (WHERE ending = 'incomplete') AS incomplete,
    COUNT(*) FILTER (WHERE ending = 'aborted') AS aborted,
    COUNT(*) - COUNT(input) AS untold,
    CAST(SUM(attempts) AS BIGINT) AS attempts,
    CAST(COALESCE(SUM(input), 0) AS BIGINT) AS input,
    CAST(COALESCE(SUM(cache_read), 0) AS BIGINT) AS cache_read,
    CAST(COALESCE(SUM(cache_write_5m), 0) AS BIGINT) AS cache_write_5m,
    CAST(COALESCE(SUM(cache_write_1h), 0) AS BIGINT) AS cache_write_1h,
    CAST(COALESCE(SUM(output), 0) AS BIGINT) AS output,
    CAST(COALESCE(SUM(reasoning), 0) AS BIGINT) AS reasoning,
    CAST(SUM(delivered) AS BIGINT) AS delivered,
    CAST(SUM(delivered * first_byte_ms) AS BIGINT) AS first_byte_ms,
    CAST(SUM(delivered * total_ms) AS BIGINT) AS total_ms,
    COUNT(upstream_ms) FILTER (WHERE delivered = 1) AS timed,
    CAST(COALESCE(SUM(delivered * choose_us), 0) AS BIGINT) AS choose_us,
    CAST(COALESCE(SUM(delivered * wait_ms), 0) AS BIGINT) AS wait_ms,
    CAST(COALESCE(SUM(delivered * connect_ms), 0) AS BIGINT) AS connect_ms,
    CAST(COALESCE(SUM(delivered * upstream_ms), 0) AS BIGINT) AS upstream_ms,
    COUNT(*) FILTER (WHERE delivered = 1 AND first_byte_ms < 250) AS first_250ms,
    COUNT(*) FILTER (WHERE delivered = 1 AND first_byte_ms >= 250 AND first_byte_ms < 500) AS first_500ms,
    COUNT(*) FILTER (WHERE delivered = 1 AND first_byte_ms >= 500 AND first_byte_ms < 1000) AS first_1s,
    COUNT(*) FILTER (WHERE delivered = 1 AND first_byte_ms >= 1000 AND first_byte_ms < 2000) AS first_2s,
    COUNT(*) FILTER (WHERE delivered = 1 AND first_byte_ms >= 2000 AND first_byte_ms < 4000) AS first_4s,
    COUNT(*) FILTER (WHERE delivered = 1 AND first_byte_ms >= 4000 AND first_byte_ms < 8000) AS first_8s,
    COUNT(*) FILTER (WHERE delivered = 1 AND first_byte_ms >= 8000 AND first_byte_ms < 16000) AS first_16s,
    COUNT(*) FILTER (WHERE delivered = 1 AND first_byte_ms >= 16000 AND first_byte_ms < 32000) AS first_32s,
    COUNT(*) FILTER (WHERE delivered = 1 AND first_byte_ms >= 32000) AS first_later
FROM (
    SELECT at_ms, provider, account, user_id, model, client, ending, attempts, input, cache_read, cache_write_5m,
        cache_write_1h, output, reasoning, first_byte_ms, total_ms, choose_us, wait_ms, connect_ms, upstream_ms,
        CASE WHEN ending IN ('complete', 'incomplete') AND status >= 200 AND status < 400 THEN 1 ELSE 0 END AS delivered
    FROM usage_records
) AS records
GROUP BY 1, 2, 3, 4, 5, 6, 7;

-- The days are sums of the hours.
CREATE VIEW usage_days_of_hours AS
SELECT
    start_ms - start_ms % 86400000 AS start_ms, provider, account, user_id, model, client, prompt_above,
    CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(failed) AS BIGINT) AS failed,
    CAST(SUM(incomplete) AS BIGINT) AS incomplete, CAST(SUM(aborted) AS BIGINT) AS aborted,
    CAST(SUM(untold) AS BIGINT) AS untold, CAST(SUM(attempts) AS BIGINT) AS attempts,
    CAST(SUM(input) AS BIGINT) AS input, CAST(SUM(cache_read) AS BIGINT) AS cache_read,
    CAST(SUM(cache_write_5m) AS BIGINT) AS cache_write_5m, CAST(SUM(cache_write_1h) AS BIGINT) AS cache_write_1h,
    CAST(SUM(output) AS BIGINT) AS output, CAST(SUM(reasoning) AS BIGINT) AS reasoning,
    CAST(SUM(delivered) AS BIGINT) AS delivered, CAST(SUM(first_byte_ms) AS BIGINT) AS first_byte_ms,
    CAST(SUM(total_ms) AS BIGINT) AS total_ms, CAST(SUM(timed) AS BIGINT) AS timed,
    CAST(SUM(choose_us) AS BIGINT) AS choose_us, CAST(SUM(wait_ms) AS BIGINT) AS wait_ms,
    CAST(SUM(connect_ms) AS BIGINT) AS connect_ms, CAST(SUM(upstream_ms) AS BIGINT) AS upstream_ms,
    CAST(SUM(first_250ms) AS BIGINT) AS first_250ms, CAST(SUM(first_500ms) AS BIGINT) AS first_500ms,
    CAST(SUM(first_1s) AS BIGINT) AS first_1s, CAST(SUM(first_2s) AS BIGINT) AS first_2s,
    CAST(SUM(first_4s) AS BIGINT) AS first_4s, CAST(SUM(first_8s) AS BIGINT) AS first_8s,
    CAST(SUM(first_16s) AS BIGINT) AS first_16s, CAST(SUM(first_32s) AS BIGINT) AS first_32s,
    CAST(SUM(first_later) AS BIGINT) AS first_later
FROM usage_hours
GROUP BY 1, 2, 3, 4, 5, 6, 7;

-- What was recorded so far.
INSERT INTO usage_hours SELECT * FROM usage_hours_of_records;
INSERT INTO usage_days SELECT * FROM usage_days_of_hours;

-- Since when every record is still there: older ones may be deleted, and their sums cannot be checked any more.
CREATE TABLE usage_whole (
    id       BIGINT NOT NULL PRIMARY KEY,
    since_ms BIGINT NOT NULL
);

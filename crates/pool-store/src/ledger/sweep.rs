//! What is too old goes: a little at a time, so that nobody who waits for the writer notices.

use pool_core::UnixMs;

use crate::database::{Database, sql};

/// Is there more to delete?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Some,
    Nothing,
}

const AT_ONCE: i64 = 1000;

/// Deletes some of the records and stories of before. What they sum up to stays.
pub(super) async fn some(database: &Database, before: UnixMs) -> Result<Left, sqlx::Error> {
    const RECORDS: &str = "DELETE FROM usage_records WHERE request_id IN \
         (SELECT request_id FROM usage_records WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)";
    const STORIES: &str = "DELETE FROM explanations WHERE request_id IN \
         (SELECT request_id FROM explanations WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)";
    const WHOLE: &str = "INSERT INTO usage_whole (id, since_ms) VALUES (0, $1) \
         ON CONFLICT (id) DO UPDATE SET since_ms = excluded.since_ms WHERE excluded.since_ms > usage_whole.since_ms";
    let mut transaction = database.begin().await?;
    let records = transaction.run(sql(RECORDS).bind(before.0).bind(AT_ONCE)).await?;
    let stories = transaction.run(sql(STORIES).bind(before.0).bind(AT_ONCE)).await?;
    if records > 0 {
        transaction.run(sql(WHOLE).bind(before.0)).await?;
    }
    transaction.commit().await?;
    Ok(if records.max(stories) == AT_ONCE.unsigned_abs() { Left::Some } else { Left::Nothing })
}

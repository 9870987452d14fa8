//! Questions of people to the ledger: what was used on which day, and by whom.

use pool_core::people::UserId;
use pool_core::{TokenCounts, UnixMs};

use super::Ledger;
use super::read::{ReadError, Use, tokens, used};
use crate::database::{Row, sql};

/// What one person has used of one model on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayUse {
    /// The day's first moment, UTC.
    pub day: UnixMs,
    /// `None`: nobody's of the directory.
    pub user: Option<UserId>,
    pub provider: String,
    pub model: Option<String>,
    /// Requests that were served.
    pub requests: u64,
    /// Of all answers that told.
    pub tokens: TokenCounts,
}

const DAY: i64 = 86_400_000;

/// The same sums for two conditions, each of which has an index.
macro_rules! days {
    ($condition:literal) => {
        concat!(
            "SELECT at_ms / 86400000 AS day, user_id, provider, model, \
             CAST(SUM(CASE WHEN status < 400 THEN 1 ELSE 0 END) AS BIGINT) AS requests, \
             CAST(COALESCE(SUM(input), 0) AS BIGINT) AS input, \
             CAST(COALESCE(SUM(cache_read), 0) AS BIGINT) AS cache_read, \
             CAST(COALESCE(SUM(cache_write_5m), 0) AS BIGINT) AS cache_write_5m, \
             CAST(COALESCE(SUM(cache_write_1h), 0) AS BIGINT) AS cache_write_1h, \
             CAST(COALESCE(SUM(output), 0) AS BIGINT) AS output, \
             CAST(COALESCE(SUM(reasoning), 0) AS BIGINT) AS reasoning \
             FROM usage_records WHERE ",
            $condition,
            " GROUP BY day, user_id, provider, model ORDER BY day, user_id, provider, model"
        )
    };
}

impl Ledger {
    /// What was used since a time, day by day, the oldest first; of one person or of everybody.
    pub async fn days(&self, since: UnixMs, of: Option<&UserId>) -> Result<Vec<DayUse>, ReadError> {
        const ALL: &str = days!("at_ms >= $1");
        const ONE: &str = days!("user_id = $2 AND at_ms >= $1");
        let statement = match of {
            Some(user) => sql(ONE).bind(since.0).bind(&*user.0),
            None => sql(ALL).bind(since.0),
        };
        let rows = self.shared.database.all(statement).await?;
        rows.iter().map(|row| Ok(day(row)?)).collect()
    }

    /// Each request of one person since a time, the oldest first; the latest `most` of them.
    pub async fn each_of(&self, user: &UserId, since: UnixMs, most: u32) -> Result<Vec<Use>, ReadError> {
        const EACH: &str =
            "SELECT * FROM usage_records WHERE user_id = $1 AND at_ms >= $2 ORDER BY at_ms DESC LIMIT $3";
        let each = sql(EACH).bind(&*user.0).bind(since.0).bind(i64::from(most));
        let rows = self.shared.database.all(each).await?;
        rows.iter().rev().map(|row| Ok(used(row)?)).collect()
    }
}

fn day(row: &Row) -> Result<DayUse, sqlx::Error> {
    Ok(DayUse {
        day: UnixMs(row.get::<i64>("day")?.saturating_mul(DAY)),
        user: row.get::<Option<String>>("user_id")?.map(|id| UserId(id.into())),
        provider: row.get("provider")?,
        model: row.get("model")?,
        requests: row.count("requests")?,
        tokens: tokens(row)?,
    })
}

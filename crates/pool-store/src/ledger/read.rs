//! Questions to the ledger.

use pool_core::people::UserId;
use pool_core::{AccountId, TokenCounts, UnixMs};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Ledger, file};

/// The ledger could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the usage ledger cannot be read: {reason}")]
pub struct ReadError {
    reason: String,
}

impl ReadError {
    pub(super) fn because(reason: String) -> Self {
        Self { reason }
    }
}

impl From<sqlx::Error> for ReadError {
    fn from(error: sqlx::Error) -> Self {
        Self { reason: file::reason(&error) }
    }
}

/// What one account served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountTotals {
    pub account: AccountId,
    pub provider: String,
    pub requests: u64,
    /// Of them: those whose answer did not tell its usage. Their tokens are not in `tokens`.
    pub untold: u64,
    pub tokens: TokenCounts,
}

/// What one request used, as far as its answer told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// When it came.
    pub at: UnixMs,
    /// Whose request it was, where the pool knows its people.
    pub user: Option<UserId>,
    pub provider: String,
    pub account: AccountId,
    pub model: Option<String>,
    pub session: Option<String>,
    pub status: u16,
    /// `None`: the answer did not tell.
    pub tokens: Option<TokenCounts>,
    pub total_ms: u64,
}

impl Ledger {
    /// What was served since a time, in the order of arrival; the latest `most` of it.
    pub async fn served_since(&self, since: UnixMs, most: u32) -> Result<Vec<Use>, ReadError> {
        const SERVED: &str = "SELECT * FROM usage_records WHERE at_ms >= $1 AND status < 400 \
             ORDER BY at_ms DESC, request_id DESC LIMIT $2";
        let rows = sqlx::query(SERVED).bind(since.0).bind(i64::from(most)).fetch_all(&self.shared.pool).await?;
        rows.iter().rev().map(|row| Ok(used(row)?)).collect()
    }

    /// Hands out what each request since a time has used, oldest first.
    pub async fn each_since(&self, since: UnixMs, mut take: impl FnMut(Use)) -> Result<(), ReadError> {
        const PAGE: i64 = if cfg!(test) { 2 } else { 10_000 };
        const USES: &str = "SELECT * FROM usage_records \
             WHERE at_ms >= $1 AND (at_ms, request_id) > ($1, $2) ORDER BY at_ms, request_id LIMIT $3";
        let mut from = (since.0, String::new());
        loop {
            let query = sqlx::query(USES).bind(from.0).bind(&from.1).bind(PAGE);
            let rows = query.fetch_all(&self.shared.pool).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            from = (last.try_get("at_ms")?, last.try_get("request_id")?);
            for row in &rows {
                take(used(row)?);
            }
        }
    }

    /// Totals of the records since a time, one entry an account, the busiest first. What no account has answered is in none.
    pub async fn totals_since(&self, since: UnixMs) -> Result<Vec<AccountTotals>, ReadError> {
        const TOTALS: &str = "SELECT account, MAX(provider) AS provider, COUNT(*) AS requests, \
             COUNT(*) - COUNT(input) AS untold, \
             CAST(COALESCE(SUM(input), 0) AS BIGINT) AS input, \
             CAST(COALESCE(SUM(cache_read), 0) AS BIGINT) AS cache_read, \
             CAST(COALESCE(SUM(cache_write_5m), 0) AS BIGINT) AS cache_write_5m, \
             CAST(COALESCE(SUM(cache_write_1h), 0) AS BIGINT) AS cache_write_1h, \
             CAST(COALESCE(SUM(output), 0) AS BIGINT) AS output, \
             CAST(COALESCE(SUM(reasoning), 0) AS BIGINT) AS reasoning \
             FROM usage_records WHERE at_ms >= $1 AND account <> '' GROUP BY account ORDER BY requests DESC, account";
        let rows = sqlx::query(TOTALS).bind(since.0).fetch_all(&self.shared.pool).await?;
        rows.iter().map(|row| Ok(totals(row)?)).collect()
    }

    /// How many records there are.
    pub async fn count(&self) -> Result<u64, ReadError> {
        let row = sqlx::query("SELECT COUNT(*) AS records FROM usage_records").fetch_one(&self.shared.pool).await?;
        Ok(column(&row, "records")?)
    }
}

pub(super) fn used(row: &SqliteRow) -> Result<Use, sqlx::Error> {
    let told = row.try_get::<Option<i64>, _>("input")?.is_some();
    Ok(Use {
        at: UnixMs(row.try_get("at_ms")?),
        user: row.try_get::<Option<String>, _>("user_id")?.map(|id| UserId(id.into())),
        provider: row.try_get("provider")?,
        account: AccountId(row.try_get::<String, _>("account")?.into()),
        model: row.try_get("model")?,
        session: row.try_get("session")?,
        status: u16::try_from(row.try_get::<i64, _>("status")?).unwrap_or(0),
        tokens: told.then(|| tokens(row)).transpose()?,
        total_ms: column(row, "total_ms")?,
    })
}

pub(super) fn tokens(row: &SqliteRow) -> Result<TokenCounts, sqlx::Error> {
    Ok(TokenCounts {
        input: column(row, "input")?,
        cache_read: column(row, "cache_read")?,
        cache_write_5m: column(row, "cache_write_5m")?,
        cache_write_1h: column(row, "cache_write_1h")?,
        output: column(row, "output")?,
        reasoning: column(row, "reasoning")?,
    })
}

fn totals(row: &SqliteRow) -> Result<AccountTotals, sqlx::Error> {
    Ok(AccountTotals {
        account: AccountId(row.try_get::<String, _>("account")?.into()),
        provider: row.try_get("provider")?,
        requests: column(row, "requests")?,
        untold: column(row, "untold")?,
        tokens: tokens(row)?,
    })
}

pub(super) fn column(row: &SqliteRow, name: &str) -> Result<u64, sqlx::Error> {
    Ok(u64::try_from(row.try_get::<i64, _>(name)?).unwrap_or(0))
}

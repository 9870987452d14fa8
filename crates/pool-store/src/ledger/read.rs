//! Questions to the ledger.

use pool_core::people::UserId;
use pool_core::{AccountId, TokenCounts, UnixMs};

use super::Ledger;
use crate::database::{self, Row, sql};

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
        Self { reason: database::reason(&error) }
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
        let rows = self.shared.database.all(sql(SERVED).bind(since.0).bind(i64::from(most))).await?;
        rows.iter().rev().map(|row| Ok(used(row)?)).collect()
    }

    /// Hands out what each request since a time has used, oldest first.
    pub async fn each_since(&self, since: UnixMs, mut take: impl FnMut(Use)) -> Result<(), ReadError> {
        const PAGE: i64 = if cfg!(test) { 2 } else { 10_000 };
        const USES: &str = "SELECT * FROM usage_records \
             WHERE at_ms >= $1 AND (at_ms, request_id) > ($1, $2) ORDER BY at_ms, request_id LIMIT $3";
        let mut from = (since.0, String::new());
        loop {
            let rows = self.shared.database.all(sql(USES).bind(from.0).bind(&from.1).bind(PAGE)).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            from = (last.get("at_ms")?, last.get("request_id")?);
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
        let rows = self.shared.database.all(sql(TOTALS).bind(since.0)).await?;
        rows.iter().map(|row| Ok(totals(row)?)).collect()
    }

    /// How many records there are.
    pub async fn count(&self) -> Result<u64, ReadError> {
        let rows = self.shared.database.all(sql("SELECT COUNT(*) AS records FROM usage_records")).await?;
        Ok(rows.first().map_or(Ok(0), |row| row.count("records"))?)
    }
}

pub(super) fn used(row: &Row) -> Result<Use, sqlx::Error> {
    let told = row.get::<Option<i64>>("input")?.is_some();
    Ok(Use {
        at: UnixMs(row.get("at_ms")?),
        user: row.get::<Option<String>>("user_id")?.map(|id| UserId(id.into())),
        provider: row.get("provider")?,
        account: AccountId(row.get::<String>("account")?.into()),
        model: row.get("model")?,
        session: row.get("session")?,
        status: u16::try_from(row.get::<i64>("status")?).unwrap_or(0),
        tokens: told.then(|| tokens(row)).transpose()?,
        total_ms: row.count("total_ms")?,
    })
}

pub(super) fn tokens(row: &Row) -> Result<TokenCounts, sqlx::Error> {
    Ok(TokenCounts {
        input: row.count("input")?,
        cache_read: row.count("cache_read")?,
        cache_write_5m: row.count("cache_write_5m")?,
        cache_write_1h: row.count("cache_write_1h")?,
        output: row.count("output")?,
        reasoning: row.count("reasoning")?,
    })
}

fn totals(row: &Row) -> Result<AccountTotals, sqlx::Error> {
    Ok(AccountTotals {
        account: AccountId(row.get::<String>("account")?.into()),
        provider: row.get("provider")?,
        requests: row.count("requests")?,
        untold: row.count("untold")?,
        tokens: tokens(row)?,
    })
}

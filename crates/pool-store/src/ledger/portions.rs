//! Who used what of which account: the ledger summed up for who brought accounts and who uses them.

use std::fmt::Write as _;

use pool_core::people::UserId;
use pool_core::{AccountId, TokenCounts, UnixMs};

use super::Ledger;
use super::read::{ReadError, tokens};
use crate::database::{Row, built};

/// What one user's requests used of one account and model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portion {
    /// `None`: nobody's of the directory.
    pub user: Option<UserId>,
    pub account: AccountId,
    pub model: Option<String>,
    /// How many of the asked lengths the prompts of these requests are beyond: prices can rise with them.
    pub beyond: usize,
    pub requests: u64,
    /// Of them: those whose answer did not tell its usage. Their tokens are not in `tokens`.
    pub untold: u64,
    pub tokens: TokenCounts,
}

impl Ledger {
    /// Sums of the requests since a time that accounts have served, one entry a user, account, model and length of prompt.
    /// `lengths`: in tokens, rising; requests on either side of one are not summed together.
    pub async fn portions_since(&self, since: UnixMs, lengths: &[u64]) -> Result<Vec<Portion>, ReadError> {
        let mut statement = built(statement(lengths.len())).bind(since.0);
        for length in lengths {
            statement = statement.bind(i64::try_from(*length).unwrap_or(i64::MAX));
        }
        let rows = self.shared.database.all(statement).await?;
        rows.iter().map(|row| Ok(portion(row)?)).collect()
    }
}

/// What answered nothing and told no tokens is no service. The text is made of numbers only.
fn statement(lengths: usize) -> String {
    let mut beyond = String::from("0");
    for number in 0..lengths {
        let _ = write!(
            beyond,
            " + CASE WHEN input + cache_read + cache_write_5m + cache_write_1h > ${} THEN 1 ELSE 0 END",
            number + 2
        );
    }
    format!(
        "SELECT user_id, account, model, CAST({beyond} AS BIGINT) AS beyond, COUNT(*) AS requests, \
         COUNT(*) - COUNT(input) AS untold, \
         CAST(COALESCE(SUM(input), 0) AS BIGINT) AS input, \
         CAST(COALESCE(SUM(cache_read), 0) AS BIGINT) AS cache_read, \
         CAST(COALESCE(SUM(cache_write_5m), 0) AS BIGINT) AS cache_write_5m, \
         CAST(COALESCE(SUM(cache_write_1h), 0) AS BIGINT) AS cache_write_1h, \
         CAST(COALESCE(SUM(output), 0) AS BIGINT) AS output, \
         CAST(COALESCE(SUM(reasoning), 0) AS BIGINT) AS reasoning \
         FROM usage_records WHERE at_ms >= $1 AND account <> '' AND (status < 400 OR input IS NOT NULL) \
         GROUP BY user_id, account, model, beyond ORDER BY user_id, account, model, beyond"
    )
}

fn portion(row: &Row) -> Result<Portion, sqlx::Error> {
    Ok(Portion {
        user: row.get::<Option<String>>("user_id")?.map(|id| UserId(id.into())),
        account: AccountId(row.get::<String>("account")?.into()),
        model: row.get("model")?,
        beyond: usize::try_from(row.count("beyond")?).unwrap_or(usize::MAX),
        requests: row.count("requests")?,
        untold: row.count("untold")?,
        tokens: tokens(row)?,
    })
}

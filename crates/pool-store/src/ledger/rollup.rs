//! Sums of the records by hour and by day: written with them, checked against them, made anew from them.
//!
//! The definition is the view `usage_hours_of_records` (`migrations/0040_rollups.sql`). [`sums`] is the same for one record.

use std::collections::BTreeMap;

use pool_core::price::prompt_step;
use pool_core::usage::Ending;
use pool_core::{UnixMs, UsageRecord};

use super::Ledger;
use super::read::ReadError;
use super::write::number;
use crate::database::{Connection, Value, built, rows, sql};

/// The widths of the two tables, in milliseconds.
pub(super) const HOUR: i64 = 3_600_000;
pub(super) const DAY: i64 = 24 * HOUR;

/// What tells the rows of one time apart.
pub(super) const KEYS: [&str; 6] = ["provider", "account", "user_id", "model", "client", "prompt_above"];

/// What is summed.
pub(super) const SUMS: [&str; 29] = [
    "requests",
    "failed",
    "incomplete",
    "aborted",
    "untold",
    "attempts",
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",
    "reasoning",
    "delivered",
    "first_byte_ms",
    "total_ms",
    "timed",
    "choose_us",
    "wait_ms",
    "connect_ms",
    "upstream_ms",
    "first_250ms",
    "first_500ms",
    "first_1s",
    "first_2s",
    "first_4s",
    "first_8s",
    "first_16s",
    "first_32s",
    "first_later",
];

/// The ends of the columns `first_*`, in milliseconds; the last has none.
pub(super) const FIRST_BYTE_STEPS: [u64; 8] = [250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000];

/// Longer names are cut: they come from outside, and these rows are kept for good.
const LONGEST_NAME: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    start: i64,
    /// Provider, account, user, model, client.
    names: [String; 5],
    prompt_above: i64,
}

type Sums = [i64; SUMS.len()];

/// Adds new records to the sums.
pub(super) async fn add(to: &mut Connection, records: impl Iterator<Item = &UsageRecord>) -> Result<(), sqlx::Error> {
    let (mut hours, mut days) = (BTreeMap::new(), BTreeMap::new());
    for record in records {
        let sums = sums(record);
        for (table, width) in [(&mut hours, HOUR), (&mut days, DAY)] {
            let sum: &mut Sums = table.entry(key(record, width)).or_insert([0; SUMS.len()]);
            sum.iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
        }
    }
    // In the order of their keys: several replicas that add to the same rows then wait for each other, and never in a circle.
    upsert(to, "usage_hours", hours).await?;
    upsert(to, "usage_days", days).await
}

async fn upsert(to: &mut Connection, table: &str, sums: BTreeMap<Key, Sums>) -> Result<(), sqlx::Error> {
    if sums.is_empty() {
        return Ok(());
    }
    let (keys, columns) = (KEYS.join(", "), SUMS.join(", "));
    let added: Vec<String> =
        SUMS.iter().map(|column| format!("{column} = {table}.{column} + excluded.{column}")).collect();
    let head = format!("INSERT INTO {table} (start_ms, {keys}, {columns})");
    let tail = format!("ON CONFLICT (start_ms, {keys}) DO UPDATE SET {}", added.join(", "));
    let values = sums.into_iter().map(|(key, sums)| {
        let names = key.names.into_iter().map(Value::from);
        let numbers = [key.prompt_above].into_iter().chain(sums).map(Value::from);
        [Value::from(key.start)].into_iter().chain(names).chain(numbers).collect()
    });
    to.run(rows(&head, values, &tail)).await?;
    Ok(())
}

fn key(record: &UsageRecord, width: i64) -> Key {
    // Of what no account has answered, anything may stand in model and client.
    let answered = !record.account.is_nobody();
    let name = |name: &Option<String>| {
        let name = name.as_deref().filter(|_| answered).unwrap_or_default();
        name.chars().take(LONGEST_NAME).collect::<String>()
    };
    Key {
        start: record.at.0 - record.at.0 % width,
        names: [
            record.provider.clone(),
            record.account.0.to_string(),
            record.user.as_ref().map_or_else(String::new, |user| user.0.to_string()),
            name(&record.model),
            name(&record.client),
        ],
        prompt_above: record.tokens.map_or(0, |tokens| prompt_step(tokens.prompt()) as i64),
    }
}

fn sums(record: &UsageRecord) -> Sums {
    let ended = |ending| i64::from(record.ending == ending);
    let tokens = record.tokens.unwrap_or_default();
    let delivered =
        matches!(record.ending, Ending::Complete | Ending::Incomplete) && (200..400).contains(&record.status);
    let when_delivered = |value: u64| if delivered { number(value) } else { 0 };
    let parts = record.parts.unwrap_or_default();
    let step = FIRST_BYTE_STEPS.iter().position(|end| record.first_byte_ms < *end).unwrap_or(FIRST_BYTE_STEPS.len());
    let first = |at: usize| i64::from(delivered && at == step);
    [
        1,
        ended(Ending::Failed),
        ended(Ending::Incomplete),
        ended(Ending::Aborted),
        i64::from(record.tokens.is_none()),
        i64::from(record.attempts),
        number(tokens.input),
        number(tokens.cache_read),
        number(tokens.cache_write_5m),
        number(tokens.cache_write_1h),
        number(tokens.output),
        number(tokens.reasoning),
        i64::from(delivered),
        when_delivered(record.first_byte_ms),
        when_delivered(record.total_ms),
        i64::from(delivered && record.parts.is_some()),
        when_delivered(parts.choose_us),
        when_delivered(parts.wait_ms),
        when_delivered(parts.connect_ms),
        when_delivered(parts.upstream_ms),
        first(0),
        first(1),
        first(2),
        first(3),
        first(4),
        first(5),
        first(6),
        first(7),
        first(8),
    ]
}

/// How the sums and the records agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Checked {
    /// Since when they could be compared: records of before have been deleted. `None`: all of them.
    pub since: Option<UnixMs>,
    /// Rows of hours that are not what the records say.
    pub hours: u64,
    /// Rows of days that are not what the hours say.
    pub days: u64,
}

impl Checked {
    pub fn agrees(&self) -> bool {
        self.hours == 0 && self.days == 0
    }
}

impl Ledger {
    /// Compares the sums with the records that are still there. Nothing is changed; it takes a while for millions of records.
    pub async fn check_sums(&self) -> Result<Checked, ReadError> {
        let mut transaction = self.shared.database.begin().await?;
        transaction.be_patient();
        // One moment for both questions: on PostgreSQL others write meanwhile.
        transaction.stand_still().await?;
        Ok(check(&mut transaction).await?)
    }

    /// Makes the sums anew, as far back as the records go: what was found wrong, and is right now.
    pub async fn rebuild_sums(&self) -> Result<Checked, ReadError> {
        let columns = format!("start_ms, {}, {}", KEYS.join(", "), SUMS.join(", "));
        let mut transaction = self.shared.database.begin().await?;
        transaction.be_patient();
        transaction.lock(&["usage_records", "usage_hours", "usage_days"]).await?;
        let found = check(&mut transaction).await?;
        let since = found.since.map_or(i64::MIN, |since| since.0);
        let whole_days = since.saturating_sub(since.rem_euclid(DAY));
        for (table, from, since) in
            [("usage_hours", "usage_hours_of_records", since), ("usage_days", "usage_days_of_hours", whole_days)]
        {
            transaction.run(built(format!("DELETE FROM {table} WHERE start_ms >= $1")).bind(since)).await?;
            let made = format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM {from} WHERE start_ms >= $1");
            transaction.run(built(made).bind(since)).await?;
        }
        transaction.commit().await?;
        Ok(found)
    }
}

async fn check(on: &mut Connection) -> Result<Checked, sqlx::Error> {
    let whole = on.all(sql("SELECT since_ms FROM usage_whole WHERE id = 0")).await?;
    // The first hour of which nothing has been deleted.
    let since = match whole.first() {
        None => None,
        Some(row) => {
            let since: i64 = row.get("since_ms")?;
            Some(UnixMs(since.saturating_add(HOUR - 1).div_euclid(HOUR) * HOUR))
        }
    };
    let hours = differing(on, "usage_hours", "usage_hours_of_records", since).await?;
    let days = differing(on, "usage_days", "usage_days_of_hours", None).await?;
    Ok(Checked { since, hours, days })
}

/// Rows of one that are not in the other, the one way or the other way: of each key once.
async fn differing(on: &mut Connection, one: &str, other: &str, since: Option<UnixMs>) -> Result<u64, sqlx::Error> {
    let keys = format!("start_ms, {}", KEYS.join(", "));
    let columns = format!("{keys}, {}", SUMS.join(", "));
    let rows = |from: &str| format!("SELECT {columns} FROM {from} WHERE start_ms >= $1");
    let not_in = |one: &str, other: &str| format!("SELECT {keys} FROM ({} EXCEPT {}) AS odd", rows(one), rows(other));
    let text =
        format!("SELECT COUNT(*) AS odd FROM ({} UNION {}) AS differing", not_in(one, other), not_in(other, one));
    let found = on.all(built(text).bind(since.map_or(i64::MIN, |since| since.0))).await?;
    found.first().map_or(Ok(0), |row| row.count("odd"))
}

#[cfg(test)]
#[path = "rollup_tests.rs"]
mod tests;

//! What was used: totals and series from the sums by hour and day, so that ten million records make no page slower.

use std::collections::BTreeMap;

use pool_core::price::MicroUsd;
use pool_core::{Prices, TokenCounts, UnixMs};

use super::Ledger;
use super::read::{ReadError, tokens};
use super::records::Conditions;
use super::rollup::{DAY, FIRST_BYTE_STEPS, HOUR, SUMS};
use crate::database::{Row, Statement, built};

/// What the sums are asked for. Times are taken as whole hours, or as whole days (UTC) where days are asked for: the bucket that
/// `since` is in is the first, the one that `until` is in the last, unless it begins there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub since: Option<UnixMs>,
    pub until: Option<UnixMs>,
    pub step: Step,
    /// What is told apart.
    pub by: Vec<Dimension>,
    /// Only this; an empty text: unknown, or nobody.
    pub only: Vec<(Dimension, String)>,
}

/// The width of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// One for the whole time.
    #[default]
    Whole,
    Hour,
    Day,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    Provider,
    Account,
    User,
    Model,
    Client,
}

impl Dimension {
    fn column(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Account => "account",
            Self::User => "user_id",
            Self::Model => "model",
            Self::Client => "client",
        }
    }
}

/// One bucket of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// When the bucket begins. `None`: it is the whole time.
    pub start: Option<UnixMs>,
    /// As asked by [`Asked::by`], in that order; an empty text: unknown, or nobody.
    pub names: Vec<String>,
    pub sums: UsageSums,
}

/// What some requests add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageSums {
    pub requests: u64,
    /// Of them by ending; the rest is complete.
    pub failed: u64,
    pub incomplete: u64,
    pub aborted: u64,
    /// Of them: those whose answer did not tell its tokens.
    pub untold: u64,
    pub attempts: u64,
    pub tokens: TokenCounts,
    /// At today's prices: money for API keys, what the same would have cost by the API for subscriptions.
    pub cost: MicroUsd,
    /// Requests that told tokens, and whose model has no known price: they are not in `cost`.
    pub unpriced: u64,
    /// Answers of 200 to 399 that came to an end: what the times are of.
    pub delivered: u64,
    pub first_byte_ms: u64,
    pub total_ms: u64,
    /// Of them: those whose parts are known.
    pub timed: u64,
    pub choose_us: u64,
    pub wait_ms: u64,
    pub connect_ms: u64,
    pub upstream_ms: u64,
    /// How many of them had their first byte before 250 ms, 500 ms, and so on in doubles to 32 s, and later.
    pub first_bytes: [u64; FIRST_BYTE_STEPS.len() + 1],
}

impl UsageSums {
    /// The time to the first byte that this share of the answers kept, in milliseconds: evenly spread within a step. `None`: there
    /// were none, or it lies beyond the last step.
    pub fn first_byte_within(&self, share: f64) -> Option<u64> {
        let mut rank = self.delivered as f64 * share.clamp(0.0, 1.0);
        let mut from = 0;
        for (count, to) in self.first_bytes.into_iter().zip(FIRST_BYTE_STEPS) {
            if count > 0 && rank <= count as f64 {
                return Some(from + ((to - from) as f64 * rank / count as f64) as u64);
            }
            rank -= count as f64;
            from = to;
        }
        None
    }

    fn add(&mut self, row: &Row, prices: &Prices) -> Result<(), sqlx::Error> {
        let used = tokens(row)?;
        let (requests, untold) = (row.count("requests")?, row.count("untold")?);
        match prices.find(&row.get::<String>("model")?) {
            // All of their prompts were above this, and not above the next step.
            Some(price) => self.cost = self.cost.plus(price.of_many(&used, row.count("prompt_above")? + 1)),
            None => self.unpriced += requests.saturating_sub(untold),
        }
        self.requests += requests;
        self.untold += untold;
        self.tokens = self.tokens.plus(&used);
        let counts = [
            ("failed", &mut self.failed),
            ("incomplete", &mut self.incomplete),
            ("aborted", &mut self.aborted),
            ("attempts", &mut self.attempts),
            ("delivered", &mut self.delivered),
            ("first_byte_ms", &mut self.first_byte_ms),
            ("total_ms", &mut self.total_ms),
            ("timed", &mut self.timed),
            ("choose_us", &mut self.choose_us),
            ("wait_ms", &mut self.wait_ms),
            ("connect_ms", &mut self.connect_ms),
            ("upstream_ms", &mut self.upstream_ms),
        ];
        let firsts = SUMS[SUMS.len() - self.first_bytes.len()..].iter().copied().zip(&mut self.first_bytes);
        for (column, sum) in counts.into_iter().chain(firsts) {
            *sum += row.count(column)?;
        }
        Ok(())
    }
}

impl Ledger {
    /// Totals or a series, in the order of time and names.
    pub async fn sums(&self, asked: &Asked, prices: &Prices) -> Result<Vec<Used>, ReadError> {
        let rows = self.shared.database.all(asked.statement()).await?;
        let mut buckets: BTreeMap<(i64, Vec<String>), UsageSums> = BTreeMap::new();
        for row in &rows {
            let names = asked.by.iter().map(|dimension| row.get(dimension.column())).collect::<Result<_, _>>()?;
            buckets.entry((row.get("start_ms")?, names)).or_default().add(row, prices)?;
        }
        let start = |start| (asked.step != Step::Whole).then_some(UnixMs(start));
        Ok(buckets.into_iter().map(|((at, names), sums)| Used { start: start(at), names, sums }).collect())
    }
}

impl Asked {
    fn statement(&self) -> Statement {
        // Models and prompt lengths are always told apart: they decide the price.
        let mut columns: Vec<&str> = self.by.iter().map(|dimension| dimension.column()).collect();
        columns.extend(["model", "prompt_above"]);
        columns.sort_unstable();
        columns.dedup();
        let mut which = Conditions::default();
        for (dimension, value) in &self.only {
            which.add(&format!("{} = $", dimension.column()), value);
        }
        let from = self.source(&mut which);
        let start = if self.step == Step::Whole { "0" } else { "start_ms" };
        let names = columns.join(", ");
        let sums: Vec<String> = SUMS.iter().map(|sum| format!("CAST(SUM({sum}) AS BIGINT) AS {sum}")).collect();
        let mut text = format!(
            "SELECT CAST({start} AS BIGINT) AS start_ms, {names}, {} FROM {from} GROUP BY {names}",
            sums.join(", ")
        );
        if self.step != Step::Whole {
            text.push_str(", start_ms");
        }
        which.values.into_iter().fold(built(text), Statement::bind)
    }

    /// The rows that count. The whole of a long time is its whole days, and the hours before and after them.
    fn source(&self, which: &mut Conditions) -> String {
        let only = which.text();
        let since = self.since.map_or(i64::MIN, |since| since.0);
        let until = self.until.map_or(i64::MAX, |until| until.0);
        let down = |time: i64, width: i64| if time == i64::MIN { time } else { time.div_euclid(width) * width };
        let up =
            |time: i64, width: i64| if time == i64::MAX { time } else { down(time.saturating_add(width - 1), width) };
        // Plain numbers, not values: they are ours.
        let rows = |table: &str, from: i64, to: i64| {
            let bound = |word: &str, time: i64, open: i64| {
                if time == open { String::new() } else { format!(" AND start_ms {word} {time}") }
            };
            format!("SELECT * FROM {table} WHERE {only}{}{}", bound(">=", from, i64::MIN), bound("<", to, i64::MAX))
        };
        let (first, last) = (down(since, HOUR), up(until, HOUR));
        let parts = match self.step {
            Step::Hour => vec![rows("usage_hours", first, last)],
            Step::Day => vec![rows("usage_days", down(since, DAY), up(until, DAY))],
            Step::Whole => {
                let first_day = if first == i64::MIN { first } else { up(first, DAY) };
                let last_day = if last == i64::MAX { last } else { down(last, DAY) };
                if first_day >= last_day {
                    vec![rows("usage_hours", first, last)]
                } else {
                    let mut parts = vec![rows("usage_days", first_day, last_day)];
                    if first < first_day {
                        parts.push(rows("usage_hours", first, first_day));
                    }
                    if last_day < last {
                        parts.push(rows("usage_hours", last_day, last));
                    }
                    parts
                }
            }
        };
        format!("({}) AS used", parts.join(" UNION ALL "))
    }
}

#[cfg(test)]
#[path = "sums_tests.rs"]
mod tests;

//! What a person may use of the pool, and how far they are.

use serde::{Deserialize, Serialize};

use crate::demand::Demand;
use crate::time::{Span, UnixMs};

/// Limits of one person. `None` and empty: no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub requests_per_minute: Option<u32>,
    /// Requests under way at one time.
    pub streams: Option<u32>,
    pub budgets: Vec<Budget>,
    /// Patterns with `*`; empty: every model.
    pub models: Vec<String>,
    /// Names of providers; empty: every one.
    pub providers: Vec<String>,
}

/// So much in so long.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Budget {
    pub period: Period,
    pub amount: Amount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Day,
    Week,
    Month,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// All classes together.
    Tokens(u64),
    /// What it would have cost by the provider's price list, in millionths of a dollar.
    MicroDollars(u64),
    /// A share (0 to 1) of what all accounts that they may use hold in their longest window.
    WindowShare(f64),
}

impl Period {
    /// When the period that `now` lies in began, and when it ends: days, weeks from Monday, and months of UTC, so that every
    /// replica means the same.
    pub fn around(self, now: UnixMs) -> (UnixMs, UnixMs) {
        let day = now.0.div_euclid(DAY);
        let (first, last) = match self {
            Self::Day => (day, day + 1),
            // Day 0 of the epoch was a Thursday.
            Self::Week => {
                let monday = day - (day + 3).rem_euclid(7);
                (monday, monday + 7)
            }
            Self::Month => month_around(day),
        };
        (UnixMs(first.saturating_mul(DAY)), UnixMs(last.saturating_mul(DAY)))
    }
}

const DAY: i64 = 24 * 60 * 60 * 1000;

/// The first days of the month that `day` (days since the epoch) lies in and of the next one. Years of the Gregorian calendar
/// repeat every 400, so the search is short.
fn month_around(day: i64) -> (i64, i64) {
    const ERA: i64 = 146_097;
    let era = day.div_euclid(ERA);
    let mut first = era * ERA;
    // Year 1970 begins the era of the epoch; 1970 + 400 * era has the same calendar.
    let mut year = 1970;
    loop {
        let long = if is_leap(year) { 366 } else { 365 };
        if day < first + long {
            break;
        }
        first += long;
        year += 1;
    }
    for month in 1..=12 {
        let long = month_length(year, month);
        if day < first + long {
            return (first, first + long);
        }
        first += long;
    }
    (first, first + 31)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_length(year: i64, month: u8) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What one request took, as limits count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// All classes together.
    pub tokens: u64,
    /// Millionths of a dollar at the provider's price list; what has no known price counts nothing.
    pub micro_dollars: u64,
    /// Weighted tokens (see [`crate::TokenCounts::units`]).
    pub units: f64,
}

/// What one person has taken, in every period, and what they have under way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    /// When the next request would be due if they came evenly (the generic cell rate algorithm of ATM's traffic management).
    due: UnixMs,
    streams: u32,
    tallies: [Tally; 3],
}

/// What was taken in the period that began at `since`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub since: UnixMs,
    pub taken: Taken,
}

/// Which of somebody's limits a request meets.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// Too many in a minute; the next one may come then.
    Pace {
        until: UnixMs,
    },
    /// So many are under way already.
    Streams {
        limit: u32,
    },
    /// A budget is used up until then.
    Budget {
        budget: Budget,
        until: UnixMs,
    },
    /// Not among the models that they may use.
    Model,
    Provider,
}

impl Over {
    /// When it ends by itself. `None`: with the end of another request, or never.
    pub fn until(&self) -> Option<UnixMs> {
        match self {
            Self::Pace { until } | Self::Budget { until, .. } => Some(*until),
            Self::Streams { .. } | Self::Model | Self::Provider => None,
        }
    }
}

impl Book {
    /// May a request begin? If so it is under way until [`Self::end`].
    ///
    /// `capacity`: what the accounts that the person may use hold in their longest windows, in units; `None`: nobody knows, and
    /// shares of it limit nothing.
    pub fn begin(&mut self, limits: &Limits, demand: &Demand, capacity: Option<f64>, now: UnixMs) -> Result<(), Over> {
        if !limits.providers.is_empty() && !limits.providers.iter().any(|name| name == demand.provider.0) {
            return Err(Over::Provider);
        }
        let model = demand.model.as_deref();
        if !limits.models.is_empty() && !model.is_some_and(|model| limits.models.iter().any(|one| fits(one, model))) {
            return Err(Over::Model);
        }
        // Counting tokens and the like costs nothing that could be shared out.
        if demand.light {
            self.streams += 1;
            return Ok(());
        }
        if let Some(budget) = limits.budgets.iter().find(|budget| self.is_spent(budget, capacity, now)) {
            return Err(Over::Budget { budget: *budget, until: budget.period.around(now).1 });
        }
        if let Some(limit) = limits.streams.filter(|limit| self.streams >= *limit) {
            return Err(Over::Streams { limit });
        }
        if let Some(limit) = limits.requests_per_minute {
            self.pace(limit, now)?;
        }
        self.streams += 1;
        Ok(())
    }

    /// A request that had begun is over.
    pub fn end(&mut self, taken: Taken, now: UnixMs) {
        self.streams = self.streams.saturating_sub(1);
        self.take(taken, now);
    }

    /// Counts what was taken: by a request that ends, or by those of before a restart.
    pub fn take(&mut self, taken: Taken, at: UnixMs) {
        for (tally, period) in self.tallies.iter_mut().zip(PERIODS) {
            let since = period.around(at).0;
            if tally.since < since {
                *tally = Tally { since, taken: Taken::default() };
            }
            // What belongs to an earlier period is none of this one's.
            if tally.since == since {
                tally.taken.tokens = tally.taken.tokens.saturating_add(taken.tokens);
                tally.taken.micro_dollars = tally.taken.micro_dollars.saturating_add(taken.micro_dollars);
                tally.taken.units += taken.units;
            }
        }
    }

    /// What was taken in the period that `now` lies in.
    pub fn taken(&self, period: Period, now: UnixMs) -> Taken {
        let tally = PERIODS.iter().position(|one| *one == period).and_then(|at| self.tallies.get(at));
        tally.filter(|tally| tally.since == period.around(now).0).map(|tally| tally.taken).unwrap_or_default()
    }

    pub fn streams(&self) -> u32 {
        self.streams
    }

    fn is_spent(&self, budget: &Budget, capacity: Option<f64>, now: UnixMs) -> bool {
        let taken = self.taken(budget.period, now);
        match budget.amount {
            Amount::Tokens(most) => taken.tokens >= most,
            Amount::MicroDollars(most) => taken.micro_dollars >= most,
            Amount::WindowShare(most) => capacity.is_some_and(|capacity| taken.units >= most * capacity),
        }
    }

    /// So many requests a minute, all at once or evenly.
    fn pace(&mut self, limit: u32, now: UnixMs) -> Result<(), Over> {
        let step = Span(MINUTE.0.div_ceil(u64::from(limit.max(1))));
        // A clock that was set back must not shut anybody out for longer than this.
        self.due = self.due.max(now).min(now + MINUTE);
        let ready = self.due - Span(MINUTE.0.saturating_sub(step.0));
        if limit == 0 || ready > now {
            return Err(Over::Pace { until: if limit == 0 { now + MINUTE } else { ready } });
        }
        self.due = self.due + step;
        Ok(())
    }
}

const PERIODS: [Period; 3] = [Period::Day, Period::Week, Period::Month];
const MINUTE: Span = Span::from_mins(1);

/// Does a name fit a pattern in which `*` stands for anything?
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern.eq_ignore_ascii_case(name),
        Some((start, rest)) => {
            let Some(head) = name.get(..start.len()) else { return false };
            let tail = &name[start.len()..];
            head.eq_ignore_ascii_case(start)
                && (0..=tail.len()).filter_map(|at| tail.get(at..)).any(|tail| fits(rest, tail))
        }
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;

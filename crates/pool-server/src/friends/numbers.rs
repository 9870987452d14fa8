//! What people have used, and how it is said.

use std::collections::BTreeMap;

use pool_core::limits::{Amount, Budget, Period, Taken};
use pool_core::people::UserId;
use pool_core::price::MicroUsd;
use pool_core::{Span, TokenCounts, UnixMs};
use pool_store::ReadError;
use pool_store::ledger::DayUse;

use crate::app::App;

/// The requests of one person that are looked at for one page. Who has more in a month is told so.
const MOST_LOOKED_AT: u32 = 100_000;

pub const PERIODS: [Period; 3] = [Period::Day, Period::Week, Period::Month];

/// What one person has used.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// In the day, week and month that are running.
    pub periods: [Sum; 3],
    /// Nobody counted further back.
    pub cut: bool,
}

/// One period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    pub requests: u64,
    pub taken: Taken,
    /// Requests of unknown price: they are not in the cost.
    pub unpriced: u64,
}

impl Used {
    pub fn of(&self, period: Period) -> Sum {
        PERIODS.iter().position(|one| *one == period).map(|at| self.periods[at]).unwrap_or_default()
    }
}

/// Counts from the ledger.
pub async fn used(app: &App, user: &UserId, now: UnixMs) -> Result<Used, ReadError> {
    let starts = PERIODS.map(|period| period.around(now).0);
    let first = starts.into_iter().min().unwrap_or(now);
    let uses = app.ledger.each_of(user, first, MOST_LOOKED_AT).await?;
    let mut used = Used { cut: uses.len() >= MOST_LOOKED_AT as usize, ..Used::default() };
    for one in uses {
        let cost = one.tokens.as_ref().and_then(|tokens| app.config.prices.cost(one.model.as_deref(), Some(tokens)));
        for (sum, start) in used.periods.iter_mut().zip(starts) {
            if one.at < start {
                continue;
            }
            sum.requests += u64::from(one.status < 400);
            let Some(tokens) = &one.tokens else { continue };
            sum.taken.tokens = sum.taken.tokens.saturating_add(tokens.total());
            sum.taken.micro_dollars = sum.taken.micro_dollars.saturating_add(cost.unwrap_or_default().0);
            sum.taken.units += tokens.units();
            sum.unpriced += u64::from(cost.is_none());
        }
    }
    Ok(used)
}

/// What is left of a budget, from 0 to 1. `None`: nobody knows what it is a share of.
pub fn left(budget: &Budget, taken: &Taken) -> Option<f64> {
    let rest = |used: u64, most: u64| most.saturating_sub(used) as f64 / most.max(1) as f64;
    match budget.amount {
        Amount::Tokens(most) => Some(rest(taken.tokens, most)),
        Amount::MicroDollars(most) => Some(rest(taken.micro_dollars, most)),
        Amount::WindowShare(_) => None,
    }
}

/// A budget with what is left of it, in words.
pub fn budget(budget: &Budget, taken: &Taken) -> String {
    let period = this(budget.period);
    match budget.amount {
        Amount::Tokens(most) => {
            format!("{} of {} tokens left {period}", amount(most.saturating_sub(taken.tokens)), amount(most))
        }
        Amount::MicroDollars(most) => {
            let rest = MicroUsd(most.saturating_sub(taken.micro_dollars));
            format!("{rest} of {} left {period}, by the API's prices", MicroUsd(most))
        }
        Amount::WindowShare(share) => {
            format!("{:.0}% of what the accounts here hold, counted {period}", share * 100.0)
        }
    }
}

pub fn this(period: Period) -> &'static str {
    match period {
        Period::Day => "today",
        Period::Week => "this week",
        Period::Month => "this month",
    }
}

/// A count as people read it: `950`, `12.3 k`, `1.85 M`.
pub fn amount(count: u64) -> String {
    let shown = |unit: f64, word: &str| {
        let value = count as f64 / unit;
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        let text = format!("{value:.digits$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        format!("{text} {word}")
    };
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => shown(1e3, "k"),
        1_000_000..1_000_000_000 => shown(1e6, "M"),
        _ => shown(1e9, "G"),
    }
}

/// `2026-11-22`, UTC.
pub fn date(day: UnixMs) -> String {
    jiff::Timestamp::from_millisecond(day.0).map_or_else(|_| "?".to_owned(), |day| day.strftime("%Y-%m-%d").to_string())
}

/// The first moment of the day that lies `days` back, today being the first of them.
pub fn days_back(now: UnixMs, days: u32) -> UnixMs {
    Period::Day.around(now).0 - Span::from_hours(24 * u64::from(days.saturating_sub(1)))
}

/// Everybody who has used something, the most first.
pub fn ranked(rows: &[DayUse], name: impl Fn(&UserId) -> Option<String>) -> Vec<(String, u64)> {
    let mut totals = BTreeMap::<&UserId, u64>::new();
    for row in rows {
        if let Some(user) = &row.user {
            let total = totals.entry(user).or_default();
            *total = total.saturating_add(row.tokens.total());
        }
    }
    let mut ranks: Vec<(String, u64)> =
        totals.into_iter().filter_map(|(user, total)| Some((name(user)?, total))).filter(|rank| rank.1 > 0).collect();
    ranks.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    ranks
}

/// The leaderboard of the last 30 days: names and tokens, nothing else. `None`: the operator has not turned it on.
pub async fn leaderboard(app: &App, now: UnixMs) -> Result<Option<Vec<(String, u64)>>, ReadError> {
    if !app.config.friends.leaderboard {
        return Ok(None);
    }
    let rows = app.ledger.days(days_back(now, 30), None).await?;
    Ok(Some(app.people.read(|people| ranked(&rows, |id| people.user(id).map(|user| user.name.clone())))))
}

/// All classes of several rows.
pub fn total<'a>(rows: impl Iterator<Item = &'a DayUse>) -> (u64, TokenCounts) {
    let mut sum = TokenCounts::default();
    let mut requests = 0_u64;
    for row in rows {
        let TokenCounts { input, cache_read, cache_write_5m, cache_write_1h, output, reasoning } = row.tokens;
        requests = requests.saturating_add(row.requests);
        sum.input = sum.input.saturating_add(input);
        sum.cache_read = sum.cache_read.saturating_add(cache_read);
        sum.cache_write_5m = sum.cache_write_5m.saturating_add(cache_write_5m);
        sum.cache_write_1h = sum.cache_write_1h.saturating_add(cache_write_1h);
        sum.output = sum.output.saturating_add(output);
        sum.reasoning = sum.reasoning.saturating_add(reasoning);
    }
    (requests, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_dates_read_well() {
        for (count, said) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1 k"),
            (12_345, "12.3 k"),
            (950_000, "950 k"),
            (1_850_000, "1.85 M"),
            (100_000_000, "100 M"),
            (2_000_000_000, "2 G"),
        ] {
            assert_eq!(amount(count), said);
        }
        let now = UnixMs(1_763_850_000_000);
        assert_eq!(date(Period::Day.around(now).0), "2025-11-22");
        assert_eq!((date(days_back(now, 1)), date(days_back(now, 30))), ("2025-11-22".into(), "2025-10-24".into()));
    }

    #[test]
    fn the_board_has_names_only_of_who_is_here() {
        let row = |user: Option<&str>, output| DayUse {
            day: UnixMs(0),
            user: user.map(|id| UserId(id.into())),
            provider: "x".into(),
            model: None,
            requests: 1,
            tokens: TokenCounts { output, ..TokenCounts::default() },
        };
        let rows = [row(Some("u-1"), 5), row(Some("u-2"), 3), row(Some("u-2"), 4), row(Some("gone"), 9), row(None, 9)];
        let name = |id: &UserId| (&*id.0 != "gone").then(|| id.0.replace("u-", "name "));
        assert_eq!(ranked(&rows, name), [("name 2".to_owned(), 7), ("name 1".to_owned(), 5)]);
    }

    #[test]
    fn budgets_say_what_is_left() {
        let of = |amount| Budget { period: Period::Week, amount };
        let taken = Taken { tokens: 500_000, micro_dollars: 2_500_000, units: 0.0 };
        let tokens = of(Amount::Tokens(2_000_000));
        assert_eq!(budget(&tokens, &taken), "1.5 M of 2 M tokens left this week");
        assert_eq!(left(&tokens, &taken), Some(0.75));
        assert_eq!(left(&of(Amount::Tokens(0)), &taken), Some(0.0));
        assert_eq!(
            budget(&of(Amount::MicroDollars(2_000_000)), &taken),
            "$0.00 of $2.00 left this week, by the API's prices"
        );
        assert_eq!(left(&of(Amount::WindowShare(0.5)), &taken), None);
    }
}

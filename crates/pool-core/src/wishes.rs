//! What the operator wishes of the accounts: how they are weighed, and what they may be used for.

use serde::Serialize;

use crate::account::AccountKind;
use crate::price::MicroUsd;
use crate::time::{Span, UnixMs};

/// What an account is taken to be worth, as a multiple of what its windows say: 2 makes it look twice as roomy, 0.5 half.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Weight(f64);

impl Default for Weight {
    fn default() -> Self {
        Self(1.0)
    }
}

impl Weight {
    pub const LEAST: f64 = 0.01;
    pub const MOST: f64 = 100.0;

    /// `None`: it is not between [`Self::LEAST`] and [`Self::MOST`].
    pub fn new(weight: f64) -> Option<Self> {
        (Self::LEAST..=Self::MOST).contains(&weight).then_some(Self(weight))
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

/// A list of models: names, with `*` for any letters. Upper and lower case are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ModelList(Vec<String>);

impl ModelList {
    /// `None`: it is empty, too long, or has an empty name in it.
    pub fn new(patterns: Vec<String>) -> Option<Self> {
        let fits = |pattern: &String| (1..=Self::LONGEST).contains(&pattern.len());
        ((1..=Self::MOST).contains(&patterns.len()) && patterns.iter().all(fits)).then_some(Self(patterns))
    }

    const MOST: usize = 100;
    const LONGEST: usize = 200;

    pub fn has(&self, model: &str) -> bool {
        self.0.iter().any(|pattern| fits(pattern.as_bytes(), model.as_bytes()))
    }

    pub fn patterns(&self) -> &[String] {
        &self.0
    }
}

/// Does a name fit a pattern? After a mismatch the last `*` takes one letter more.
pub(crate) fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = name.get(here) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, here));
                at += 1;
            }
            Some(wanted) if wanted.eq_ignore_ascii_case(letter) => (at, here) = (at + 1, here + 1),
            _ => match &mut star {
                Some((after, taken)) => {
                    *taken += 1;
                    (at, here) = (*after + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

/// Which kind of account goes first, where both could serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KindOrder {
    /// What is paid for already goes before what costs money.
    #[default]
    SubscriptionsFirst,
    ApiKeysFirst,
    /// No difference is made.
    Together,
}

impl KindOrder {
    /// The lower, the sooner.
    pub fn rank(self, kind: AccountKind) -> u8 {
        match (self, kind) {
            (Self::SubscriptionsFirst, AccountKind::ApiKey) | (Self::ApiKeysFirst, AccountKind::Subscription) => 1,
            _ => 0,
        }
    }
}

/// What an account has cost on one day. Days begin at midnight UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayBook {
    day: i64,
    spent: MicroUsd,
    unpriced: u64,
}

const DAY_MS: i64 = 24 * 3600 * 1000;

fn day_of(time: UnixMs) -> i64 {
    time.0.div_euclid(DAY_MS)
}

impl DayBook {
    /// When the day of `now` began: records from then on make up its book.
    pub fn begin(now: UnixMs) -> UnixMs {
        UnixMs(day_of(now).saturating_mul(DAY_MS))
    }

    /// When the day of `now` ends, and the book with it.
    pub fn end(now: UnixMs) -> UnixMs {
        Self::begin(now) + Span(DAY_MS.unsigned_abs())
    }

    /// A request that arrived at `at` has cost so much; `None`: nobody knows how much. What belongs to a day before the book's
    /// is over. A book of a day that is yet to come was written before the clock was set back.
    pub fn add(&mut self, at: UnixMs, cost: Option<MicroUsd>, now: UnixMs) {
        let day = day_of(at);
        if day > self.day || self.day > day_of(now) {
            *self = Self { day, ..Self::default() };
        }
        if day == self.day {
            match cost {
                Some(cost) => self.spent = self.spent.plus(cost),
                None => self.unpriced = self.unpriced.saturating_add(1),
            }
        }
    }

    /// Is it the book of the day of `now`?
    pub fn is_of(&self, now: UnixMs) -> bool {
        self.day == day_of(now)
    }

    /// Spent on the day of `now`.
    pub fn spent(&self, now: UnixMs) -> MicroUsd {
        if self.is_of(now) { self.spent } else { MicroUsd::ZERO }
    }

    /// Requests of the day of `now` whose cost nobody knows. They count as nothing.
    pub fn unpriced(&self, now: UnixMs) -> u64 {
        if self.is_of(now) { self.unpriced } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_models_has_what_fits_one_of_its_patterns() {
        let list = |patterns: &[&str]| ModelList::new(patterns.iter().map(|text| (*text).to_owned()).collect());
        for (patterns, model, has) in [
            (&["claude-sonnet-5-5"][..], "claude-sonnet-5-5", true),
            (&["claude-sonnet-5-5"], "Claude-Sonnet-5-5", true),
            (&["claude-sonnet-5-5"], "claude-sonnet-5-5-x", false),
            (&["claude-sonnet-*"], "claude-sonnet-", true),
            (&["claude-sonnet-*"], "claude-opus-5", false),
            (&["*haiku*", "*sonnet*"], "claude-sonnet-5", true),
            (&["*haiku*"], "claude-haiku-5-5", true),
            (&["gpt-*-mini"], "gpt-5-mini-mini", true),
            (&["gpt-*-mini"], "gpt-5-mini-2026", false),
            (&["*"], "", true),
            (&["a*b*c"], "a-b-b-c", true),
            (&["a*b*c"], "a-c-b", false),
            (&["**x"], "x", true),
        ] {
            assert_eq!(list(patterns).expect("a list").has(model), has, "{patterns:?} {model}");
        }
        for bad in [&[][..], &[""], &["a", ""]] {
            assert_eq!(list(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn weights_are_within_reason() {
        assert_eq!(Weight::new(2.0).map(Weight::get), Some(2.0));
        assert_eq!([0.0, -1.0, 101.0, f64::NAN, f64::INFINITY].map(Weight::new), [None; 5]);
        assert!((Weight::default().get() - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_day_book_ends_at_midnight() {
        let noon = UnixMs(20_000 * DAY_MS + DAY_MS / 2);
        let midnight = UnixMs(20_001 * DAY_MS);
        assert_eq!((DayBook::begin(noon), DayBook::end(noon)), (UnixMs(20_000 * DAY_MS), midnight));
        let mut book = DayBook::default();
        book.add(noon, Some(MicroUsd(5)), noon);
        book.add(noon, Some(MicroUsd(7)), noon);
        book.add(noon, None, noon);
        assert_eq!((book.spent(noon), book.unpriced(noon)), (MicroUsd(12), 1));
        assert_eq!((book.spent(midnight), book.unpriced(midnight)), (MicroUsd::ZERO, 0), "a new day");
        book.add(midnight, Some(MicroUsd(1)), midnight);
        book.add(noon, Some(MicroUsd(100)), midnight);
        assert_eq!(book.spent(midnight), MicroUsd(1), "yesterday's last request costs yesterday");
        book.add(noon, Some(MicroUsd(100)), noon);
        assert_eq!(book.spent(noon), MicroUsd(100), "the clock was set back");
    }
}
